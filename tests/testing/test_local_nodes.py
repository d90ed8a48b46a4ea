"""Nodes in the test's own process: cut, healed, stopped, equal; and both clients against them."""

from __future__ import annotations

import asyncio
import tomllib
from pathlib import Path

import pytest

import kvnode
from kvnode import (
    AsyncClient,
    Behind,
    Conflict,
    DeadlineExceeded,
    InvalidArgument,
    KeyNotFound,
    NotReplicated,
    Value,
    resolvers,
)
from kvnode.node.node import Node
from kvnode.testing import LocalNodes

ROOT = Path(kvnode.__file__).parents[1]


def test_a_cut_makes_siblings_and_healing_shows_them(kvnode_cluster: LocalNodes) -> None:
    nodes = kvnode_cluster
    with nodes.client("n1") as one, nodes.client("n3") as three:
        nodes.isolate("n3")
        one.siblings("cart").add("tea")
        three.siblings("cart").add("cake")
        one.counter("likes").add(3)
        three.counter("likes").add(4)
        assert three.get("cart").one().value == b"cake"
        with pytest.raises(TimeoutError, match="same writes"):
            nodes.wait_equal(timeout_s=0.5)
        nodes.heal()
        nodes.wait_equal()
        found = one.get("cart")
        assert isinstance(found, Conflict)
        assert {each.value for each in found.siblings} == {b"tea", b"cake"}
        assert one.counter("likes").value() == three.counter("likes").value() == 7
        assert one.siblings("cart").resolve(resolvers.union()).value == b"cake,tea"
        nodes.wait_equal()
        assert three.get("cart").one().value == b"cake,tea"


