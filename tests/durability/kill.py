"""kill -9 at random moments under load: ``python -m tests.durability.kill --rounds 300``.

Each round lets writers write to all nodes, kills one at a random moment, starts it again at once
and asks it for what it had acknowledged. Nodes write checkpoints and cut their logs all the time,
so that kills meet those too. A writer's batch is a put of a key of its own and one increment of the
writer's counter, so a lost, doubled or torn batch makes the counter differ from the keys. Half of
the writers give up before the node is back (their last batch is then *unknown*: it may be there or
not, but whole), the others wait and repeat it under its request id, which must not count twice.

With ``--large`` thousands of keys are written over and over meanwhile, so that checkpoints are
large: written by a process of their own, slowly, and undone by a restart if they were not synced.

With one node what is acknowledged was synced by that node alone; with three the others also push
and pull meanwhile, and at the end all must be equal.
"""

from __future__ import annotations

import argparse
import random
import sys
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from cluster.processes import LocalCluster
from kvnode import Client, Increment, KeyState, KvnodeError, OutcomeUnknown, Put
from kvnode.storage.unsynced import is_kept
from tests.cluster.convergence import assert_same, wait_for

PATIENCE_S = (0.3, 5.0)
"""Of a node's writers: less than a restart takes, and more."""
WRITES_MAX = 150
"""A kill comes after 1 to so many acknowledged writes of the round."""
CONFIG = """\
checkpoint_interval_ms = 20
retention_interval_ms = 20
log_retention_bytes = 50_000
"""
LARGE_CONFIG = """\
checkpoint_keys = 6_000
retention_interval_ms = 20
log_retention_bytes = 50_000
"""
LARGE_FACTOR = 4
"""It takes some seconds until the first large one is due."""
BULK_KEYS = 20_000
BULK_BATCH = 500


@dataclass
class Tally:
    """What came of all rounds."""

    rounds: int = 0
    acknowledged: int = 0
    refused: int = 0
    happened: int = 0
    """Unknown batches that are there."""
    vanished: int = 0
    """Unknown batches that are not."""
    lost: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    """Refused batches that are there."""
    undone: int = 0
    """Restarts that found a checkpoint which was not synced."""
    miscounted: list[str] = field(default_factory=list)
    """Counters that are not the number of their batches: doubled or torn."""
    seconds: float = 0.0

    @property
    def problems(self) -> int:
        """0 if all is well."""
        return len(self.lost) + len(self.unexpected) + len(self.miscounted)

    def __str__(self) -> str:
        """For people."""
        lines = [
            f"rounds         {self.rounds:,} in {self.seconds:,.0f} s",
            f"acknowledged   {self.acknowledged:,} batches",
            f"unknown        {self.happened:,} happened, {self.vanished:,} did not",
            f"refused        {self.refused:,}",
            f"undone         {self.undone:,} checkpoints",
            f"lost           {len(self.lost):,} {self.lost[:3] or ''}",
            f"unexpected     {len(self.unexpected):,} {self.unexpected[:3] or ''}",
            f"miscounted     {len(self.miscounted):,} {self.miscounted[:3] or ''}",
        ]
        return "\n".join(line.rstrip() for line in lines)


@dataclass
class Writer:
    """Writes one key and one increment a batch, and keeps what it was told."""

    name: str
    client: Client
    acknowledged: list[int] = field(default_factory=list)
    unknown: list[int] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    asked: tuple[int, int] = (0, 0)
    """How many of the acknowledged and of the refused were asked for after a restart."""
    next: int = 0

    @property
    def counter(self) -> str:
        """Counts its batches."""
        return f"{self.name}/count"

    def key(self, number: int) -> str:
        """Of one batch."""
        return f"{self.name}/{number:07}"

    def run(self, stop: threading.Event) -> None:
        """Write until told to stop."""
        while not stop.is_set():
            number, self.next = self.next, self.next + 1
            try:
                self.client.write([Put(self.key(number), str(number)), Increment(self.counter, 1)])
            except OutcomeUnknown:
                self.unknown.append(number)
            except KvnodeError:
                self.refused.append(number)  # for certain: nothing was done
            else:
                self.acknowledged.append(number)

    def ask(self, client: Client, tally: Tally) -> None:
        """What it was told since it asked last, and all that was unknown, must be there or not."""
        told, refused = self.acknowledged[self.asked[0] :], self.refused[self.asked[1] :]
        numbers = [*told, *refused, *self.unknown]
        states = client.batch_get([self.counter, *map(self.key, numbers)])
        present = {n for n, state in zip(numbers, states[1:], strict=True) if state.siblings}
        self.judge(present, set(told), set(refused), count_of(states[0]), tally)
        self.asked = len(self.acknowledged), len(self.refused)

    def judge(
        self, present: set[int], told: set[int], refused: set[int], count: int, tally: Tally
    ) -> None:
        """Compare what is there with what it was told."""
        tally.lost += [self.key(number) for number in sorted(told - present)]
        tally.unexpected += [self.key(number) for number in sorted(refused & present)]
        expected = len(self.acknowledged) + len(present & set(self.unknown))
        if count != expected:
            tally.miscounted.append(f"{self.counter}: {count} for {expected}")


