"""Many independent writes in one call, write streams, outcomes, and levels at one node.

The node has peers that store nothing: nobody but itself ever has a write on disk.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from kvnode.core.errors import Reason
from kvnode.v1 import kv_pb2, types_pb2
from tests.node.process import NodeProcess

from .api import CALL_S, Api, Refusal, failed, increment, put, refusal, refusal_of, vector

SHORT_S = 0.5


def request(*operations: kv_pb2.Operation, **fields: Any) -> kv_pb2.WriteRequest:
    return kv_pb2.WriteRequest(operations=operations, **fields)


def many(api: Api, *requests: kv_pb2.WriteRequest) -> list[kv_pb2.WriteManyResponse.Outcome]:
    message = kv_pb2.WriteManyRequest(requests=requests)
    return list(api.kv.WriteMany(message, timeout=CALL_S).outcomes)


def reason(status: Status) -> str:
    """The machine-readable reason in an outcome's error."""
    found = ErrorInfo()
    assert status.details[0].Unpack(found)
    return str(found.reason)


def test_each_of_many_requests_is_taken_or_refused_by_itself_and_in_order(
    api: Api, key: bytes
) -> None:
    outcomes = many(
        api,
        request(put(key, b"1")),
        request(put(b"", b"no key")),
        request(increment(key, 1)),  # another type over a visible value
        request(put(key, b"2"), put(key + b"b", b"3")),
    )
    assert [each.WhichOneof("kind") for each in outcomes] == [
        "response",
        "error",
        "error",
        "response",
    ]
    assert reason(outcomes[1].error) == Reason.BAD_KEY
    assert reason(outcomes[2].error) == Reason.TYPE_CONFLICT
    first, last = outcomes[0].response.results[0].dot, outcomes[3].response.results[0].dot
    assert last.seq == first.seq + 1, "a refused request takes no dot"
    assert api.values(key) == [b"2"], "the later one has seen the earlier one"


def test_many_requests_together_are_bounded_like_one_batch(api: Api, key: bytes) -> None:
    operations = [put(key, b"v")] * 6_000
    with pytest.raises(grpc.RpcError) as error:
        many(api, request(*operations), request(*operations))
    assert told(error.value).info.reason == Reason.BATCH_TOO_LARGE
    assert api.values(key) == []


@pytest.mark.parametrize("streams", [False, True])
def test_requests_that_ask_for_nothing_are_bounded_too(api: Api, *, streams: bool) -> None:
    """Two bytes each, and an error of a hundred: a message of 1 MB kept all others waiting 6 s."""
    message = kv_pb2.WriteManyRequest(requests=[request()] * 10_001)
    call, sent = (api.kv.WriteStream, iter([message])) if streams else (api.kv.WriteMany, message)
    with pytest.raises(grpc.RpcError) as error:
        list(call(sent, timeout=CALL_S))
    assert told(error.value).info.reason == Reason.BATCH_TOO_LARGE
    assert {reason(each.error) for each in many(api, request(), request())} == {Reason.BAD_REQUEST}


def test_a_stream_answers_message_by_message_in_order(api: Api, key: bytes) -> None:
    def messages() -> Iterator[kv_pb2.WriteManyRequest]:
        for number in range(40):
            yield kv_pb2.WriteManyRequest(
                requests=[request(put(key, b"%d" % number)), request(increment(key + b"n", 1))]
            )

    replies = list(api.kv.WriteStream(messages(), timeout=CALL_S))
    assert len(replies) == 40
    sums = [reply.outcomes[1].response.results[0].counter.value for reply in replies]
    assert sums == list(range(1, 41))
    assert api.values(key) == [b"39"]


