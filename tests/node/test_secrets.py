"""Members with different secrets: they replicate, and both say what does not work."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from kvnode.config import Config
from kvnode.core.operations import Put
from kvnode.core.roster import Forget
from kvnode.node.engine import Engine
from kvnode.node.replicator import Replicator
from kvnode.storage.memory import MemoryLog, MemoryState
from tests.storage.faulty import until

from .acquaintance import acquaint, hello_of, replicator_of
from .nodes import Nodes, run

OWN, OTHER = 0xA, 0xB


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the handshake warned of."""
    return [each.message for each in caplog.records if each.name == "kvnode.node.handshake"]


def test_nodes_with_other_secrets_replicate_and_name_each_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nodes = Nodes(tmp_path)

    def says(name: str, *others: str) -> bool:
        problem = nodes[name].status().problem
        assert ("secret" in problem) == any(repr(other) in problem for other in "abc")
        return {other for other in "abc" if repr(other) in problem} == {*others}

    async def test() -> None:
        await nodes.start("a", "c", secret="one")
        await nodes.start("b", secret="two")
        await nodes.write("b", Put(b"k", b"v"))
        await nodes.settle("a", "b", "c")
        await until(lambda: says("a", "b") and says("b", "a", "c") and says("c", "b"))
        assert nodes["b"].status().state == "serving"
        told = warnings(caplog)
        assert told, "at the first meeting, when rosters are not on disk yet"
        assert all(each.startswith('the setting "secret" of ') for each in told)

        await nodes.stop("b")
        await nodes.start("b", secret="one")
        await until(lambda: says("a") and says("b") and says("c"))

    run(nodes, test)


def test_no_secret_is_the_name_of_the_cluster(tmp_path: Path) -> None:
    nodes = Nodes(tmp_path, "ab", cluster="shop")

    async def test() -> None:
        await nodes.start("a", secret="shop")
        await nodes.start("b")
        await nodes.write("a", Put(b"k", b"v"))
        await nodes.settle("a", "b")
        assert not nodes["a"].status().problem
        assert not nodes["b"].status().problem

    run(nodes, test)


def test_it_is_logged_once_and_forgotten_with_the_node(caplog: pytest.LogCaptureFixture) -> None:
    def check(replicator: Replicator) -> None:
        peer = acquaint(replicator, "b", OTHER)
        own = replicator.hello()
        same = replace(hello_of("b", OTHER, "ab", knows={"a": OWN}), secret_check=own.secret_check)
        other = replace(same, secret_check=b"another")
        for hello in (same, replace(same, secret_check=b"")):
            replicator.meet(peer, hello)
            assert not replicator.handshake.problem()
        assert not warnings(caplog)
        for _ in range(3):
            replicator.meet(peer, other)
        assert replicator.handshake.problem().startswith("the setting \"secret\" of 'b' is not")
        assert warnings(caplog) == [replicator.handshake.problem()]
        membership = replicator.membership
        membership.want(replace(membership.wanted, forgets={OTHER: Forget(1, OWN, 0)}))
        assert not replicator.handshake.problem()

    async def whole() -> None:
        config = Config(name="a", peers={"b": "127.0.0.1:1"})
        engine = Engine(config, OWN, MemoryLog(), MemoryState())
        check(replicator_of(engine, "a"))
        await engine.close()

    asyncio.run(whole())
