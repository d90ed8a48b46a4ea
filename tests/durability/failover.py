"""kill -9 of the node that clients talk to: ``python -m tests.durability.failover --rounds 50``.

Three nodes, and two clients that know all three: a ``Client`` with threads and an ``AsyncClient``.
Each has callers of two kinds. *Busy* ones write one batch after the other, so that every kill meets
writes on their way; *paced* ones begin a batch now and then, as the requests of a web server do. A
batch is a put of a register of its own and one increment of the caller's counter, so a lost,
doubled or torn one makes the counter differ from the registers.

Each round kills the node that one of the two clients talks to, and starts it again. What is
measured is, for each client that talked to that node, the time from before the kill to the end of
the next write that succeeds. Such a write has begun after the kill: a caller whose write was on its
way belongs to the killed node until that is back or the caller's deadline is over (only that node
knows what became of it). How long *those* waited is told too.

At the end every register and every counter on all nodes is compared with what the callers were
told, and every exception has to be one that the README documents for a write.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from cluster.processes import LocalCluster
from kvnode import Client
from tests.cluster.convergence import assert_same, wait_for
from tests.durability.callers import Load, LoopLoad, Tally, ThreadLoad

START_S: Final = 120.0
"""For a node to serve again; how long that takes is not the question here."""
WRITES_BETWEEN: Final = 30
"""Acknowledged by each client between one kill and the next."""


class Rounds:
    """A cluster, the load on it and what came of it."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.tally = Tally()
        self._cluster = stack.enter_context(
            LocalCluster(3, directory=directory, start_deadline_s=START_S)
        )
        self._cluster.wait_connected(deadline_s=START_S)
        self._names = {address: name for name, address in self._cluster.endpoints.items()}
        endpoints = list(self._cluster.endpoints.values())
        self._loads = (ThreadLoad("threads", endpoints), LoopLoad("loop", endpoints))

    def run(self, rounds: int) -> Tally:
        """So many of them, then everything is compared."""
        started = time.monotonic()
        with ExitStack() as stack:
            for load in self._loads:
                load.enter()
                stack.callback(load.leave)
            for number in range(rounds):
                self._round(self._loads[number % len(self._loads)])
        self._finish()
        self.tally.seconds = time.monotonic() - started
        return self.tally

    def _round(self, chosen: Load) -> None:
        enough = [load.acknowledged + WRITES_BETWEEN for load in self._loads]
        self._wait(lambda: all(map(reached, self._loads, enough)), "writes before the kill")
        for load in self._loads:
            load.forget()
        victim = chosen.talks_to()
        hit = [load for load in self._loads if load.talks_to() == victim]
        killed = time.monotonic()
        self._cluster.kill(self._names[victim])
        dead = time.monotonic()
        for load in hit:
            self._wait(
                lambda load=load: load.back_at(killed, dead, victim) is not None,  # type: ignore[misc]
                f"a success of {load.name} after the kill",
            )
        self._cluster.start(self._names[victim])
        self._cluster.wait_connected(deadline_s=START_S)
        for load in hit:
            back = load.back_at(killed, dead, victim)
            assert back is not None, "waited for"
            self.tally.back_s.setdefault(load.name, []).append(back - killed)
            self.tally.held_s += load.held(killed, dead)
        self.tally.rounds += 1

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        wait_for(condition, what, deadline_s=30.0)

    def _finish(self) -> None:
        with ExitStack() as stack:
            clients = {
                name: stack.enter_context(Client(address, timeout_s=20.0))
                for name, address in self._cluster.endpoints.items()
            }
            states = assert_same(clients)
        for load in self._loads:
            for caller in load.callers:
                caller.judge(states, self.tally)


def reached(load: Load, enough: int) -> bool:
    """Whether so many of its batches are acknowledged."""
    return load.acknowledged >= enough


def rounds_of_kills(rounds: int, directory: Path) -> Tally:
    """Run them in ``directory``."""
    with ExitStack() as stack:
        return Rounds(directory, stack).run(rounds)


def main() -> int:
    """Run it; 1 if a write was lost, doubled or torn, or an exception was no documented one."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.durability.failover", description=main.__doc__
    )
    parser.add_argument("--rounds", type=int, default=50)
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        tally = rounds_of_kills(options.rounds, Path(folder))
    print(tally)
    return 1 if tally.problems else 0


if __name__ == "__main__":
    sys.exit(main())
