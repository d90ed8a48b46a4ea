"""How a watch makes its way: what it hands out, whom it asks next, when it ends."""

from __future__ import annotations

import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError, Metadata

from kvnode.client.changes import BEGINNING, Course, Step, why
from kvnode.client.status import Failure, Fate, failure_of
from kvnode.core.errors import Reason
from kvnode.errors import (
    DeadlineExceeded,
    InvalidArgument,
    NodeFailure,
    NodeUnavailable,
    ResourceExhausted,
    WatchBehind,
)
from kvnode.v1 import types_pb2, watch_pb2

ENDPOINTS = ("127.0.0.1:1", "127.0.0.1:2")
LOST = Failure(Fate.LOST, NodeUnavailable("the connection broke"), None)
AHEAD = Failure(Fate.ELSEWHERE, NodeUnavailable("not yet", reason=Reason.WATCH_AHEAD), None)
FULL = Failure(Fate.REFUSED, ResourceExhausted("too many", reason=Reason.TOO_MANY_WATCHES), None)
BAD = Failure(Fate.REFUSED, InvalidArgument("no token", reason=Reason.BAD_TOKEN), None)
OLD = Failure(Fate.BROKEN, NodeFailure("no such method"), None)

WRITE = watch_pb2.KeyWrite(
    dot=types_pb2.Dot(origin=1, seq=2),
    type=types_pb2.DATA_TYPE_SIBLINGS,
    kind=watch_pb2.WRITE_KIND_PUT,
)


def behind() -> Failure:
    return Failure(Fate.REFUSED, WatchBehind("gone", reason=Reason.WATCH_BEHIND), None)


def course(*endpoints: str, since: bytes | None = b"t0", patience_s: float = 10) -> Course:
    return Course(endpoints or ENDPOINTS, "p/", since, patience_s=patience_s, heartbeat_s=1)


def response(token: bytes, *keys: bytes, current: bool = True) -> watch_pb2.WatchResponse:
    changes = [
        watch_pb2.Change(
            state=types_pb2.KeyState(key=key),
            writes=[WRITE],
        )
        for key in keys
    ]
    return watch_pb2.WatchResponse(changes=changes, token=token, current=current)


@pytest.mark.parametrize(
    ("since", "token", "existing"),
    [(None, b"", False), (BEGINNING, b"", True), (b"t", b"t", False)],
)
def test_the_request_says_where_to_begin(since: bytes | None, token: bytes, existing: bool) -> None:  # noqa: FBT001
    request = course(since=since).request()
    assert (request.since, request.existing) == (token, existing)
    assert (request.prefix, request.heartbeat_ms) == (b"p/", 1_000)


def test_after_a_token_the_beginning_is_not_asked_for_again() -> None:
    way = course(since=BEGINNING)
    way.request()
    way.take(response(b"t1", b"p/a"))
    again = way.request()
    assert (again.since, again.existing) == (b"t1", False)


def test_parts_are_one_step_and_only_its_last_change_has_its_token() -> None:
    """Who stores the token after each change must be told the rest of the step again."""
    way = course()
    way.request()
    assert way.take(response(b"", b"p/a")) is None
    assert way.token == b"t0"
    step = way.take(response(b"t1", b"p/b", b"p/c"))
    assert step is not None
    assert [(each.key, each.token) for each in step.changes] == [
        (b"p/a", b"t0"),
        (b"p/b", b"t0"),
        (b"p/c", b"t1"),
    ]
    assert (step.token, way.token) == (b"t1", b"t1")
    assert step.changes[0].writes[0].kind.name == "PUT"


def test_parts_without_an_end_are_told_again_by_the_next_node() -> None:
    way = course()
    way.request()
    assert way.take(response(b"", b"p/a")) is None
    way.failed(LOST, 0)
    assert way.request().since == b"t0"
    step = way.take(response(b"t1", b"p/a"))
    assert step is not None
    assert len(step.changes) == 1


def test_signs_of_life_are_handed_out_when_they_say_something() -> None:
    way = course()
    way.request()
    assert way.take(response(b"t0", current=False)) is None
    assert way.take(response(b"t0")) == Step((), b"t0", current=True)
    assert way.take(response(b"t0")) is None
    assert way.take(response(b"t1")) == Step((), b"t1", current=True)


def test_the_next_endpoint_is_asked_at_once_and_a_pause_follows_each_round() -> None:
    way = course()
    asked, pauses = [], []
    for _ in range(6):
        way.request()
        asked.append(way.address)
        pauses.append(way.failed(LOST, 0))
    assert asked == [*ENDPOINTS] * 3
    assert pauses[0] == 0
    assert pauses[1:] == sorted(pauses[1:])
    assert 0 < pauses[1] < pauses[-1] <= 1


