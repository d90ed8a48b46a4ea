"""Conflicts: resolvers, update, and the handles' view of one type."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.message import Message
from grpc import ServicerContext, StatusCode

from kvnode import (
    AsyncClient,
    Client,
    Conflict,
    ConflictError,
    DataType,
    Dot,
    FailedPrecondition,
    InvalidArgument,
    KeyNotFound,
    StoredValue,
    Value,
    resolvers,
)
from kvnode.client.states import key_state_of
from kvnode.v1 import kv_pb2, types_pb2
from tests.client.scripted import Answer, ScriptedNode, refuse, succeed


def siblings(*values: bytes, context: bytes = b"seen", **others: Any) -> types_pb2.KeyState:
    """A key with these siblings."""
    held = [
        types_pb2.StoredValue(
            value=value, dot=types_pb2.Dot(origin=1, seq=number), time_ms=number, node="EWR"
        )
        for number, value in enumerate(values, start=1)
    ]
    found = types_pb2.Siblings(values=held) if held else None
    return types_pb2.KeyState(key=b"k", context=context, siblings=found, **others)


def got(state: types_pb2.KeyState) -> Answer:
    """The answer to a read of one key, whichever call it is."""

    def step(request: Any, context: ServicerContext) -> Message:
        if isinstance(request, kv_pb2.BatchGetRequest):
            return kv_pb2.BatchGetResponse(states=[state])
        if not state.HasField("siblings") and not state.HasField("pn_counter"):
            found = state.context.hex()
            return refuse(StatusCode.NOT_FOUND, "KEY_NOT_FOUND", context=found)(request, context)
        return kv_pb2.GetResponse(state=state)

    return step


def conflict(*values: bytes, **others: Any) -> Conflict:
    """What a client makes of it; the first was written first."""
    held = tuple(
        StoredValue(value, Dot(1, number), number, "EWR")
        for number, value in enumerate(values, start=1)
    )
    return Conflict(b"k", b"c", siblings=held, **others)


# ---- resolvers


def test_ready_resolvers() -> None:
    found = conflict(b"tea,milk", b"tea,cake and more", b"jam")
    assert resolvers.latest(found) == b"jam"
    assert resolvers.longest(found) == b"tea,cake and more"
    assert resolvers.union()(found) == b"cake and more,jam,milk,tea"
    assert resolvers.union("and")(conflict(b"aandb", b"bandc")) == b"aandbandc"
    assert resolvers.custom(b"+".join)(found) == (b"jam+tea,cake and more+tea,milk")
    assert resolvers.custom(lambda _: "text")(found) == b"text"


@pytest.mark.parametrize(
    "resolve",
    [resolvers.longest, resolvers.union(), resolvers.custom(lambda values: values[0])],
)
def test_resolvers_do_not_depend_on_the_order(resolve: Any) -> None:
    """Two regions that merge the same siblings write the same."""
    assert resolve(conflict(b"aa", b"bb", b"c")) == resolve(conflict(b"c", b"bb", b"aa"))


def test_a_conflict_of_types_is_not_for_ready_resolvers() -> None:
    with pytest.raises(ConflictError):
        resolvers.latest(conflict(b"a", pn_counter=1))
    with pytest.raises(ValueError, match="separator"):
        resolvers.union("")


def test_get_resolves_and_writes_nothing(client: Client, node: ScriptedNode) -> None:
    node.script = [got(siblings(b"a", b"b")), got(siblings(b"a", b"b")), got(siblings(b"a"))]
    assert isinstance(client.get("k"), Conflict)
    found = client.get("k", resolve=resolvers.latest)
    assert isinstance(found, Value)
    assert (found.value, len(found.siblings), found.context) == (b"b", 2, b"seen")
    assert client.get("k", resolve=resolvers.latest).value == b"a"
    assert set(node.methods) == {"BatchGet"}
    node.script = [got(siblings(b"a", b"b"))] * 2
    with pytest.raises(TypeError, match=r"returns bytes or str, not NoneType$"):
        client.get("k", resolve=lambda _: None)  # type: ignore[arg-type,return-value]
    with pytest.raises(TypeError, match=r"not function \(resolvers.union\(\) with parentheses\?\)"):
        client.get("k", resolve=resolvers.union)  # type: ignore[arg-type]


def test_what_is_no_resolver_is_refused_before_there_is_a_conflict(
    client: Client, node: ScriptedNode
) -> None:
    node.script = []
    words = r"resolve is a function, such as kvnode.resolvers.latest, not 'latest'$"
    with pytest.raises(TypeError, match=words):
        client.get("k", resolve="latest")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match=words):
        client.update("k", lambda _: "v", resolve="latest")  # type: ignore[arg-type]
    assert not node.methods


def test_a_default_stands_for_nothing_only(client: Client, node: ScriptedNode) -> None:
    node.script = [got(siblings())]
    assert client.get("k", default=None) is None
    node.script = [refuse(StatusCode.DATA_LOSS, "STATE_DAMAGED")]
    with pytest.raises(Exception, match="no"):
        client.get("k", default=None)


# ---- update


def puts(node: ScriptedNode) -> list[tuple[bytes, bytes]]:
    """Values and contexts that were written."""
    return [(each.put.value, each.put.context) for each in node.operations]


def more(value: bytes | None) -> bytes:
    """One more x."""
    return (value or b"") + b"x"


def test_update_replaces_what_it_has_read(client: Client, node: ScriptedNode) -> None:
    node.script = [got(siblings(b"a", context=b"c1")), succeed, got(siblings(b"ax"))]
    assert client.update("k", more).value == b"ax"
    assert puts(node) == [(b"ax", b"c1")]
    node.script = [got(siblings(context=b"none")), succeed, got(siblings(b"x"))]
    assert client.update("k", more).value == b"x"
    assert puts(node)[1:] == [(b"x", b"none")]


def test_update_merges_what_came_between_and_changes_once(
    client: Client, node: ScriptedNode
) -> None:
    node.script = [
        got(siblings(b"a", context=b"c1")),
        succeed,
        got(siblings(b"ax", b"theirs", context=b"c2")),
        got(siblings(b"ax", b"theirs", context=b"c3")),
        succeed,
        got(siblings(b"ax,theirs")),
    ]
    assert client.update("k", more, resolve=resolvers.union()).value == b"ax,theirs"
    assert puts(node) == [(b"ax", b"c1"), (b"ax,theirs", b"c3")]


def test_update_leaves_merging_to_others_who_were_quicker(
    client: Client, node: ScriptedNode
) -> None:
    node.script = [
        got(siblings(b"a")),
        succeed,
        got(siblings(b"ax", b"theirs")),
        got(siblings(b"ax,theirs")),
    ]
    assert client.update("k", more, resolve=resolvers.union()).value == b"ax,theirs"
    assert len(puts(node)) == 1


def test_update_without_a_resolver_shows_the_conflict(client: Client, node: ScriptedNode) -> None:
    node.script = [got(siblings(b"a", b"b"))]
    with pytest.raises(ConflictError) as raised:
        client.update("k", more)
    assert puts(node) == []
    assert not raised.value.written
    node.script = [got(siblings(b"a")), succeed, got(siblings(b"ax", b"b"))]
    with pytest.raises(ConflictError) as raised:
        client.update("k", more)
    assert raised.value.state.values == (b"ax", b"b")
    assert raised.value.written
    assert str(raised.value).endswith("'ax', 'b'; what was written is one of them")


def test_update_tries_so_often(client: Client, node: ScriptedNode) -> None:
    node.script = [got(siblings(b"a", b"b")), *[succeed, *[got(siblings(b"a", b"b"))] * 2] * 3]
    with pytest.raises(ConflictError):
        client.update("k", more, resolve=resolvers.latest, tries=3)
    assert len(puts(node)) == 3
    with pytest.raises(InvalidArgument):
        client.update("k", more, tries=0)


def test_update_that_changes_nothing_writes_nothing(client: Client, node: ScriptedNode) -> None:
    node.script = [got(siblings(b"a"))] * 2
    assert client.update("k", lambda value: value).value == b"a"
    assert client.update("k", lambda _: None).value == b"a"
    node.script = [got(siblings())]
    with pytest.raises(KeyNotFound):
        client.update("k", lambda _: None)
    assert puts(node) == []


def test_update_looks_after_its_own_write_wherever_it_is(
    client: Client, node: ScriptedNode
) -> None:
    """Its second read names the write, so that a node without it waits or is passed over."""
    node.script = [got(siblings(b"a")), succeed, got(siblings(b"ax"))]
    client.update("k", more)
    assert not node.calls[0][1].options.HasField("after")
    assert node.calls[2][1].options.HasField("after")


# ---- handles


def test_handles_see_their_own_type_only(client: Client, node: ScriptedNode) -> None:
    both = siblings(b"a", pn_counter=types_pb2.CounterValue(value=7))
    node.script = [got(both)] * 2
    assert client.counter("k").value() == 7
    found = client.siblings("k").get()
    assert isinstance(found, Value)
    assert found.value == b"a"


def test_handles_say_when_nothing_is_there(client: Client, node: ScriptedNode) -> None:
    node.script = [got(siblings())] * 3
    assert client.counter("k").value() == 0
    with pytest.raises(KeyNotFound):
        client.register("k").get()
    with pytest.raises(KeyNotFound):
        client.siblings("k").get()


READS: dict[str, Callable[[Any], Any]] = {
    "counter": lambda db: db.counter("k").value(),
    "grow-only counter": lambda db: db.counter("k", grow_only=True).value(),
    "register": lambda db: db.register("k").get(),
    "siblings": lambda db: db.siblings("k").get(),
    "update": lambda db: db.update("k", lambda _: None),
    "update that writes": lambda db: db.update("k", more),
}
SEVEN = types_pb2.CounterValue(value=7)
STORED = types_pb2.StoredValue(value=b"r", dot=types_pb2.Dot(origin=1, seq=1))
ELSE = {
    "counter": siblings(b"a", g_counter=SEVEN),
    "grow-only counter": siblings(b"a", pn_counter=SEVEN),
    "register": siblings(b"a", pn_counter=SEVEN),
    "siblings": siblings(lww_register=STORED, pn_counter=SEVEN),
    "update": siblings(pn_counter=SEVEN),
    "update that writes": siblings(lww_register=STORED),
}


@pytest.mark.parametrize("read", READS)
def test_a_key_of_another_type_is_not_taken_for_nothing(
    client: Client, node: ScriptedNode, read: str
) -> None:
    """Zero or "no key" would be untrue; a write through the same handle is refused like this."""
    node.script = [got(ELSE[read])]
    with pytest.raises(FailedPrecondition) as raised:
        READS[read](client)
    check_refusal(raised.value, read)
    assert puts(node) == []


@pytest.mark.parametrize("read", READS)
def test_nor_by_the_asyncio_client(node: ScriptedNode, read: str) -> None:
    async def ask() -> None:
        async with AsyncClient(node.address) as db:
            await READS[read](db)

    node.script = [got(ELSE[read])]
    with pytest.raises(FailedPrecondition) as raised:
        asyncio.run(ask())
    check_refusal(raised.value, read)


def check_refusal(error: FailedPrecondition, read: str) -> None:
    """It has the reason and facts of a node's, and names all types that are there."""
    held = key_state_of(ELSE[read]).types
    assert error.reason == "TYPE_CONFLICT"
    assert error.facts == {"types": ",".join(kind.name for kind in held)}
    assert f"the key 'k' holds {' and '.join(kind.name for kind in held)}, not " in str(error)


