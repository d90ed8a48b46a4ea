"""Who shares a call with whom, and that sharing changes nothing for anybody."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode

from kvnode import (
    AsyncClient,
    Client,
    DeadlineExceeded,
    InvalidArgument,
    KeyNotFound,
    NodeUnavailable,
    OutcomeUnknown,
)
from kvnode.client import lanes
from kvnode.client.lanes import FLIGHTS_MAX, HALVES_MIN
from kvnode.v1 import kv_pb2, types_pb2
from tests.client.scripted import (
    DOT,
    Answer,
    ScriptedNode,
    behind,
    fail,
    hang,
    outcomes,
    pack,
    refuse,
    reply,
    scripted_node,
)

OUTCOME = kv_pb2.WriteManyResponse.Outcome
DONE = OUTCOME(response=kv_pb2.WriteResponse(results=[kv_pb2.WriteResult(dot=DOT)]))


# ---- threads


@contextmanager
def away(node: ScriptedNode, client: Client, gate: threading.Event) -> Iterator[Any]:
    """A pool whose callers find every place of the lane taken until the gate opens."""
    node.script[:0] = [behind(gate)] * FLIGHTS_MAX
    with ThreadPoolExecutor(40) as pool:
        for number in range(FLIGHTS_MAX):
            pool.submit(client.put, f"first{number}", "v")
            assert node.arrived.acquire(timeout=60)
        yield pool
        gate.set()


def waiting(client: Client, count: int) -> None:
    """Return when so many callers wait in a lane."""
    lanes = client._driver._lanes  # noqa: SLF001 - nothing else shows it
    for _ in range(10_000):
        if sum(len(each.waiting) for each in list(lanes.values())) == count:
            return
        threading.Event().wait(0.001)
    raise AssertionError(f"{count} callers never waited")


def test_threads_that_wait_share_the_next_call(node: ScriptedNode) -> None:
    gate = threading.Event()
    with Client(node.address) as client:
        with away(node, client, gate) as pool:
            futures = [pool.submit(client.increment, f"k{number}") for number in range(30)]
            waiting(client, 30)
        assert [future.result().counter for future in futures] == [5] * 30
    assert node.methods == ["Write"] * FLIGHTS_MAX + ["WriteMany"]
    assert len(set(node.request_ids)) == 30 + FLIGHTS_MAX


def test_an_idle_caller_goes_alone_and_at_once(client: Client, node: ScriptedNode) -> None:
    client.put("a", "1")
    client.put("b", "2")
    assert node.methods == ["Write", "Write"]


def test_each_of_many_gets_its_own_outcome(node: ScriptedNode) -> None:
    """The second is refused, the node cannot take the third, and of the fourth it cannot say."""
    gate = threading.Event()
    with scripted_node() as other, Client([node.address, other.address]) as client:
        with away(node, client, gate) as pool:
            node.script.append(
                outcomes(
                    DONE,
                    OUTCOME(error=status(StatusCode.INVALID_ARGUMENT, "BAD_VALUE")),
                    OUTCOME(error=status(StatusCode.UNAVAILABLE, "STOPPING")),
                    OUTCOME(error=Status(code=2, message="the log failed")),
                )
            )
            node.script.append(fail(StatusCode.UNIMPLEMENTED))
            futures: list[Future[Any]] = []
            for number in range(4):
                futures.append(pool.submit(client.put, f"k{number}", "v"))
                waiting(client, number + 1)
        assert futures[0].result().endpoint == node.address
        with pytest.raises(InvalidArgument):
            futures[1].result()
        assert futures[2].result().endpoint == other.address
        with pytest.raises(OutcomeUnknown, match="put of key 'k3'") as raised:
            futures[3].result()
    assert raised.value.endpoint == node.address
    assert [each.put.key for each in other.operations] == [b"k2"]


def test_a_refusal_of_the_whole_call_is_found_out_caller_by_caller(node: ScriptedNode) -> None:
    """A node may be stricter than the protocol: one caller's value must not be all callers'."""
    gate = threading.Event()
    with Client(node.address) as client:
        with away(node, client, gate) as pool:
            too_large = refuse(StatusCode.INVALID_ARGUMENT, "BATCH_TOO_LARGE")
            node.script += [too_large, too_large]
            futures: list[Future[Any]] = []
            for number in range(4):
                futures.append(pool.submit(client.put, f"k{number}", "v"))
                waiting(client, number + 1)
        for future in futures:
            assert future.result().dot
    assert [each.put.key for each in node.operations[-4:]] == [b"k0", b"k1", b"k2", b"k3"]


def test_a_lost_reply_to_many_is_asked_for_again_with_the_same_ids(node: ScriptedNode) -> None:
    gate = threading.Event()
    with Client(node.address) as client:
        with away(node, client, gate) as pool:
            node.script.append(fail(StatusCode.UNAVAILABLE, "Socket closed"))
            futures = [pool.submit(client.increment, f"k{number}") for number in range(5)]
            waiting(client, 5)
        assert [future.result().counter for future in futures] == [5] * 5
    first, second = node.calls[-2:]
    assert first == second


def test_a_call_without_a_reply_does_not_hold_up_the_others(node: ScriptedNode) -> None:
    """It is asked for again until its deadline; that must not be everybody's."""
    node.script = [fail(StatusCode.UNAVAILABLE, "Socket closed"), hang] * FLIGHTS_MAX
    with Client(node.address, timeout_s=8) as client, ThreadPoolExecutor(8) as pool:
        stuck = [
            pool.submit(client.put, f"stuck{number}", "v", timeout_s=3)
            for number in range(FLIGHTS_MAX)
        ]
        for _ in range(2 * FLIGHTS_MAX):
            assert node.arrived.acquire(timeout=60)
        assert client.put("k", "v").dot
        assert not any(future.done() for future in stuck)
        for future in stuck:
            with pytest.raises(OutcomeUnknown):
                future.result()