@pytest.mark.parametrize("failure", [LOST, AHEAD, FULL, OLD], ids=lambda each: each.fate.name)
def test_another_endpoint_may_know_better(failure: Failure) -> None:
    way = course()
    way.request()
    way.failed(failure, 0)
    assert way.address == ENDPOINTS[1]


def test_a_refusal_that_all_would_give_ends_the_watch_with_its_token() -> None:
    way = course()
    way.request()
    with pytest.raises(InvalidArgument) as caught:
        way.failed(BAD, 0)
    assert caught.value.facts["token"] == b"t0".hex()


def test_it_is_behind_when_all_endpoints_say_so() -> None:
    """One node's log may reach further back than another's."""
    way = course()
    way.request()
    way.failed(behind(), 0)
    way.request()
    with pytest.raises(WatchBehind) as caught:
        way.failed(behind(), 0)
    assert caught.value.token == b"t0"


def test_a_node_that_goes_on_makes_what_others_said_void() -> None:
    way = course()
    way.request()
    way.failed(behind(), 0)
    way.request()
    way.take(response(b"t1"))
    way.failed(behind(), 0)
    way.request()
    assert way.failed(LOST, 0) >= 0


@pytest.mark.parametrize("failure", [LOST, AHEAD])
def test_patience_ends(failure: Failure) -> None:
    """Never a hang: also when nodes answer, but only that they have to wait themselves."""
    way = course()
    waiting = watch_pb2.WatchResponse(token=b"t0", waiting=True)
    for now in range(11):
        way.request()
        assert way.take(waiting) is None
        way.failed(failure, now)
    way.request()
    with pytest.raises(NodeUnavailable) as caught:
        way.failed(failure, 10.1)
    assert caught.value.facts["token"] == b"t0".hex()


def ended(code: StatusCode, details: str) -> Failure:
    """A call that the transport ended."""
    return failure_of(AioRpcError(code, Metadata(), Metadata(), details), ENDPOINTS[0])


REFUSED = ended(
    StatusCode.UNAVAILABLE,
    "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Failed to connect "
    "to remote host: Connection refused",
)


def test_who_waits_is_told_once_and_why_in_few_words() -> None:
    """A wrong port is nothing to be silent about for as long as patience lasts."""
    way = course()
    complaint = "127.0.0.1:1, 127.0.0.1:2 (connection refused)"
    for begin in (0, 100):
        told = []
        for now in (0, 0.5, 1.1, 1.5, 9):
            way.request()
            way.failed(REFUSED, begin + now)
            told.append(way.complaint(REFUSED, begin + now))
        assert told == ["", "", complaint, "", ""]
        way.request()
        way.take(response(b"t0"))
    way.failed(REFUSED, 200)
    with pytest.raises(NodeUnavailable) as caught:
        way.failed(REFUSED, 210.1)
    assert str(caught.value) == (
        "no endpoint has told of changes for 10 s, the last one asked was 127.0.0.1:2"
        " (connection refused)"
    )


def test_what_a_node_said_itself_is_told_as_it_is() -> None:
    assert why(LOST) == "the connection broke"


def test_patience_begins_anew_with_each_sign_of_life() -> None:
    way = course()
    for now in range(0, 100, 5):
        way.request()
        way.take(response(b"t0"))
        way.failed(LOST, now)


def test_patience_ends_with_being_behind_if_a_node_said_so() -> None:
    way = course()
    way.request()
    way.failed(behind(), 0)
    way.request()
    with pytest.raises(WatchBehind):
        way.failed(LOST, 11)


def test_a_call_that_was_as_long_as_a_call_may_be_is_no_failure() -> None:
    way = course()
    way.request()
    way.take(response(b"t1"))
    over = Failure(Fate.LOST, DeadlineExceeded("an hour"), None)
    assert way.failed(over, 0) == 0
    assert way.address == ENDPOINTS[0]


@pytest.mark.parametrize(("heartbeat_s", "silence_s"), [(0.1, 1), (1, 3), (10, 30)])
def test_silence_is_some_heartbeats_long(heartbeat_s: float, silence_s: float) -> None:
    """The first response comes at once, whatever the heartbeat."""
    way = Course(ENDPOINTS, "", None, patience_s=10, heartbeat_s=heartbeat_s)
    way.request()
    first = way.silence_s
    way.take(response(b"t1"))
    assert (first, way.silence_s) == (5, silence_s)
    way.request()
    assert way.silence_s == first