def test_an_update_that_was_written_is_not_called_refused(
    client: Client, node: ScriptedNode
) -> None:
    """Another type alone is there after the write: somebody saw the write and deleted it."""
    node.script = [got(siblings(b"a")), succeed, got(siblings(pn_counter=SEVEN))]
    assert client.update("k", more).value == b"ax"


def test_handles_write_their_own_type(client: Client, node: ScriptedNode) -> None:
    client.counter("k").add(3)
    client.counter("k").subtract(2)
    client.counter("k", grow_only=True).add()
    client.counter("k").delete()
    client.register("k").set("v", ttl=60)
    client.register("k").delete()
    client.siblings("k").put("v", context=b"c")
    client.siblings("k").add("v")
    client.siblings("k").delete()
    with pytest.raises(InvalidArgument):
        client.counter("k", grow_only=True).subtract()
    increments = [each.increment for each in node.operations[:3]]
    assert [(each.amount, DataType(each.type)) for each in increments] == [
        (3, DataType.PN_COUNTER),
        (-2, DataType.PN_COUNTER),
        (1, DataType.G_COUNTER),
    ]
    assert DataType(node.operations[3].delete.type) is DataType.PN_COUNTER
    assert DataType(node.operations[4].put.type) is DataType.LWW_REGISTER
    assert node.operations[4].put.ttl_ms == 60_000
    assert DataType(node.operations[5].delete.type) is DataType.LWW_REGISTER
    assert node.operations[6].put.context == b"c"
    assert node.operations[7].put.blind
    assert DataType(node.operations[8].delete.type) is DataType.SIBLINGS


def test_a_handle_resolves_and_stores_that(client: Client, node: ScriptedNode) -> None:
    node.script = [got(siblings(b"a", b"b", context=b"c1")), succeed, got(siblings(b"a,b"))]
    assert client.siblings("k").resolve(resolvers.union()).value == b"a,b"
    assert puts(node) == [(b"a,b", b"c1")]
    node.script = [got(siblings(b"a"))]
    assert client.siblings("k").resolve(resolvers.union()).value == b"a"
    assert len(puts(node)) == 1