def test_a_stream_ends_with_the_error_of_a_bad_message_behind_the_replies_before_it(
    api: Api, key: bytes
) -> None:
    too_many = kv_pb2.WriteManyRequest(requests=[request(*[put(key, b"v")] * 10_001)])
    good = kv_pb2.WriteManyRequest(requests=[request(put(key, b"good"))])
    replies = api.kv.WriteStream(iter([good, too_many, good]), timeout=CALL_S)
    assert next(replies).outcomes[0].HasField("response")
    with pytest.raises(grpc.RpcError) as error:
        next(replies)
    assert told(error.value).info.reason == Reason.BATCH_TOO_LARGE


def test_an_open_stream_does_not_keep_a_node_from_stopping(
    start: Callable[..., tuple[NodeProcess, Api]], key: bytes
) -> None:
    process, api = start()
    asked = iter([kv_pb2.WriteManyRequest(requests=[request(put(key, b"v"))])])
    over = False

    def messages() -> Iterator[kv_pb2.WriteManyRequest]:
        yield next(asked)
        while not over:
            yield kv_pb2.WriteManyRequest()

    replies = api.kv.WriteStream(messages(), timeout=CALL_S)
    assert next(replies).outcomes[0].HasField("response")
    process.process.terminate()
    with pytest.raises(grpc.RpcError) as error:
        list(replies)
    over = True
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE
    process.stop()


def test_the_outcome_of_a_request_can_be_asked_for(api: Api, key: bytes) -> None:
    known, other = os.urandom(16), os.urandom(16)
    written = api.write(put(key, b"1"), increment(key + b"n"), request_id=known)
    found = api.kv.Outcome(kv_pb2.OutcomeRequest(request_id=known), timeout=CALL_S)
    assert found.known
    assert list(found.dots) == [result.dot for result in written.results]
    assert found.node == "shared"
    assert not api.kv.Outcome(kv_pb2.OutcomeRequest(request_id=other), timeout=CALL_S).known
    with pytest.raises(grpc.RpcError) as error:
        api.kv.Outcome(kv_pb2.OutcomeRequest(request_id=b"short"), timeout=CALL_S)
    assert told(error.value).info.reason == Reason.BAD_REQUEST


# ---- levels


def options(**fields: Any) -> kv_pb2.WriteOptions:
    return kv_pb2.WriteOptions(**fields)


def told(error: grpc.RpcError) -> Refusal:
    """What a program makes of an error that was raised already."""

    def again() -> None:
        raise error

    return refusal(again)


def refused_in_time(call: Callable[[], Any]) -> Refusal:
    """How the node refuses what it waited for; on a busy machine gRPC's deadline may be sooner."""
    for _ in range(5):
        with pytest.raises(grpc.RpcError) as error:
            call()
        if found := refusal_of(cast("grpc.Call", error.value)):
            return found
    raise AssertionError(f"never refused in words: {error.value}")


def shortfall(error: grpc.RpcError) -> kv_pb2.Shortfall:
    found = kv_pb2.Shortfall()
    status = rpc_status.from_call(cast("grpc.Call", error))
    assert status is not None
    assert any(detail.Unpack(found) for detail in status.details)
    return found


@pytest.mark.parametrize(
    "level",
    [
        {"durability": kv_pb2.DURABILITY_QUORUM},
        {"durability": kv_pb2.DURABILITY_ALL},
        {"replicas": 2},
    ],
)
def test_a_level_that_is_not_reached_is_told_and_the_write_stays(
    api: Api, key: bytes, level: dict[str, int]
) -> None:
    request_ = kv_pb2.PutRequest(put=kv_pb2.Put(key=key, value=b"v"), options=options(**level))
    with pytest.raises(grpc.RpcError) as error:
        api.kv.Put(request_, timeout=SHORT_S)
    refused = told(error.value)
    assert refused.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert refused.info.reason == Reason.NOT_REPLICATED
    found = shortfall(error.value)
    assert (list(found.stored_by), found.operations) == (["shared"], 1)
    assert found.wanted >= 2, "other tests' peers may be members by now"
    assert api.values(key) == [b"v"]
    assert found.first == api.get(key).siblings.values[0].dot