def test_calls_that_end_later_than_the_last_node_do_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left when the loop ends, asyncio complains about."""
    ended: list[str] = []
    last: list[asyncio.Task[None]] = []
    close = Node.close

    async def call(name: str) -> None:
        for _ in range(50):
            await asyncio.sleep(0)
        ended.append(name)

    async def closing(node: Node) -> None:
        await close(node)
        last.append(asyncio.create_task(call(node.config.name)))

    monkeypatch.setattr(Node, "close", closing)
    with LocalNodes(2):
        pass
    assert sorted(ended) == ["n1", "n2"]


def test_a_stopped_node_comes_back_with_what_it_had(kvnode_cluster: LocalNodes) -> None:
    nodes = kvnode_cluster
    with nodes.client() as db, nodes.client("n1") as one:
        db.put("before", "v")
        nodes.stop("n1")
        assert db.put("meanwhile", "v").endpoint == nodes.endpoints["n2"]
        nodes.start("n1")
        nodes.wait_equal()
        assert one.get("before").one().value == one.get("meanwhile").one().value == b"v"


def test_levels_say_what_they_reached(kvnode_cluster: LocalNodes) -> None:
    nodes = kvnode_cluster
    with nodes.client("n1") as one:
        assert one.put("k", "v", durability="all").stored_by == ("n1", "n2", "n3")
        assert len(one.increment("n", durability=2).stored_by) >= 2
        assert one.put("k", "w", durability="buffered").stored_by == ()
        shown = one.get("k", consistency="all")
        assert {each.node for each in shown.freshness} == {"n1", "n2", "n3"}
        with pytest.raises(InvalidArgument):
            one.put("k", "v", durability=4)
        nodes.isolate("n1")
        with pytest.raises(NotReplicated) as raised:
            one.increment("n", 5, durability="quorum", timeout_s=1)
        assert raised.value.receipt is not None
        assert raised.value.receipt.stored_by == ("n1",)
        assert one.counter("n").value() == 6
        with pytest.raises(Behind):
            one.get("k", consistency="quorum", timeout_s=1)
        nodes.heal()
        nodes.wait_equal()
        assert one.put("k", "x", durability="quorum").stored_by


def test_a_session_sees_its_own_writes_at_a_node_that_lacks_them(
    kvnode_cluster: LocalNodes,
) -> None:
    """And without its token it does not."""
    nodes = kvnode_cluster
    with nodes.client("n1") as one, nodes.client("n3") as three:
        nodes.isolate("n3")
        session = one.session()
        session.put("mine", "v")
        with pytest.raises(KeyNotFound):
            three.get("mine")
        with pytest.raises(DeadlineExceeded):
            three.session(session.token).get("mine", timeout_s=0.5)
        with nodes.client("n3", "n1") as both:
            found = both.session(session.token).get("mine", timeout_s=4)
        assert isinstance(found, Value)
        nodes.heal()
        assert three.session(session.token).get("mine").one().value == b"v"


def test_an_outcome_is_known_where_the_write_is(kvnode_cluster: LocalNodes) -> None:
    nodes = kvnode_cluster
    with nodes.client("n1") as one, nodes.client("n2") as two:
        receipt = one.increment("k", request_id=b"i" * 16)
        found = one.outcome(b"i" * 16)
        assert found is not None
        assert (found.dots, found.node) == ((receipt.dot,), "n1")
        assert one.outcome(b"j" * 16) is None
        nodes.wait_equal()
        told = two.outcome(b"i" * 16)
        assert told is not None
        assert told.dots == (receipt.dot,)
        again = one.increment("k", request_id=b"i" * 16)
        assert again.repeated
        assert one.counter("k").value() == 1


def test_two_who_update_at_once_lose_nothing(kvnode_cluster: LocalNodes) -> None:
    """At two nodes, each merging what the other wrote."""
    nodes = kvnode_cluster

    def adding(member: str) -> object:
        def change(value: bytes | None) -> bytes:
            return b",".join(sorted({*(value or b"").split(b","), member.encode()} - {b""}))

        return change

    async def work() -> None:
        async with (
            AsyncClient(nodes.endpoints["n1"], timeout_s=20) as one,
            AsyncClient(nodes.endpoints["n2"], timeout_s=20) as two,
        ):
            await asyncio.gather(
                *(
                    db.update("set", adding(f"{name}{n}"), resolve=resolvers.union(), tries=50)  # type: ignore[arg-type]
                    for n in range(10)
                    for name, db in (("a", one), ("b", two))
                )
            )

    asyncio.run(work())
    nodes.wait_equal()
    with nodes.client("n3") as three:
        merged = three.get("set", resolve=resolvers.union())
    wanted = {f"{name}{n}".encode() for n in range(10) for name in "ab"}
    assert isinstance(merged.value, bytes)
    assert set(merged.value.split(b",")) == wanted


def test_tasks_bulk_and_batches_at_a_real_node(kvnode_cluster: LocalNodes) -> None:
    nodes = kvnode_cluster

    async def work() -> None:
        async with AsyncClient(nodes.endpoints["n1"]) as db:
            await asyncio.gather(*(db.increment("sum", n) for n in range(1, 201)))
            assert await db.counter("sum").value() == 20_100
            found = await asyncio.gather(*(db.get(f"none{n}", default=None) for n in range(50)))
            assert found == [None] * 50
            async with db.bulk() as bulk:
                for n in range(3_000):
                    await bulk.put(f"bulk/{n:04}", str(n))
            keys = [each.key async for each in db.scan(prefix="bulk/")]
            assert keys == [b"bulk/%04d" % n for n in range(3_000)]
            async with db.batch(durability="quorum") as batch:
                batch.increment("stock", -3)
                batch.put("order", "3")
            assert batch.result is not None
            assert len(batch.result.stored_by) >= 2

    asyncio.run(work())


def test_one_node_is_a_cluster_too() -> None:
    with LocalNodes(1) as nodes, nodes.client() as db:
        db.register("k").set("v")
        assert db.register("k").get().text == "v"
        nodes.wait_equal()


def test_their_files_are_in_the_directory_given_and_go_with_them(tmp_path: Path) -> None:
    with LocalNodes(1, directory=tmp_path):
        assert [each.name for each in tmp_path.glob("kvnode-*/*")] == ["n1"]
    assert list(tmp_path.iterdir()) == []


def test_the_files_of_the_fixture_are_where_pytest_clears_up(
    kvnode_cluster: LocalNodes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    made = tmp_path_factory.getbasetemp().glob("kvnode-*/*")
    assert sorted(each.name for each in made) == list(kvnode_cluster.names)


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="1 to 9"):
        LocalNodes(0)
    with LocalNodes(1) as nodes:
        with pytest.raises(ValueError, match="no node 'n2'"):
            nodes.cut("n1", "n2")
        with pytest.raises(ValueError, match="n1 is running"):
            nodes.start("n1")


def test_pytest_finds_the_fixture_of_an_installed_kvnode() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"kvnode": "kvnode.testing.plugin"}
