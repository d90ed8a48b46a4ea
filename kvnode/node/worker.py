"""A thread that runs one job after the other and reports back to the event loop.

Not a ThreadPoolExecutor: handing a job over and its result back costs a lock, a condition and a
future there; here a queue and one wake-up of the loop.

Even so, to and fro wakes two threads, which takes as long as syncing a small block to a fast disk.
It is worth it where others have something to do meanwhile: what they bring gathers for the next
round. Where rounds of a single request follow each other nobody does, and the loop runs the job
itself. It must not stand still for long, so it does that only while such jobs are quick, and goes
back to the thread with the first one that is not, or that is not alone.
"""

from __future__ import annotations

import asyncio
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar

Job = Callable[[], None]
Done = Callable[[BaseException | None], None]
T = TypeVar("T")

QUICK_S = 0.001
"""As long as the loop may stand still, and about as long as it takes for a call anyway."""
QUICK_BYTES = 16 << 10
"""A block that is larger takes longer to write and to sync than the small ones before it."""
QUICK_JOBS = 16
"""So many in a row, each alone, and the next one is taken to be like them."""


class Worker(ABC):
    """Runs jobs in the order they came, apart from the event loop."""

    @abstractmethod
    def run(self, job: Job, done: Done, *, alone: bool = False) -> None:
        """Run ``job`` apart, then ``done(its exception or None)`` on the event loop.

        Args:
            alone: nobody is known to do anything meanwhile, so it need not be apart if it is quick.
        """

    @abstractmethod
    def close(self) -> None:
        """Let the jobs that wait finish and end."""

    async def result(self, job: Callable[[], T]) -> T:
        """What ``job`` returns or raises, run in the thread."""
        ended: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        results: list[T] = []

        def done(error: BaseException | None) -> None:
            if ended.done():
                return  # cancelled
            if error is None:
                ended.set_result(results[0])
            else:
                ended.set_exception(error)

        self.run(lambda: results.append(job()), done)
        return await ended


class ThreadWorker(Worker):
    """One thread."""

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[tuple[Job, Done, bool, asyncio.AbstractEventLoop] | None]
        self._jobs = SimpleQueue()
        self._unfinished = 0
        """Jobs the thread has, as far as the loop knows."""
        self._quick = 0
        """Quick jobs in a row that were alone. The loop looks only while the thread has no job."""
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def run(self, job: Job, done: Done, *, alone: bool = False) -> None:
        """See ``Worker``."""
        loop = asyncio.get_running_loop()
        if alone and not self._unfinished and self._quick >= QUICK_JOBS:
            loop.call_soon(done, self._perform(job, alone=True))
            return
        self._unfinished += 1
        self._jobs.put((job, done, alone, loop))

    def close(self) -> None:
        """See ``Worker``."""
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, done, alone, loop = item
            loop.call_soon_threadsafe(self._finished, done, self._perform(job, alone=alone))

    def _finished(self, done: Done, error: BaseException | None) -> None:
        self._unfinished -= 1
        done(error)

    def _perform(self, job: Job, *, alone: bool) -> BaseException | None:
        began = time.perf_counter()
        error: BaseException | None = None
        try:
            job()
        except BaseException as caught:  # handed to `done`, which decides
            error = caught
        quick = alone and time.perf_counter() - began < QUICK_S
        self._quick = self._quick + 1 if quick else 0
        return error
