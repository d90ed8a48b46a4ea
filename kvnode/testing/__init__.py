"""For tests of programs that use kvnode: real nodes in this process, and links that can be cut.

>>> from kvnode.testing import LocalNodes
>>> with LocalNodes(3) as nodes, nodes.client("n1") as one, nodes.client("n3") as three:
...     nodes.isolate("n3")
...     one.siblings("cart").add("tea")
...     three.siblings("cart").add("cake")
...     nodes.heal()
...     nodes.wait_equal()
...     assert len(one.get("cart").siblings) == 2

With pytest the fixture ``kvnode_cluster`` is such a cluster of three, new for every test.

pytest loads the fixture's module in every run wherever kvnode is installed: ``LocalNodes``, and
with it gRPC, is loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kvnode.testing.nodes import LocalNodes

__all__ = ["LocalNodes"]


def __getattr__(name: str) -> object:
    if name == "LocalNodes":
        from kvnode.testing.nodes import LocalNodes

        return LocalNodes
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
