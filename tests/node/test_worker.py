"""Where a worker's jobs run: a lone quick one on the loop, all others apart, all in their order."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable

import pytest

from kvnode.node import worker as module
from kvnode.node.worker import QUICK_JOBS, ThreadWorker

SLOW_S = 0.05
Ended = asyncio.Future[BaseException | None]


class Played:
    """A worker, and where its jobs ran."""

    def __init__(self) -> None:
        self.worker = ThreadWorker("played")
        self.apart: list[bool] = []

    def begin(
        self, job: Callable[[], None], *, alone: bool
    ) -> asyncio.Future[BaseException | None]:
        ended: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

        def observed() -> None:
            self.apart.append(threading.current_thread() is not threading.main_thread())
            job()

        self.worker.run(observed, ended.set_result, alone=alone)
        assert not ended.done(), "who starts a job goes on before it hears of its end"
        return ended

    async def all_of(self, jobs: int, *, alone: bool = True) -> None:
        for _ in range(jobs):
            assert await self.begin(lambda: None, alone=alone) is None


def played(test: Callable[[Played], Awaitable[None]]) -> None:
    async def run() -> None:
        subject = Played()
        await test(subject)
        subject.worker.close()

    asyncio.run(asyncio.wait_for(run(), 60))


@pytest.fixture(autouse=True)
def _busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that does nothing is quick, however busy the machine is that runs the tests."""
    monkeypatch.setattr(module, "QUICK_S", SLOW_S)


def test_after_enough_quick_jobs_that_were_alone_the_loop_runs_the_next_itself() -> None:
    """Handing it over costs more than doing it."""

    async def test(subject: Played) -> None:
        await subject.all_of(QUICK_JOBS + 3)
        assert subject.apart == [True] * QUICK_JOBS + [False] * 3

    played(test)


def test_after_a_slow_job_they_are_apart_again() -> None:
    """A slow disk holds up whoever waits for it, not the reads and the peers of a node."""

    async def test(subject: Played) -> None:
        await subject.all_of(QUICK_JOBS)
        await subject.begin(lambda: time.sleep(2 * SLOW_S), alone=True)
        await subject.all_of(QUICK_JOBS + 1)
        assert subject.apart == [True] * QUICK_JOBS + [False] + [True] * QUICK_JOBS + [False]

    played(test)


def test_jobs_with_company_are_apart_and_end_the_run() -> None:
    """While one of those runs, more gathers for the next."""

    async def test(subject: Played) -> None:
        await subject.all_of(QUICK_JOBS)
        await subject.all_of(1, alone=False)
        await subject.all_of(QUICK_JOBS + 1)
        assert subject.apart == [True] * (2 * QUICK_JOBS + 1) + [False]

    played(test)


def test_no_job_overtakes_one_that_the_thread_has() -> None:
    """A block is appended behind those before it."""

    async def test(subject: Played) -> None:
        await subject.all_of(QUICK_JOBS)
        ran: list[str] = []
        gate = threading.Event()

        def first() -> None:
            gate.wait()
            ran.append("first")

        both = [subject.begin(first, alone=False)]
        both.append(subject.begin(lambda: ran.append("second"), alone=True))
        gate.set()
        await asyncio.gather(*both)
        assert ran == ["first", "second"]
        assert subject.apart == [True] * (QUICK_JOBS + 2)

    played(test)


def test_a_failure_on_the_loop_is_told_like_one_of_the_thread() -> None:
    """The engine must not learn of a full disk in the middle of starting a round."""

    async def test(subject: Played) -> None:
        def fails() -> None:
            raise OSError("full")

        await subject.all_of(QUICK_JOBS)
        error = await subject.begin(fails, alone=True)
        assert isinstance(error, OSError)
        assert subject.apart[-1] is False

    played(test)
