"""Loops count every call once, and an open one from when the call was due."""

from __future__ import annotations

import asyncio
import time

import pytest

from bench.loads import closed_loop, open_loop


class Full(Exception):
    """A refusal."""


def is_full(error: Exception) -> bool:
    return isinstance(error, Full)


def test_a_closed_loop_has_as_many_calls_in_progress_as_callers() -> None:
    most = running = made = 0

    async def call() -> int:
        nonlocal most, running, made
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        made += 1
        return 10

    run = asyncio.run(closed_loop([call] * 5, seconds=0.05))
    assert most == 5
    assert run.operations_all == 10 * made
    assert len(run.latencies_ms) == made
    assert min(run.latencies_ms) > 0.9


def test_what_the_warm_up_did_is_not_measured() -> None:
    made = 0

    async def call() -> int:
        nonlocal made
        made += 1
        await asyncio.sleep(0.001)
        return 1

    run = asyncio.run(closed_loop([call], seconds=0.02, warmup_s=0.02))
    assert run.operations_all == made
    assert 0 < len(run.latencies_ms) < made


def test_every_caller_of_a_closed_loop_makes_a_call_that_counts() -> None:
    """Also where the time is over before they come to it."""

    async def call() -> int:
        return 1

    run = asyncio.run(closed_loop([call] * 3, seconds=0.0))
    assert run.operations_all == len(run.latencies_ms) == 3


def test_an_open_loop_loses_no_operation_of_calls_that_overlap() -> None:
    async def call(_number: int) -> int:
        await asyncio.sleep(0.01)
        return 7

    offered = asyncio.run(open_loop(call, calls_per_s=1_000, seconds=0.05, refused=is_full))
    assert offered.calls >= 2
    assert offered.operations == 7 * offered.calls
    assert offered.taken_share == 1
    assert max(offered.depths) > 1


def test_what_waits_for_its_turn_is_part_of_its_latency() -> None:
    """Else a server that stands still for a second has one slow call instead of thousands."""
    turn = asyncio.Lock()

    async def call(_number: int) -> int:
        async with turn:
            await asyncio.sleep(0.005)
        return 1

    offered = asyncio.run(open_loop(call, calls_per_s=1_000, seconds=0.05, refused=is_full))
    assert offered.latencies_ms[-1] > 5 * (len(offered.latencies_ms) - 1) * 0.5
    assert offered.drained_s > 0


def test_a_call_that_comes_late_because_the_loop_stood_still_counts_from_when_it_was_due() -> None:
    async def call(number: int) -> int:
        if number == 0:
            time.sleep(0.05)  # noqa: ASYNC251 - stands still, on purpose
        return 1

    offered = asyncio.run(open_loop(call, calls_per_s=1_000, seconds=0.06, refused=is_full))
    assert offered.latencies_ms[1] > 40, "due after 1 ms, made after 50"


def test_refusals_and_other_errors_are_told_apart() -> None:
    async def call(number: int) -> int:
        if number % 3 == 1:
            raise Full
        if number % 3 == 2:
            raise OSError
        return 1

    offered = asyncio.run(open_loop(call, calls_per_s=1_000, seconds=0.02, refused=is_full))
    assert offered.refused + sum(offered.errors.values()) + offered.operations == offered.calls
    assert set(offered.errors) <= {"OSError"}
    assert offered.refused >= 1


def test_an_open_loop_ends_when_told_to() -> None:
    async def run() -> int:
        stop = asyncio.Event()

        async def call(number: int) -> int:
            if number == 3:
                stop.set()
            return 1

        loop = open_loop(call, calls_per_s=1_000, seconds=60, refused=is_full, stop=stop)
        return (await asyncio.wait_for(loop, 30)).calls

    assert asyncio.run(run()) >= 4


def test_an_error_of_a_closed_loop_is_not_swallowed_and_ends_all_callers() -> None:
    """Else they would run beside what is measured next."""
    calls = 0

    async def fail() -> int:
        await asyncio.sleep(0)
        raise OSError("gone")

    async def call() -> int:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0)
        return 1

    async def run() -> int:
        with pytest.raises(OSError, match="gone"):
            async with asyncio.timeout(30):
                await closed_loop([call, fail, call], seconds=600)
        made = calls
        for _ in range(10):
            await asyncio.sleep(0)
        return calls - made

    assert asyncio.run(run()) == 0
    assert calls
