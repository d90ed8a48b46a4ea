"""Bugs in what is durable when, and in what a restart brings back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from kvnode.core.absorbing import changes_of
from kvnode.core.block import Block
from kvnode.core.entry import opened
from kvnode.core.replica import Received, Replica, Round
from kvnode.node.engine import Engine
from kvnode.node.worker import Worker
from kvnode.storage import checkpoint as checkpoints
from kvnode.storage.interfaces import Checkpoint
from kvnode.storage.memtable import Memtable
from kvnode.storage.state import LmdbState
from kvnode.storage.tail import Found, Tail
from kvnode.storage.tailed_log import TailedLog
from tests.sim.mutants import schedules
from tests.sim.mutants.planting import Planting, mutant

LATE_S = 0.2


class Hasty:
    """A worker that says "done" before it begins."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def run(
        self,
        job: Callable[[], None],
        done: Callable[[BaseException | None], None],
        *,
        alone: bool = False,  # noqa: ARG002
    ) -> None:
        """See ``Worker``."""
        loop = asyncio.get_running_loop()
        loop.call_soon(done, None)
        loop.call_later(LATE_S, self._worker.run, job, lambda _: None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._worker, name)


@mutant(2)
def shown_before_it_is_synced(plant: Planting) -> None:
    """Writes are acknowledged and pushed before the log has them on disk."""

    def _start(self: Engine) -> None:
        if not isinstance(self._worker, Hasty):
            self._worker = Hasty(self._worker)  # type: ignore[assignment]
        real(self)

    real = Engine._start
    plant.method(Engine, "_start", _start)


@mutant(15)
def checkpoint_covers_a_round_that_is_not_applied(plant: Planting) -> None:
    """A checkpoint says it covers the log's end, where a round may still be on its way."""

    def save(self: LmdbState, checkpoint: Checkpoint) -> None:
        real(self, replace(checkpoint, arrival=checkpoint.arrival + 1))

    real = LmdbState.save
    plant.method(LmdbState, "save", save)


@mutant(15)
def vector_is_stored_and_an_effect_is_not(plant: Planting) -> None:
    """A checkpoint leaves out one of the entries that its vector stands for."""

    def save(self: LmdbState, checkpoint: Checkpoint) -> None:
        entries = dict(checkpoint.entries)
        if len(entries) > 1:
            entries.popitem()
        real(self, replace(checkpoint, entries=entries))

    real = LmdbState.save
    plant.method(LmdbState, "save", save)


@mutant(15)
def effect_is_stored_and_the_vector_is_not(plant: Planting) -> None:
    """A checkpoint covers log whose blocks its vector does not have."""

    def encode_meta(checkpoint: Checkpoint) -> bytes:
        durable = checkpoint.durable
        newest = max(durable.vector, default=0)
        vector = {origin: seq for origin, seq in durable.vector.items() if origin != newest}
        chains = {origin: chain for origin, chain in durable.chains.items() if origin != newest}
        return real(replace(checkpoint, durable=replace(durable, vector=vector, chains=chains)))

    real = checkpoints.encode_meta
    plant.function(checkpoints.encode_meta, encode_meta)


@mutant(15, plan=schedules.restarts)
def replay_leaves_out_the_last_block(plant: Planting) -> None:
    """A restart takes the last block of the log for an unfinished one."""

    def replay(self: TailedLog, after: int) -> Iterable[tuple[int, bytes]]:
        rows = list(real(self, after))
        yield from rows[:-1] if len(rows) > 1 else rows

    real = TailedLog.replay
    plant.method(TailedLog, "replay", replay)


@mutant(2, plan=schedules.restarts)
def tail_of_the_log_is_not_read(plant: Planting) -> None:
    """A restart takes what LMDB has for the whole log."""

    def read(self: Tail, arrival: int) -> Found:
        return Found([], [], unfinished=False)

    plant.method(Tail, "read", read)


@mutant(15, plan=schedules.restarts)
def moved_blocks_are_read_again(plant: Planting) -> None:
    """A restart takes all records of the log's tail for new ones."""

    def read(self: Tail, arrival: int) -> Found:
        return real(self, 0)

    real = Tail.read
    plant.method(Tail, "read", read)


@mutant(2, plan=schedules.restarts)
def tail_is_written_anew_too_early(plant: Planting) -> None:
    """A record goes where one lies that LMDB does not have."""

    def append(self: Tail, first_arrival: int, blocks: Sequence[Block]) -> bool:
        self._page = 0
        return real(self, first_arrival, blocks)

    real = Tail.append
    plant.method(Tail, "append", append)


@mutant(plan=schedules.restarts)
def replay_skips_an_operation(plant: Planting) -> None:
    """A restart leaves out the first operation of every block behind the checkpoint."""

    def replay(self: Replica, blocks: Sequence[Received]) -> Round:
        less = [replace(block, ops=[0, *block.ops[1:]]) for block, _ in blocks]
        return real(self, [(block, changes_of(block)) for block in less])

    real = Replica.replay
    plant.method(Replica, "replay", replay)


@mutant(5, plan=schedules.awaited_over_a_restart)
def checkpoint_forgets_awaited_dots(plant: Planting) -> None:
    """Dots of contexts that have not arrived yet are not written by a checkpoint."""

    def save(self: LmdbState, checkpoint: Checkpoint) -> None:
        entries = {
            key: {
                kind: (state[0], frozenset()) if kind == 4 else state
                for kind, state in opened(held).items()
            }
            for key, held in checkpoint.entries.items()
        }
        real(self, replace(checkpoint, entries=entries))

    real = LmdbState.save
    plant.method(LmdbState, "save", save)


@mutant(21, plan=schedules.full_disks)
def full_disk_loses_the_memtable(plant: Planting) -> None:
    """What a checkpoint could not write for lack of room does not wait for the next one."""

    def restore_frozen(self: Memtable, size: int) -> None:
        self.drop_frozen()

    plant.method(Memtable, "restore_frozen", restore_frozen)
