"""``get_many``: what ``batch_get`` shows, told briefly."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from grpc import StatusCode

from kvnode import (
    AsyncClient,
    Behind,
    Client,
    Conflict,
    DataDamaged,
    Freshness,
    InvalidArgument,
    NodeFailure,
)
from kvnode.core.limits import INT64_MAX
from kvnode.v1 import kv_pb2, types_pb2
from tests.client.scripted import DOT, SESSION, ScriptedNode, refuse, reply, succeed
from tests.client.test_client import FRESH

TWO = types_pb2.KeyState(
    key=b"two",
    context=b"both",
    pn_counter=types_pb2.CounterValue(value=1),
    siblings=types_pb2.Siblings(values=[types_pb2.StoredValue(value=b"a", dot=DOT)]),
)
BEYOND = types_pb2.KeyState(
    key=b"beyond",
    pn_counter=types_pb2.CounterValue(value=INT64_MAX, exact=str(INT64_MAX + 1)),
)
NO_SUM = types_pb2.KeyState(pn_counter=types_pb2.CounterValue(exact="many"))
MIXED = kv_pb2.BatchGetResponse(
    kinds=bytes((4, 0, 255, 1, 3, 2, 255)),
    values=[b"sibling", b"register"],
    sums=[7, -INT64_MAX - 1],
    states=[TWO, BEYOND],
    session=SESSION,
    freshness=[kv_pb2.Freshness(node="EWR", age_ms=5)],
)


def test_it_tells_what_each_key_has(client: Client, node: ScriptedNode) -> None:
    """And of a conflict all there is to resolve it with."""
    node.script = [reply(MIXED)]
    asked = ["sibling", "absent", "two", "grows", "register", "shrinks", "beyond"]
    found = client.get_many(asked)
    assert list(found) == [key for key in asked if key != "absent"]
    conflict = found.pop("two")
    assert found == {
        "sibling": b"sibling",
        "grows": 7,
        "register": b"register",
        "shrinks": -INT64_MAX - 1,
        "beyond": INT64_MAX + 1,
    }
    assert isinstance(conflict, Conflict)
    assert (conflict.key, conflict.context, conflict.values) == (b"two", b"both", (1, b"a"))
    assert conflict.freshness == (Freshness("EWR", 5),)
    raw = [key.encode() for key in asked]
    request = kv_pb2.BatchGetRequest(keys=raw, options=FRESH, brief=True)
    assert node.calls == [("BatchGet", request)]


def test_keys_are_named_as_the_caller_named_them(client: Client, node: ScriptedNode) -> None:
    assert client.get_many(["a", "ü"]) == {"a": b"v", "ü": b"v"}
    assert client.get_many(key for key in (b"a", b"\xff")) == {b"a": b"v", b"\xff": b"v"}
    both: list[bytes | str] = ["a", b"a"]
    assert client.get_many(both) == {"a": b"v", b"a": b"v"}
    assert client.get_many(["a", "a"]) == {"a": b"v"}
    assert [len(request.keys) for _, request in node.calls] == [2, 2, 2, 2]


def test_no_keys_ask_nobody(client: Client, node: ScriptedNode) -> None:
    assert client.get_many([]) == {}
    assert node.calls == []


@pytest.mark.parametrize("keys", [["a", ""], ["a", "k" * 481], ["a", 7], "ab", b"ab"])
def test_what_is_no_key_is_refused(client: Client, node: ScriptedNode, keys: list[str]) -> None:
    with pytest.raises(InvalidArgument):
        client.get_many(keys)
    assert node.calls == []


@pytest.mark.parametrize(("told", "why"), [
    (kv_pb2.BatchGetResponse(), "asked for 2 keys, the node told of 0"),
    (kv_pb2.BatchGetResponse(states=[BEYOND] * 2), "asked for 2 keys, the node told of 0"),
    (kv_pb2.BatchGetResponse(kinds=b"\4\4\4", values=[b""] * 3), "2 keys, the node told of 3"),
    (kv_pb2.BatchGetResponse(kinds=b"\4\4", values=[b""]), "told of 2 keys .* and sent 1"),
    (kv_pb2.BatchGetResponse(kinds=b"\0\3", values=[b""] * 2), "told of 1 keys .* and sent 2"),
    (kv_pb2.BatchGetResponse(kinds=b"\4\4", values=[b""] * 3), "told of 2 keys .* and sent 3"),
    (kv_pb2.BatchGetResponse(kinds=b"\1\2", sums=[1]), "told of 2 keys .* and sent 1"),
    (kv_pb2.BatchGetResponse(kinds=b"\0\0", sums=[1]), "told of 0 keys .* and sent 1"),
    (kv_pb2.BatchGetResponse(kinds=b"\xff\0"), "told of 1 keys .* and sent 0"),
    (kv_pb2.BatchGetResponse(kinds=b"\0\0", states=[BEYOND]), "told of 0 keys .* and sent 1"),
    (kv_pb2.BatchGetResponse(kinds=b"\xff\0", states=[NO_SUM]), "sent a sum that is no number"),
    (kv_pb2.BatchGetResponse(kinds=b"\4\5", values=[b""] * 2), "of kind 5, which means nothing"),
])  # fmt: skip
def test_an_answer_that_does_not_fit_is_the_nodes_failure(
    client: Client, node: ScriptedNode, told: kv_pb2.BatchGetResponse, why: str
) -> None:
    node.script = [reply(told)]
    with pytest.raises(NodeFailure, match=why):
        client.get_many(["a", "b"])


def test_an_answer_with_more_than_it_should_have_is_too(client: Client, node: ScriptedNode) -> None:
    """Also where there is a value for every key."""
    told = kv_pb2.BatchGetResponse(kinds=b"\4\4", values=[b""] * 2, sums=[1])
    node.script = [reply(told)]
    with pytest.raises(NodeFailure, match="and sent 1"):
        client.get_many(["a", "b"])


def test_keys_that_are_too_much_for_one_answer_are_asked_for_in_parts(
    client: Client, node: ScriptedNode
) -> None:
    too_large = refuse(StatusCode.INVALID_ARGUMENT, "BATCH_TOO_LARGE")
    part = reply(kv_pb2.BatchGetResponse(kinds=b"\2", sums=[5]))
    node.script = [too_large, too_large, part]
    assert client.get_many("abcd"[at] for at in range(4)) == {
        "a": 5, "b": b"v", "c": b"v", "d": b"v",
    }  # fmt: skip
    asked = [list(request.keys) for _, request in node.calls]
    assert asked == [[b"a", b"b", b"c", b"d"], [b"a", b"b"], [b"a"], [b"b"], [b"c", b"d"]]
    assert all(request.brief for _, request in node.calls)


def test_more_keys_than_a_node_takes_at_once_are_not_sent_at_once(
    client: Client, node: ScriptedNode
) -> None:
    """Of long ones 70,000 are more than a message may have, and then nobody would say so."""
    keys = [b"%0470d" % number for number in range(25_000)]
    found = client.get_many(keys)
    assert list(found) == keys
    assert [len(request.keys) for _, request in node.calls] == [6_250] * 4
    assert [key for _, request in node.calls for key in request.keys] == keys


@pytest.mark.parametrize(("answer", "error"), [
    (refuse(StatusCode.DATA_LOSS, "STATE_DAMAGED"), DataDamaged),
    (refuse(StatusCode.DEADLINE_EXCEEDED, "BEHIND"), Behind),
])  # fmt: skip
def test_it_fails_as_any_read(
    client: Client, node: ScriptedNode, answer: Callable[..., object], error: type[Exception]
) -> None:
    node.script = [answer]  # type: ignore[list-item]
    with pytest.raises(error):
        client.get_many(["a"])


def test_a_session_learns_of_it_and_sends_what_it_has_seen(
    client: Client, node: ScriptedNode
) -> None:
    session = client.session()
    session.get_many(["a"])
    session.get_many(["a"])
    session.get_many(["a"], consistency="local")
    after = [list(request.options.after.entries) for _, request in node.calls]
    assert after == [[], [DOT], []]
    assert session.token


def test_a_session_has_seen_each_part_of_a_divided_answer(
    client: Client, node: ScriptedNode
) -> None:
    """Another node may have told the other half, and had less."""
    dots = [types_pb2.Dot(origin=origin, seq=seq) for origin, seq in ((1, 9), (2, 9), (1, 4))]
    parts = [
        kv_pb2.BatchGetResponse(kinds=b"\0", session=types_pb2.VersionVector(entries=entries))
        for entries in (dots[:2], dots[2:])
    ]
    node.script = [refuse(StatusCode.INVALID_ARGUMENT, "BATCH_TOO_LARGE"), *map(reply, parts)]
    session = client.session()
    assert session.get_many(["a", "b"]) == {}
    session.get("k")
    assert list(node.calls[-1][1].options.after.entries) == dots[:2]


def test_levels_are_asked_for(client: Client, node: ScriptedNode) -> None:
    client.get_many(["a"], consistency="quorum")
    assert node.calls[0][1].options.consistency == kv_pb2.CONSISTENCY_QUORUM
    with pytest.raises(InvalidArgument, match="keeps no session"):
        client.get_many(["a"], consistency="session")


def test_tasks_share_a_call_but_not_with_those_who_want_states(node: ScriptedNode) -> None:
    async def work() -> None:
        async with AsyncClient(node.address) as client:
            one, state, two, three = await asyncio.gather(
                client.get_many(["a", "b"]),
                client.get("a"),
                client.get_many([b"c"]),
                client.get_many(["d", "d"]),
            )
            assert (one, two, three) == ({"a": b"v", "b": b"v"}, {b"c": b"v"}, {"d": b"v"})
            assert state.context == b"ctx"

    asyncio.run(work())
    asked = {request.brief: list(request.keys) for _, request in node.calls}
    assert asked == {True: [b"a", b"b", b"c", b"d", b"d"], False: [b"a"]}
    assert node.methods == ["BatchGet"] * 2


def test_tasks_get_their_own_part_of_an_answer(node: ScriptedNode) -> None:
    node.script = [reply(MIXED)]

    async def work() -> None:
        async with AsyncClient(node.address) as client:
            first, second, third = await asyncio.gather(
                client.get_many(["1", "2"]),
                client.get_many(["3"]),
                client.get_many(["4", "5", "6", "7"]),
            )
            assert first == {"1": b"sibling"}
            assert isinstance(second["3"], Conflict)
            assert third == {"4": 7, "5": b"register", "6": -INT64_MAX - 1, "7": INT64_MAX + 1}

    asyncio.run(work())
    assert node.methods == ["BatchGet"]


def test_one_whose_key_is_damaged_does_not_take_the_others_with_it(node: ScriptedNode) -> None:
    damaged = refuse(StatusCode.DATA_LOSS, "STATE_DAMAGED")
    node.script = [damaged, succeed, damaged]

    async def work() -> None:
        async with AsyncClient(node.address) as client:
            well, ill = await asyncio.gather(
                client.get_many(["a"]), client.get_many(["b"]), return_exceptions=True
            )
            assert well == {"a": b"v"}
            assert isinstance(ill, DataDamaged)

    asyncio.run(work())


def test_threads_share_calls_with_it(client: Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: client.get_many([f"{number}", "k"]), range(50)))
    assert found == [{f"{number}": b"v", "k": b"v"} for number in range(50)]
