"""Coming back under a new identity, interrupted."""

from __future__ import annotations

import shutil
from pathlib import Path

from kvnode.core.operations import Put
from kvnode.node.node import Node
from tests.storage.faulty import until

from .nodes import Nodes, run


def test_a_crash_before_the_new_identity_is_known_forgets_nothing_of_the_copy(
    tmp_path: Path,
) -> None:
    """That nothing was written since it was copied is asked for again by the next start: where a
    chain value was pruned meanwhile, the copy would else be taken for another history.
    """
    nodes = Nodes(tmp_path, "ab")

    def die_when_welcome(node: Node) -> None:
        async def return_as(_address: str) -> None:
            raise RuntimeError("crash")

        node.membership.return_as = return_as  # type: ignore[method-assign,assignment]

    async def test() -> None:
        await nodes.start("a", "b")
        await nodes.write("b", Put(b"k", b"v"))
        await nodes.settle("a", "b")
        await nodes.stop("b")
        shutil.copytree(tmp_path / "b", tmp_path / "copy")
        shutil.rmtree(tmp_path / "b")
        (tmp_path / "copy").rename(tmp_path / "b")
        await nodes.start("b", before=die_when_welcome)
        await until(lambda: nodes["b"].failure is not None)
        assert "crash" in str(nodes["b"].failure)
        assert nodes["b"].directory.identity.pristine
        await nodes.stop("b")
        await nodes.start("b")
        await until(lambda: nodes["b"].membership.place == "serving")
        await until(lambda: not nodes["b"].directory.identity.pristine)
        await nodes.settle("a", "b")

    run(nodes, test)