def count_of(state: KeyState | None) -> int:
    """What a counter's key shows."""
    return (state.pn_counter or 0) if state is not None else 0


def write_bulk(client: Client, seed: int, stop: threading.Event) -> None:
    """Write over some of many keys, again and again; what becomes of each does not matter."""
    chance = random.Random(seed)
    while not stop.is_set():
        numbers = chance.sample(range(BULK_KEYS), BULK_BATCH)
        with suppress(KvnodeError):
            client.write([Put(f"bulk/{number}", bytes(100)) for number in numbers])


class Rounds:
    """A cluster, its writers and what came of them."""

    def __init__(
        self, nodes: int, directory: Path, seed: int, stack: ExitStack, *, large: bool
    ) -> None:
        self.tally = Tally()
        self._random = random.Random(seed)
        self._large = large
        self._directory = directory
        config = directory / "kill.toml"
        config.write_text(LARGE_CONFIG if large else CONFIG)
        self._cluster = stack.enter_context(
            LocalCluster(nodes, directory=directory, node_config=config)
        )
        self._clients = {
            name: stack.enter_context(Client(endpoint, timeout_s=10.0))
            for name, endpoint in self._cluster.endpoints.items()
        }
        self._writers = {
            name: [
                Writer(f"{name}-{lane}", stack.enter_context(Client(endpoint, timeout_s=patience)))
                for lane, patience in enumerate(PATIENCE_S)
            ]
            for name, endpoint in self._cluster.endpoints.items()
        }

    def run(self, rounds: int) -> Tally:
        """So many of them, then everything again."""
        started = time.monotonic()
        for _ in range(rounds):
            self.round(self._random.choice(list(self._clients)))
        self.finish()
        self.tally.seconds = time.monotonic() - started
        return self.tally

    def round(self, victim: str) -> None:
        """Load, kill, start again, ask."""
        stop = threading.Event()
        most = WRITES_MAX * LARGE_FACTOR if self._large else WRITES_MAX
        enough = self._acknowledged() + self._random.randint(1, most)
        writers = [writer for each in self._writers.values() for writer in each]
        threads = [threading.Thread(target=writer.run, args=(stop,)) for writer in writers]
        if self._large:
            load = (self._clients[victim], self.tally.rounds, stop)
            threads.append(threading.Thread(target=write_bulk, args=load))
        for thread in threads:
            thread.start()
        try:
            wait_for(lambda: self._acknowledged() >= enough, "writes of the round")
            self._cluster.kill(victim)
            self.tally.undone += is_kept(self._directory / victim / "data" / "v1" / "state")
            self._cluster.start(victim)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        for writer in self._writers[victim]:
            writer.ask(self._clients[victim], self.tally)
        self.tally.rounds += 1

    def finish(self) -> None:
        """Compare all that is there, on all nodes, with all that the writers were told."""
        states = assert_same(self._clients)
        tally = self.tally
        for writer in (writer for each in self._writers.values() for writer in each):
            prefix = f"{writer.name}/0".encode()
            present = {int(key.rpartition(b"/")[2]) for key in states if key.startswith(prefix)}
            count = count_of(states.get(writer.counter.encode()))
            told, refused = set(writer.acknowledged), set(writer.refused)
            writer.judge(present, told, refused, count, tally)
            tally.acknowledged += len(told)
            tally.refused += len(refused)
            tally.happened += len(present & set(writer.unknown))
            tally.vanished += len(set(writer.unknown) - present)

    def _acknowledged(self) -> int:
        return sum(len(w.acknowledged) for each in self._writers.values() for w in each)


def rounds_of_kills(
    nodes: int, rounds: int, directory: Path, seed: int, *, large: bool = False
) -> Tally:
    """Run them in ``directory``."""
    with ExitStack() as stack:
        return Rounds(nodes, directory, seed, stack, large=large).run(rounds)


def main() -> int:
    """Run it; 1 if anything was lost, unexpected or miscounted."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.durability.kill", description=main.__doc__
    )
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--large", action="store_true", help="large checkpoints")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        tally = rounds_of_kills(
            options.nodes, options.rounds, Path(folder), options.seed, large=options.large
        )
    print(tally)
    return 1 if tally.problems else 0


if __name__ == "__main__":
    sys.exit(main())
