"""A thread that runs one job after the other and reports back to the event loop.

Not a ThreadPoolExecutor: handing a job over and its result back costs a lock, a condition and a
future there; here a queue and one wake-up of the loop.
"""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar

Job = Callable[[], None]
Done = Callable[[BaseException | None], None]
T = TypeVar("T")


class Worker(ABC):
    """Runs jobs in the order they came, apart from the event loop."""

    @abstractmethod
    def run(self, job: Job, done: Done) -> None:
        """Run ``job`` apart, then ``done(its exception or None)`` on the event loop."""

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
        self._jobs: SimpleQueue[tuple[Job, Done, asyncio.AbstractEventLoop] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def run(self, job: Job, done: Done) -> None:
        """See ``Worker``."""
        self._jobs.put((job, done, asyncio.get_running_loop()))

    def close(self) -> None:
        """See ``Worker``."""
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, done, loop = item
            error: BaseException | None = None
            try:
                job()
            except BaseException as caught:  # handed to `done`, which decides
                error = caught
            loop.call_soon_threadsafe(done, error)
