"""Many seeds, on all cores, until they are through or the time is up."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context

from tests.sim.report import Failure, Tally
from tests.sim.schedule import OPERATIONS, draw
from tests.sim.world import play

CHUNK = 4
"""Seeds per task of a worker."""


@dataclass(frozen=True, slots=True)
class Options:
    """What all runs have in common."""

    storage: str = "mixed"
    operations: int = OPERATIONS

    def command(self, seed: int) -> str:
        """Replays one seed."""
        words = ["python -m tests.sim", f"--trace {seed}"]
        if self.storage != "mixed":
            words.append(f"--storage {self.storage}")
        if self.operations != OPERATIONS:
            words.append(f"--operations {self.operations}")
        return " ".join(words)


def run_seeds(seeds: list[int], options: Options) -> Tally:
    """One after the other, in this process."""
    tally = Tally()
    for seed in seeds:
        started = time.process_time()
        plan = draw(seed, storage=options.storage, operations=options.operations)
        result = play(plan)
        tally.seeds += 1
        tally.operations += plan.operations
        tally.counts.update(result.counts)
        tally.cpu_s += time.process_time() - started
        if result.findings:
            tally.failures.append(Failure(seed, result.findings, options.command(seed)))
    return tally


def run_many(
    seeds: Iterator[int],
    options: Options,
    *,
    jobs: int,
    until: float | None,
    tell: Callable[[Tally, Tally], None],
) -> Tally:
    """All of them, or as many as there is time for.

    Args:
        seeds: may be endless, if there is an end of time.
        options: of all runs.
        jobs: processes.
        until: when to begin no more, monotonic seconds.
        tell: called with the sum so far and with what has just been added.
    """
    total = Tally()
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_begin)
    running: set[Future[Tally]] = set()
    try:
        while True:
            while len(running) < 2 * jobs and (until is None or time.monotonic() < until):
                chunk = list(islice(seeds, CHUNK))
                if not chunk:
                    break
                running.add(pool.submit(run_seeds, chunk, options))
            if not running:
                return total
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for each in done:
                total.add(each.result())
                tell(total, each.result())
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """What was imported is never garbage: looking at it after every seed would take longer."""
    gc.collect()
    gc.freeze()
