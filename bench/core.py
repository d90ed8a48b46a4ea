"""What does the core alone cost per operation, at the origin and at a replica?

``python -m bench.core``: no disk, no network, one thread. CPU time, so that a busy machine
disturbs less; the ratios to one dict update of the same run tell more than the microseconds.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence

import click

from bench.report import heading
from kvnode.core.block import decode_block
from kvnode.core.operations import Increment, Operation, Put
from kvnode.core.replica import Durable, Replica, Request
from kvnode.core.requests import RequestWindow
from kvnode.core.types import LWW_REGISTER, PN_COUNTER
from kvnode.storage.memory import MemoryLog, MemoryState
from kvnode.storage.memtable import Memtable

BATCH = 500
ROUNDS = 60


WRITER, READER = (1 << 63) + 1, (1 << 63) + 2
LONG_AGO, WALL_MS = 100_000, 1_700_000_000_000
"""Operations behind them all, and a time of today: numbers are as long as those of a node that has
written for a while (``core/plain.py``)."""


class Bare:
    """A replica with its memtable and nothing else."""

    def __init__(self, origin: int) -> None:
        before = {WRITER: LONG_AGO}
        durable = Durable(RequestWindow(1000), before, dict.fromkeys(before, bytes(16)))
        self.log = MemoryLog()
        self.memtable = Memtable(MemoryState())
        self.replica = Replica(
            origin,
            durable,
            read=self.memtable.read,
            read_many=self.memtable.held_many,
            chain_at=self.log.chain_at,
            hold_bytes_max=1 << 20,
            siblings_max=100,
        )

    def round(self, requests: Sequence[Request], raws: Sequence[bytes] = ()) -> bytes:
        """One round; returns the own block."""
        planned = self.replica.plan(requests, [decode_block(raw) for raw in raws], WALL_MS)
        self.log.append(planned.records)
        self.replica.absorb(planned)
        self.memtable.install(self.replica.commit(planned), 0)
        return planned.own.raw if planned.own else b""


def workloads() -> dict[str, list[list[Operation]]]:
    """Name -> batches."""
    value = b"x" * 100
    numbers = range(ROUNDS * BATCH)
    operations: dict[str, list[Operation]] = {
        "one hot PN-Counter": [Increment(b"hot", 1, PN_COUNTER) for _ in numbers],
        "10,000 PN-Counters": [Increment(b"c%d" % (n % 10_000), 1, PN_COUNTER) for n in numbers],
        "new LWW registers": [Put(b"r%d" % n, value, LWW_REGISTER) for n in numbers],
        "new siblings": [Put(b"s%d" % n, value) for n in numbers],
        "siblings put over": [Put(b"o%d" % (n % 1_000), value) for n in numbers],
    }
    return {
        name: [each[at : at + BATCH] for at in range(0, len(each), BATCH)]
        for name, each in operations.items()
    }


@click.command()
def main() -> None:
    """Print microseconds per operation and ratios."""
    click.echo(heading(f"Core alone, batches of {BATCH}"))
    plain: dict[bytes, int] = {}
    started = time.process_time()
    for number in range(1_000_000):
        plain[b"hot"] = number
    unit = (time.process_time() - started) / 1_000_000
    click.echo(f"  {'one dict update':24} {unit * 1e6:6.3f} us")
    loads = workloads()
    gc.freeze()  # as a node does with what it has made by its start: these are not its objects
    for name, batches in loads.items():
        origin, replica = Bare(WRITER), Bare(READER)
        started = time.process_time()
        raws = [origin.round([Request(batch)]) for batch in batches]
        written = time.process_time()
        for raw in raws:
            replica.round([], [raw])
        applied = time.process_time()
        count = ROUNDS * BATCH
        write, apply = (written - started) / count, (applied - written) / count
        click.echo(
            f"  {name:24} origin {write * 1e6:6.2f} us ({write / unit:5.0f} x)"
            f"   replica {apply * 1e6:6.2f} us ({apply / unit:5.0f} x)"
        )


if __name__ == "__main__":
    main()