def test_the_own_disk_is_a_level_too(api: Api, key: bytes) -> None:
    for level in ({"durability": kv_pb2.DURABILITY_FSYNC}, {"replicas": 1}):
        request_ = kv_pb2.PutRequest(put=kv_pb2.Put(key=key, value=b"v"), options=options(**level))
        assert api.kv.Put(request_, timeout=CALL_S).result.dot.seq


def test_a_buffered_write_is_acknowledged_from_the_queue_and_committed_as_any_other(
    api: Api, key: bytes
) -> None:
    buffered = options(durability=kv_pb2.DURABILITY_BUFFERED)
    outcomes = many(
        api,
        request(put(key, b"1"), increment(key + b"n"), options=buffered),
        request(put(key + b"later", b"v")),
    )
    assert not any(result.HasField("dot") for result in outcomes[0].response.results)
    assert not outcomes[0].response.session.entries
    assert len(outcomes[0].response.results) == 2
    assert outcomes[1].response.results[0].HasField("dot")
    assert api.values(key) == [b"1"], "what was queued later is committed, so this is too"


def test_a_buffered_write_that_comes_to_nothing_is_counted(api: Api, key: bytes) -> None:
    api.put(key, b"v")
    lost = api.status().buffered_lost
    buffered = options(durability=kv_pb2.DURABILITY_BUFFERED)
    outcomes = many(
        api,
        request(increment(key, 1), increment(key, 1), options=buffered),
        request(put(key + b"later", b"v")),
    )
    assert outcomes[0].HasField("response")
    assert api.values(key) == [b"v"]
    assert api.status().buffered_lost == lost + 2


@pytest.mark.parametrize(
    "level",
    [
        {"replicas": 1_000},
        {"durability": 99},
        {"durability": kv_pb2.DURABILITY_QUORUM, "replicas": 1},
    ],
)
def test_a_level_that_cannot_be_is_refused_before_anything_is_written(
    api: Api, key: bytes, level: dict[str, int]
) -> None:
    request_ = kv_pb2.PutRequest(put=kv_pb2.Put(key=key, value=b"v"), options=options(**level))
    with pytest.raises(grpc.RpcError) as error:
        api.kv.Put(request_, timeout=CALL_S)
    assert told(error.value).info.reason == Reason.BAD_REQUEST
    assert api.values(key) == []


def ahead(api: Api) -> types_pb2.VersionVector:
    """A session that has seen a write of the node that is still to come."""
    return types_pb2.VersionVector(
        entries=[types_pb2.Dot(origin=api.status().origin, seq=api.seq() + 1)]
    )


def test_a_call_waits_for_its_session_and_says_what_is_missing(api: Api, key: bytes) -> None:
    session = ahead(api)
    read = kv_pb2.ReadOptions(after=session)
    calls: list[Callable[[], Any]] = [
        lambda: api.kv.Get(kv_pb2.GetRequest(key=key, options=read), timeout=SHORT_S),
        lambda: api.kv.BatchGet(kv_pb2.BatchGetRequest(keys=[key], options=read), timeout=SHORT_S),
        lambda: api.kv.Scan(kv_pb2.ScanRequest(options=read), timeout=SHORT_S),
        lambda: api.kv.ListConflicts(kv_pb2.ListConflictsRequest(options=read), timeout=SHORT_S),
        lambda: api.kv.Put(
            kv_pb2.PutRequest(put=kv_pb2.Put(key=key, value=b"v"), options=options(after=session)),
            timeout=SHORT_S,
        ),
    ]
    for call in calls:
        refused = refused_in_time(call)
        assert refused.code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert refused.info.reason == Reason.BEHIND
        assert refused.info.metadata["missing"].startswith("shared:")
    waits = api.kv.BatchGet.future(kv_pb2.BatchGetRequest(keys=[key], options=read), timeout=CALL_S)
    written = api.put(key, b"seen")
    assert vector(written.session)[written.result.dot.origin] >= session.entries[0].seq
    assert waits.result().states[0].siblings.values[0].value == b"seen"


