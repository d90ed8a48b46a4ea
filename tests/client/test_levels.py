"""Levels, sessions, what became of a write, and going back to the nearest node."""

from __future__ import annotations

from typing import Any

import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc import ServicerContext, StatusCode
from hypothesis import given
from hypothesis import strategies as st

from kvnode import (
    Behind,
    Client,
    DeadlineExceeded,
    Dot,
    Freshness,
    InvalidArgument,
    NodeFailure,
    NotReplicated,
    Outcome,
    OutcomeUnknown,
    Session,
)
from kvnode.client.sessions import vector_in
from kvnode.v1 import kv_pb2, types_pb2
from tests.client.scripted import (
    DOT,
    SESSION,
    Answer,
    ScriptedNode,
    fail,
    pack,
    refuse,
    reply,
)


def vector(**entries: int) -> types_pb2.VersionVector:
    """Origins are the hexadecimal names."""
    return types_pb2.VersionVector(
        entries=[types_pb2.Dot(origin=int(name, 16), seq=seq) for name, seq in entries.items()]
    )


def options(node: ScriptedNode) -> Any:
    """Those of the last call."""
    return node.calls[-1][1].options


# ---- levels


@pytest.mark.parametrize(
    ("level", "sent"),
    [
        ("fsync", kv_pb2.WriteOptions()),
        ("buffered", kv_pb2.WriteOptions(durability=kv_pb2.DURABILITY_BUFFERED)),
        ("quorum", kv_pb2.WriteOptions(durability=kv_pb2.DURABILITY_QUORUM)),
        ("all", kv_pb2.WriteOptions(durability=kv_pb2.DURABILITY_ALL)),
        (2, kv_pb2.WriteOptions(replicas=2)),
    ],
)
def test_a_write_asks_for_its_level(
    client: Client, node: ScriptedNode, level: Any, sent: kv_pb2.WriteOptions
) -> None:
    client.put("k", "v", durability=level)
    assert options(node) == sent
    with Client(node.address, durability=level) as same:
        same.increment("k")
        assert options(node) == sent
        same.increment("k", durability="fsync")
        assert options(node) == kv_pb2.WriteOptions()


@pytest.mark.parametrize("level", ["most", 0, -1, True, None, 1.5])
def test_levels_that_are_none_are_refused(client: Client, node: ScriptedNode, level: Any) -> None:
    with pytest.raises(InvalidArgument):
        Client(node.address, durability=level)
    with pytest.raises(InvalidArgument):
        client.get("k", consistency="most")  # type: ignore[call-overload]
    assert node.calls == []


def test_a_read_asks_for_its_level_and_shows_how_old_it_may_be(
    client: Client, node: ScriptedNode
) -> None:
    state = types_pb2.KeyState(key=b"k", pn_counter=types_pb2.CounterValue(value=1))
    fresh = [
        kv_pb2.Freshness(node="EWR"),
        kv_pb2.Freshness(node="NRT", age_ms=70),
        kv_pb2.Freshness(node="SYD", unknown=True),
    ]
    node.script = [reply(kv_pb2.BatchGetResponse(states=[state], freshness=fresh))]
    found = client.get("k", consistency="quorum")
    assert options(node) == kv_pb2.ReadOptions(
        consistency=kv_pb2.CONSISTENCY_QUORUM, freshness=True
    )
    assert found.freshness == (Freshness("EWR", 0), Freshness("NRT", 70), Freshness("SYD", None))
    node.script = [reply(kv_pb2.ScanResponse(states=[state], freshness=fresh))]
    (scanned,) = client.scan(consistency="all")
    assert options(node) == kv_pb2.ReadOptions(consistency=kv_pb2.CONSISTENCY_ALL, freshness=True)
    assert scanned.freshness == found.freshness


def short_of(wanted: int) -> Answer:
    """The write is done; not enough members have it."""
    shortfall = kv_pb2.Shortfall(first=DOT, operations=1, stored_by=["EWR"], wanted=wanted)

    def step(_request: object, context: ServicerContext) -> Any:
        code: int = StatusCode.DEADLINE_EXCEEDED.value[0]
        info = ErrorInfo(domain="kvnode", reason="NOT_REPLICATED")
        status = Status(code=code, message="only 1", details=[pack(info), pack(shortfall)])
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(StatusCode.DEADLINE_EXCEEDED, "only 1")

    return step


def test_a_write_that_is_on_too_few_disks_comes_with_its_receipt(
    both: Client, node: ScriptedNode, other: ScriptedNode
) -> None:
    """It is done: nowhere is it made again."""
    node.script = [short_of(2)]
    with pytest.raises(NotReplicated) as raised:
        both.put("k", "v", durability="quorum")
    assert isinstance(raised.value, DeadlineExceeded)
    receipt = raised.value.receipt
    assert receipt is not None
    assert receipt.stored_by == ("EWR",)
    assert receipt.endpoint == node.address
    assert receipt.session == {DOT.origin: DOT.seq}
    assert len(node.calls) == 1
    assert other.calls == []


def test_after_a_lost_reply_too_few_disks_is_an_answer(client: Client, node: ScriptedNode) -> None:
    node.script = [fail(StatusCode.UNAVAILABLE, "Socket closed"), short_of(2)]
    with pytest.raises(NotReplicated):
        client.put("k", "v", durability="quorum")


def test_what_one_node_does_not_have_yet_another_may(
    both: Client, node: ScriptedNode, other: ScriptedNode
) -> None:
    behind = refuse(StatusCode.DEADLINE_EXCEEDED, "BEHIND", missing="NRT:4-9")
    node.script = [behind]
    assert both.get("k", consistency="all").key == b"k"
    assert (len(node.calls), len(other.calls)) == (1, 1)
    node.script, other.script = [behind], [behind]
    with pytest.raises(Behind) as raised:
        both.get("k", consistency="all")
    assert raised.value.facts == {"missing": "NRT:4-9"}


