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
"""

from kvnode.testing.nodes import LocalNodes

__all__ = ["LocalNodes"]