def test_a_session_names_no_more_origins_than_there_can_be(api: Api, key: bytes) -> None:
    """A message of them took 3.7 s and 570 MB, in which nobody else was answered."""
    dots = [types_pb2.Dot(origin=origin, seq=1) for origin in range(1, 4_098)]
    session = types_pb2.VersionVector(entries=dots)
    read = kv_pb2.ReadOptions(after=session)
    calls: list[Callable[[], Any]] = [
        lambda: api.kv.Get(kv_pb2.GetRequest(key=key, options=read), timeout=SHORT_S),
        lambda: api.kv.Put(
            kv_pb2.PutRequest(put=kv_pb2.Put(key=key, value=b"v"), options=options(after=session)),
            timeout=SHORT_S,
        ),
    ]
    for call in calls:
        with pytest.raises(grpc.RpcError) as error:
            call()
        assert told(error.value).info.reason == Reason.BAD_REQUEST
    del session.entries[0]
    read = kv_pb2.ReadOptions(after=session)
    with pytest.raises(grpc.RpcError) as error:
        calls[0]()
    assert told(error.value).info.reason == Reason.BEHIND


def test_a_read_of_more_than_this_node_alone_needs_the_others(api: Api, key: bytes) -> None:
    api.put(key, b"v")
    for consistency, ok in (
        (kv_pb2.CONSISTENCY_LOCAL, True),
        (kv_pb2.CONSISTENCY_QUORUM, False),
        (kv_pb2.CONSISTENCY_ALL, False),
    ):
        asked = kv_pb2.GetRequest(key=key, options=kv_pb2.ReadOptions(consistency=consistency))
        if ok:
            assert api.kv.Get(asked, timeout=CALL_S).state.siblings.values[0].value == b"v"
            continue
        with pytest.raises(grpc.RpcError) as error:
            api.kv.Get(asked, timeout=SHORT_S)
        assert told(error.value).info.reason == Reason.BEHIND


def test_reads_tell_how_fresh_they_are_if_asked(api: Api, key: bytes) -> None:
    api.put(key, b"v")
    asked = kv_pb2.GetRequest(key=key, options=kv_pb2.ReadOptions(freshness=True))
    fresh = {each.node: each for each in api.kv.Get(asked, timeout=CALL_S).freshness}
    assert fresh.keys() >= {"shared", "impostor"}
    assert fresh["shared"].age_ms == 0
    assert not fresh["shared"].unknown
    assert fresh["impostor"].unknown
    assert not api.kv.Get(kv_pb2.GetRequest(key=key), timeout=CALL_S).freshness


def test_a_node_that_stops_answers_what_it_took_of_a_stream(
    start: Callable[..., tuple[NodeProcess, Api]],
) -> None:
    """So what it has not answered was not done, and may be done elsewhere."""
    process, api = start()
    over = threading.Event()

    def messages() -> Iterator[kv_pb2.WriteManyRequest]:
        number = 0
        while not over.is_set():
            number += 1
            yield kv_pb2.WriteManyRequest(requests=[request(put(b"%07d" % number, b"v"))])

    replies = api.kv.WriteStream(messages(), timeout=CALL_S)
    answered = 0
    while (error := failed(lambda: next(replies))) is None:
        answered += 1
        if answered == 50:
            process.process.terminate()
    over.set()
    assert told(cast("grpc.RpcError", error)).info.reason == Reason.STOPPING
    process.stop()
    _, api = start()
    kept = api.kv.Scan(kv_pb2.ScanRequest(limit=10_000), timeout=CALL_S)
    assert answered >= 50
    assert [state.key for state in kept.states] == [b"%07d" % n for n in range(1, answered + 1)]