def test_a_caller_whose_time_is_over_before_there_is_room_sends_nothing(
    node: ScriptedNode,
) -> None:
    gate = threading.Event()
    with Client(node.address, timeout_s=20) as client, away(node, client, gate) as pool:
        hurried = pool.submit(client.put, "hurried", "v", timeout_s=0.3)
        patient = pool.submit(client.put, "patient", "v")
        with pytest.raises(NodeUnavailable, match="nothing was done"):
            hurried.result(10)
        gate.set()
        assert patient.result().dot
    assert b"hurried" not in [each.put.key for each in node.operations]


def test_a_caller_keeps_its_deadline_in_a_call_that_lasts_longer(node: ScriptedNode) -> None:
    """Who waits first does not make the call for all if others have more time."""
    first, second = threading.Event(), threading.Event()
    with Client(node.address, timeout_s=20) as client, ThreadPoolExecutor(8) as pool:
        with away(node, client, first):
            node.script.append(behind(second))
            hurried = pool.submit(client.put, "hurried", "v", timeout_s=2)
            waiting(client, 1)
            patient = pool.submit(client.put, "patient", "v")
            waiting(client, 2)
        assert node.arrived.acquire(timeout=60)
        with pytest.raises(OutcomeUnknown):
            hurried.result(8)
        assert not patient.done()
        second.set()
        assert patient.result().dot
    assert node.methods[-1] == "WriteMany"


def test_reads_share_calls_too_and_keep_their_own_fates(node: ScriptedNode) -> None:
    gate = threading.Event()
    with Client(node.address) as client, ThreadPoolExecutor(20) as pool:
        node.script = [behind(gate)] * FLIGHTS_MAX
        first = [pool.submit(client.get, "k") for _ in range(FLIGHTS_MAX)]
        for _ in first:
            assert node.arrived.acquire(timeout=60)
        state = types_pb2.KeyState(key=b"b", pn_counter=types_pb2.CounterValue(value=1))
        absent = types_pb2.KeyState(key=b"c", context=b"nothing")
        damaged = refuse(StatusCode.DATA_LOSS, "STATE_DAMAGED")
        one = reply(kv_pb2.BatchGetResponse(states=[state, absent]))
        node.script += [damaged, damaged, one]
        futures: list[Future[Any]] = []
        for number, key in enumerate(("a", "b", "c")):
            futures.append(pool.submit(client.get, key))
            waiting(client, number + 1)
        gate.set()
        with pytest.raises(Exception, match="no"):
            futures[0].result()
        assert futures[1].result().value == 1
        with pytest.raises(KeyNotFound) as raised:
            futures[2].result()
        assert raised.value.context == b"nothing"
    assert node.methods[FLIGHTS_MAX:] == ["BatchGet"] * 3


def test_keys_that_are_too_much_for_one_reply_are_asked_for_in_parts(
    client: Client, node: ScriptedNode
) -> None:
    too_large = refuse(StatusCode.INVALID_ARGUMENT, "BATCH_TOO_LARGE")
    node.script = [too_large, too_large]
    found = client.batch_get(["a", "b", "c", "d"])
    assert [each.key for each in found] == [b"a", b"b", b"c", b"d"]
    asked = [list(request.keys) for _, request in node.calls]
    assert asked == [[b"a", b"b", b"c", b"d"], [b"a", b"b"], [b"a"], [b"b"], [b"c", b"d"]]


# ---- tasks


@pytest.mark.parametrize(("count", "calls"), [(HALVES_MIN - 1, 1), (HALVES_MIN, 2)])
def test_tasks_that_call_at_once_share_calls(node: ScriptedNode, count: int, calls: int) -> None:
    """Many of them in halves."""

    async def work() -> None:
        async with AsyncClient(node.address) as client:
            receipts = await asyncio.gather(*(client.increment(f"k{n}") for n in range(count)))
            assert [receipt.counter for receipt in receipts] == [5] * count
            states = await asyncio.gather(*(client.get(f"k{n}") for n in range(count)))
            assert [state.key for state in states] == [b"k%d" % n for n in range(count)]
            await client.put("alone", "v")

    asyncio.run(work())
    assert node.methods == ["WriteMany"] * calls + ["BatchGet"] * calls + ["Write"]
    assert len(set(node.request_ids)) == count + 1


