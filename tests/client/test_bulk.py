"""The bulk writer: when chunks leave, back-pressure, and that no failure is overlooked."""

from __future__ import annotations

import asyncio
import threading

import pytest
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st

from kvnode import (
    AsyncClient,
    BulkError,
    BulkLimits,
    Client,
    DataType,
    Delete,
    FailedPrecondition,
    InvalidArgument,
    Operation,
    OutcomeUnknown,
    Progress,
)
from kvnode.client.bulk import Bulk
from kvnode.client.calls import Calls
from kvnode.client.failover import Failover
from kvnode.client.gathering import gathering
from kvnode.client.operations import Increment, Put, key_of, write_request
from kvnode.client.settings import settings_of
from kvnode.v1 import kv_pb2
from tests.client.scripted import ScriptedNode, behind, fail, operations_in, refuse

COUNTERS = (None, DataType.G_COUNTER, DataType.PN_COUNTER)
LIMITS = BulkLimits(operations_max=10, bytes_max=1000, interval_s=60, window_chunks=2)


class Clock:
    """Time that stands still."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_chunk_leaves_by_count_bytes_time_or_flush() -> None:
    clock = Clock()
    calls = Calls(Failover(["h:1"], clock), settings_of(5, "fsync", None, session=False))
    waiting = gathering(calls, LIMITS, None, None)
    assert waiting.wait_s() is None
    assert waiting.increment("k", 1, None), "nobody is told of a chunk that was begun"
    assert waiting.wait_s() == 60
    clock.now += 59
    assert waiting.wait_s() == 1
    assert not waiting.increment("k", 1, None)
    clock.now += 1
    assert waiting.wait_s() == 0
    assert len(waiting.chunk()) == 2

    waiting.put("k", b"x" * 600, lww=False, ttl=None)
    assert waiting.wait_s() == 60
    assert waiting.put("k", b"x" * 600, lww=False, ttl=None)
    assert waiting.wait_s() == 0
    assert len(waiting.chunk()) == 1  # both would be more than a chunk holds
    waiting.chunk()

    assert [waiting.increment("k", 1, None) for _ in range(10)] == [True, *[False] * 8, True]
    assert waiting.wait_s() == 0
    assert len(waiting.chunk()) == 10

    waiting.increment("k", 1, None)
    waiting.flush()
    assert waiting.wait_s() == 0


@given(
    st.lists(
        st.one_of(
            st.builds(Put, st.sampled_from(["a", b"a", "b"]), st.just("v"), st.booleans()),
            st.builds(Put, st.just("a"), st.just("v"), ttl=st.sampled_from([None, 1.0])),
            st.builds(Put, st.just("a"), st.just("v"), context=st.just(b"c")),
            st.builds(
                Increment, st.just("n"), st.integers(1, 2), st.sampled_from([None, *COUNTERS])
            ),
            st.builds(Delete, st.just("a")),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_a_chunk_asks_for_what_was_taken(operations: list[Operation]) -> None:
    """In columns or not, as one batch or taken apart."""
    calls = Calls(Failover(["h:1"], Clock()), settings_of(5, "fsync", None, session=False))
    waiting = gathering(calls, LIMITS, None, None)
    for each in operations:
        match each:
            case Put(key, value, lww, None, False, ttl):
                waiting.put(key, value, lww, ttl)
            case Increment(key, amount, kind):
                waiting.increment(key, amount, kind)
            case _:
                waiting.take(each)
    chunk = waiting.chunk()
    assert chunk.operations == operations
    wanted = list(write_request(operations, b"").operations)
    (entry,) = chunk.flight.entries
    assert entry.request.brief
    assert operations_in(entry.request) == wanted
    assert list(entry.keys) == [key_of(each) for each in wanted]
    alike = {type(each) for each in operations} == {Increment}
    assert entry.adds is None or alike
    entry.fail(FailedPrecondition("no"))
    waiting.landed(chunk)
    if len(operations) > 1:
        assert waiting.chunk() is chunk
    parts = chunk.flight.entries
    assert [operations_in(each.request) for each in parts] == [[each] for each in wanted]
    assert len({each.request_id for each in (entry, *parts)}) == len({entry, *parts})


def test_bulk_writes_all_in_order(client: Client, node: ScriptedNode) -> None:
    seen: list[Progress] = []
    with client.bulk(limits=LIMITS, progress=seen.append) as bulk:
        for number in range(95):
            bulk.increment(f"k{number}")
    assert bulk.progress == Progress(taken=95, acknowledged=95) == seen[-1]
    assert [each.increment.key for each in node.operations] == [b"k%d" % n for n in range(95)]
    sizes = [
        len(operations_in(each))
        for method, request in node.calls
        if method == "WriteMany"
        for each in request.requests
    ]
    assert max(sizes) == 10
    assert sum(sizes) == 95
    assert len(set(node.request_ids)) == len(sizes), "a chunk is one write"


def test_who_fails_to_take_its_progress_holds_nothing_up(
    client: Client, node: ScriptedNode, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(_: Progress) -> None:
        raise ValueError("no terminal")

    with client.bulk(limits=LIMITS, progress=fails) as bulk:
        for number in range(95):
            bulk.increment(f"k{number}")
        bulk.flush()
    assert len(node.operations) == 95
    assert caplog.text.count("ValueError: no terminal") == 1


def test_flush_waits_for_what_was_taken(client: Client, node: ScriptedNode) -> None:
    with client.bulk(limits=LIMITS) as bulk:
        bulk.put("k", "v")
        assert node.calls == []
        bulk.flush()
        assert bulk.progress.waiting == 0
        assert len(node.operations) == 1


def test_a_full_window_holds_its_caller(client: Client, node: ScriptedNode) -> None:
    gate = threading.Event()
    node.script = [behind(gate)]
    taken = []

    def feed() -> None:
        with client.bulk(limits=LIMITS) as bulk:
            for number in range(100):
                bulk.increment("k")
                taken.append(number)

    feeder = threading.Thread(target=feed)
    feeder.start()
    assert node.arrived.acquire(timeout=60)
    feeder.join(0.2)
    assert len(taken) <= 20
    gate.set()
    feeder.join(60)
    assert len(taken) == 100


def test_who_waits_for_room_does_not_wait_for_a_writer_that_ended(
    client: Client, node: ScriptedNode
) -> None:
    gate = threading.Event()
    node.script = [behind(gate)]
    ended: list[BaseException] = []

    def feed(bulk: Bulk) -> None:
        try:
            while True:
                bulk.increment("k")
        except RuntimeError as error:
            ended.append(error)

    def leave(feeders: list[threading.Thread]) -> None:
        limits = BulkLimits(operations_max=1, window_chunks=1)  # room for one of them at a time
        with client.bulk(limits=limits) as bulk:
            feeders += [threading.Thread(target=feed, args=(bulk,), daemon=True) for _ in range(3)]
            for feeder in feeders:
                feeder.start()
            assert node.arrived.acquire(timeout=60)
            threading.Timer(0.1, gate.set).start()
            raise ZeroDivisionError

    feeders: list[threading.Thread] = []
    with pytest.raises(ZeroDivisionError):
        leave(feeders)
    for feeder in feeders:
        feeder.join(20)
    assert [str(error) for error in ended] == ["a bulk writer works in its with block only"] * 3


def test_a_flush_does_not_wait_for_what_comes_behind_it(client: Client, node: ScriptedNode) -> None:
    """Another thread that keeps feeding would hold it for ever."""
    first, later = threading.Event(), threading.Event()
    node.script = [behind(first), behind(later)]
    with client.bulk(limits=LIMITS) as bulk:
        bulk.increment("first")
        flushed = threading.Thread(target=bulk.flush)
        flushed.start()
        assert node.arrived.acquire(timeout=60)
        for _ in range(LIMITS.operations_max):
            bulk.increment("second")
        first.set()
        flushed.join(20)
        assert not flushed.is_alive()
        later.set()


def test_a_writer_that_breaks_holds_nobody(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """What must not happen is told, not waited for."""
    monkeypatch.setattr(threading, "excepthook", lambda _: None)

    def breaks(_: Progress) -> None:
        raise KeyboardInterrupt

    def feed() -> None:
        with client.bulk(limits=LIMITS, progress=breaks) as bulk:
            bulk.increment("k")
            bulk.flush()
            bulk.increment("k")
            bulk.flush()

    with pytest.raises(RuntimeError, match="with block"):
        feed()


def test_failures_are_collected_and_raised_at_the_end(client: Client, node: ScriptedNode) -> None:
    """Of the first chunk the node cannot say what became of it, and then will not take it."""
    lost = kv_pb2.WriteManyResponse.Outcome()
    lost.error.code = 2
    node.script = [
        lambda _request, _context: kv_pb2.WriteManyResponse(outcomes=[lost]),
        refuse(StatusCode.FAILED_PRECONDITION, "COUNTER_OVERFLOW"),
    ]

    def feed() -> None:
        with client.bulk(limits=LIMITS) as bulk:
            bulk.increment("a")
            bulk.increment("b")
            bulk.flush()
            bulk.increment("c")

    with pytest.raises(BulkError, match="2 of 3 operations failed: operation 0") as raised:
        feed()
    failures = raised.value.failures
    assert [each.number for each in failures] == [0, 1]
    assert [each.operation for each in failures] == [Increment("a"), Increment("b")]
    (error,) = {each.error for each in failures}
    assert isinstance(error, OutcomeUnknown)
    assert error.request_id in node.request_ids
    assert raised.value.progress == Progress(taken=3, acknowledged=1, failed=2)


def test_too_many_failures_end_it(client: Client, node: ScriptedNode) -> None:
    node.script = [fail(StatusCode.UNIMPLEMENTED)] * 100
    limits = BulkLimits(operations_max=5, failures_max=5, interval_s=60)

    def feed() -> None:
        with client.bulk(limits=limits) as bulk:
            for _ in range(5):
                bulk.increment("k")
            bulk.flush()
            bulk.increment("k")

    with pytest.raises(BulkError) as raised:
        feed()
    assert raised.value.progress == Progress(taken=5, failed=5)


def test_a_mistake_is_the_callers_at_once(client: Client, node: ScriptedNode) -> None:
    bulk = client.bulk(limits=LIMITS)

    def feed() -> None:
        with bulk:
            bulk.put("fine", "v")
            bulk.put("", "v")

    with pytest.raises(InvalidArgument):
        feed()
    assert node.calls == []  # left by an exception, it does not send what waits
    with pytest.raises(RuntimeError, match="with block"):
        bulk.put("k", "v")
    with pytest.raises(InvalidArgument):
        BulkLimits(operations_max=10_001)


def test_who_waits_for_room_on_a_loop_does_not_wait_for_a_writer_that_ended(
    node: ScriptedNode,
) -> None:
    gate = threading.Event()
    node.script = [behind(gate)]

    async def work() -> None:
        async with AsyncClient(node.address) as client:
            bulk = client.bulk(limits=BulkLimits(operations_max=1, window_chunks=1))
            await bulk.__aenter__()
            await bulk.put("k", "v")
            tasks = [asyncio.create_task(bulk.put("k", "v")) for _ in range(3)]
            await asyncio.wait(tasks, timeout=0.1)
            await bulk.__aexit__(ZeroDivisionError, ZeroDivisionError(), None)
            async with asyncio.timeout(20):
                ended = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(each) for each in ended] == [RuntimeError] * 3

    try:
        asyncio.run(work())
    finally:
        gate.set()


def test_the_same_on_a_loop(node: ScriptedNode) -> None:
    async def work() -> None:
        async with AsyncClient(node.address) as client:
            async with client.bulk(limits=LIMITS) as bulk:
                for number in range(95):
                    await bulk.increment(f"k{number}")
                await bulk.flush()
                assert bulk.progress.acknowledged == 95
                await bulk.put("last", "v")
            assert bulk.progress == Progress(taken=96, acknowledged=96)
            node.script = [fail(StatusCode.UNIMPLEMENTED)]
            failing = client.bulk(limits=LIMITS)
            await failing.__aenter__()
            await failing.put("k", "v")
            with pytest.raises(BulkError):
                await failing.__aexit__(None, None, None)

    asyncio.run(work())
    assert [each.increment.key for each in node.operations[:95]] == [
        b"k%d" % number for number in range(95)
    ]