# ---- sessions


def test_without_a_session_calls_name_none(client: Client, node: ScriptedNode) -> None:
    client.put("k", "v")
    assert not node.calls[-1][1].HasField("options")
    client.get("k")
    assert not options(node).HasField("after")
    assert client.token == b""
    with pytest.raises(InvalidArgument, match="keeps no session"):
        client.get("k", consistency="session")


def test_a_session_sends_what_it_has_seen(client: Client, node: ScriptedNode) -> None:
    with client.session() as view:
        view.put("k", "v")
        assert not node.calls[0][1].HasField("options")
        view.get("k")
        assert options(node) == kv_pb2.ReadOptions(after=SESSION, freshness=True)
        view.increment("k")
        assert options(node) == kv_pb2.WriteOptions(after=SESSION)
        list(view.scan())
        assert options(node) == kv_pb2.ReadOptions(after=SESSION, freshness=True)
        view.get("k", consistency="local")
        assert not options(node).HasField("after")
        token = view.token
    with Client(node.address) as later, later.session(token) as again:
        again.get("k")
        assert options(node) == kv_pb2.ReadOptions(after=SESSION, freshness=True)


def test_a_session_learns_from_reads_and_only_grows(client: Client, node: ScriptedNode) -> None:
    """Also from a read that finds nothing: what it saw deleted must not be back elsewhere."""
    state = types_pb2.KeyState(key=b"k", pn_counter=types_pb2.CounterValue(value=1))
    node.script = [
        reply(kv_pb2.BatchGetResponse(states=[state], session=vector(a=5, b=1))),
        reply(kv_pb2.BatchGetResponse(states=[state], session=vector(a=3, b=2))),
    ]
    absent = types_pb2.KeyState(key=b"k")
    node.script.append(reply(kv_pb2.BatchGetResponse(states=[absent], session=vector(c=1))))
    view = client.session()
    view.get("k")
    view.get("k")
    assert view.get("k", default=None) is None
    assert vector_in(view.token) == {0xA: 5, 0xB: 2, 0xC: 1}


def test_a_client_can_keep_one_session_for_all_its_calls(node: ScriptedNode) -> None:
    kept = Session()
    with Client(node.address, session=True) as one, Client(node.address, session=kept) as two:
        one.put("k", "v")
        two.put("k", "v")
        assert one.token == two.token == kept.token != b""


@given(st.dictionaries(st.integers(0, 2**64 - 1), st.integers(1, 2**64 - 1), max_size=20))
def test_a_token_is_the_vector_and_compact(entries: dict[int, int]) -> None:
    session = Session()
    session.learn(
        types_pb2.VersionVector(
            entries=[types_pb2.Dot(origin=origin, seq=seq) for origin, seq in entries.items()]
        )
    )
    assert vector_in(session.token) == entries
    assert Session(session.token).token == session.token
    assert len(session.token) <= 1 + 18 * len(entries)


def test_the_token_has_the_bytes_its_documentation_says() -> None:
    session = Session()
    session.learn(vector(b=1, a=300))
    assert session.token == bytes.fromhex("01000000000000000aac02000000000000000b01")


@pytest.mark.parametrize(
    "token",
    [
        b"\x02",
        b"x",
        b"\x01a",
        b"\x01" + b"a" * 8,
        b"\x01" + b"a" * 8 + b"\x80",
        b"\x01" + b"a" * 8 + b"\x00",
        b"\x01" + b"a" * 8 + b"\xff" * 11,
        b"\x01" + (b"a" * 8 + b"\x01") * 2,
        "text",
    ],
)
def test_what_is_no_token_is_refused(client: Client, token: Any) -> None:
    with pytest.raises(InvalidArgument, match="no session token"):
        client.session(token)


# ---- what became of a write


def test_an_outcome_is_asked_where_the_write_was_sent_first(
    both: Client, node: ScriptedNode, other: ScriptedNode
) -> None:
    unknown = OutcomeUnknown("", request_id=b"i" * 16, endpoint=other.address, write="")
    other.script = [reply(kv_pb2.OutcomeResponse(known=True, dots=[DOT], node="EWR"))]
    found = both.outcome(unknown)
    assert found == Outcome((Dot(DOT.origin, DOT.seq),), "EWR", other.address)
    assert node.calls == []
    assert both.outcome(b"i" * 16) is None
    assert (len(node.calls), len(other.calls)) == (1, 2)


def test_that_nobody_knows_is_said_only_if_all_were_asked(
    both: Client, node: ScriptedNode, other: ScriptedNode
) -> None:
    node.script = [fail(StatusCode.INTERNAL)]
    with pytest.raises(NodeFailure):
        both.outcome(b"i" * 16)
    assert len(other.calls) == 1


# ---- the nearest node


def test_a_client_goes_back_to_the_nearest_node_when_that_is_well(
    monkeypatch: pytest.MonkeyPatch, node: ScriptedNode, other: ScriptedNode
) -> None:
    monkeypatch.setattr("kvnode.client.channels.RETURN_S", 0.0)
    node.script = [refuse(StatusCode.UNAVAILABLE, "JOINING")]
    with Client([node.address, other.address]) as client:
        assert client.put("k", "v").endpoint == other.address
        for _ in range(1000):
            if client.put("k", "v").endpoint == node.address:
                return
    raise AssertionError("the client never went back")