def test_writes_of_one_key_stay_in_order_though_not_awaited(node: ScriptedNode) -> None:
    async def work() -> None:
        async with AsyncClient(node.address) as client:
            tasks = []
            for number in range(50):
                tasks.append(asyncio.create_task(client.put("k", str(number))))
                await asyncio.sleep(0)
            await asyncio.gather(*tasks)

    asyncio.run(work())
    assert [int(each.put.value) for each in node.operations] == list(range(50))


def test_many_callers_of_one_counter_have_two_calls_on_their_way(node: ScriptedNode) -> None:
    """And a delete of it, though nobody awaited them, comes behind them all."""
    gates = [threading.Event(), threading.Event()]
    node.script = [behind(gate) for gate in gates]

    async def work() -> None:
        async with AsyncClient(node.address) as client:
            tasks = [asyncio.create_task(client.increment("hot")) for _ in range(HALVES_MIN)]
            await asyncio.sleep(0)
            delete = asyncio.create_task(client.delete("hot"))
            for _ in gates:
                assert await asyncio.to_thread(node.arrived.acquire, timeout=60)
            gates[0].set()
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(0.05)
            assert not delete.done()
            gates[1].set()
            await asyncio.gather(*tasks, delete)

    asyncio.run(work())
    assert node.methods == ["WriteMany", "WriteMany", "Write"]
    assert len(set(node.request_ids)) == HALVES_MIN + 1


def test_tasks_that_come_while_another_is_away_go_together_behind_it(
    node: ScriptedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "FAR_S", 1_000.0)
    gate = threading.Event()
    node.script = [behind(gate)]

    async def work() -> None:
        async with AsyncClient(node.address) as client:
            tasks = []
            for number in range(5):
                tasks.append(asyncio.create_task(client.put(f"k{number}", "v")))
                if not number:
                    assert await asyncio.to_thread(node.arrived.acquire, timeout=60)
                await asyncio.sleep(0)
            gate.set()
            await asyncio.gather(*tasks)

    asyncio.run(work())
    assert node.methods == ["Write", "WriteMany"]


def test_a_cancelled_task_that_was_not_sent_sends_nothing(
    node: ScriptedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "FAR_S", 1_000.0)  # else they may go behind the first
    gate = threading.Event()
    node.script = [behind(gate)]

    async def work() -> None:
        async with AsyncClient(node.address) as client:
            first = asyncio.create_task(client.put("first", "v"))
            assert await asyncio.to_thread(node.arrived.acquire, timeout=60)
            cancelled = asyncio.create_task(client.put("cancelled", "v"))
            kept = asyncio.create_task(client.put("kept", "v"))
            await asyncio.sleep(0)
            cancelled.cancel()
            gate.set()
            await asyncio.gather(first, kept)
            with pytest.raises(asyncio.CancelledError):
                await cancelled

    asyncio.run(work())
    assert {each.put.key for each in node.operations} == {b"first", b"kept"}


def test_a_task_has_a_deadline_of_its_own(node: ScriptedNode) -> None:
    node.script = [hang, hang]

    async def work() -> None:
        async with AsyncClient(node.address, timeout_s=20) as client:
            with pytest.raises(OutcomeUnknown):
                await client.put("k", "v", timeout_s=0.3)
            with pytest.raises(DeadlineExceeded):
                await client.get("k", timeout_s=0.3)

    asyncio.run(work())


@pytest.mark.parametrize("first", [[hang], [fail(StatusCode.UNAVAILABLE, "Socket closed"), hang]])
def test_a_task_keeps_its_deadline_wherever_its_entry_is(
    node: ScriptedNode, first: list[Answer]
) -> None:
    """In a flight that others are in, in one that lost its reply and has stepped aside, and in the
    queue behind others.
    """
    gate = threading.Event()
    node.script = [*first, *[behind(gate)] * 2]

    async def work() -> None:
        async with AsyncClient(node.address, timeout_s=20) as client:
            patient = asyncio.create_task(client.put("a", "v"))
            with pytest.raises(OutcomeUnknown):
                await client.put("b", "v", timeout_s=0.5)
            away = []
            for key in "cd":
                away.append(asyncio.create_task(client.put(key, "v")))
                await asyncio.sleep(0.05)
            with pytest.raises(NodeUnavailable, match="nothing was done"):
                await client.put("e", "v", timeout_s=0.2)
            assert not patient.done()
            gate.set()
            await asyncio.gather(*away)
            patient.cancel()

    asyncio.run(work())
    assert b"e" not in [each.put.key for each in node.operations]


def status(code: StatusCode, reason: str) -> Status:
    """What a node says of one request among many."""
    number: int = code.value[0]
    return Status(
        code=number, message="because", details=[pack(ErrorInfo(domain="kvnode", reason=reason))]
    )
