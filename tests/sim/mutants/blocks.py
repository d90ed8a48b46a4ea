"""Bugs in building blocks, in receiving them, and in sending them on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from kvnode.core import receive
from kvnode.core import replica as replicas
from kvnode.core.accepted import Accepted
from kvnode.core.block import Block
from kvnode.core.dots import Dot, Vector, covers
from kvnode.core.entry import Held
from kvnode.core.errors import Refused
from kvnode.core.hlc import LOGICAL_BITS
from kvnode.core.operations import Operation
from kvnode.core.receive import Judgement, Verdict, never_pruned
from kvnode.core.replica import ChainAt, Durable, Received, Replica, Request, Round
from kvnode.core.report import Lacking
from kvnode.core.writer import BlockWriter
from kvnode.node.replicator import Replicator
from kvnode.storage.interfaces import BelowFloor
from kvnode.storage.tailed_log import TailedLog
from tests.sim.mutants import schedules
from tests.sim.mutants.planting import Planting, mutant


@mutant(14)
def gap_is_jumped(plant: Planting) -> None:
    """A block that comes after a gap is applied, and the vector advances over the hole."""

    def judge(
        block: Block,
        *,
        own_origin: int,
        vector: Vector,
        chain_at: ChainAt,
        pruned: Callable[[Dot], bool] = never_pruned,
    ) -> Judgement:
        judgement = real(
            block, own_origin=own_origin, vector=vector, chain_at=chain_at, pruned=pruned
        )
        gap = block.first_seq > vector.get(block.origin, 0) + 1
        if judgement.verdict is Verdict.HELD and gap and covers(vector, block.deps):
            return Judgement(Verdict.APPLIED, block)
        return judgement

    real = receive.judge
    plant.function(receive.judge, judge)


@mutant()
def effect_comes_before_its_cause(plant: Planting) -> None:
    """A block is applied although something it depends on is missing."""

    def judge(
        block: Block,
        *,
        own_origin: int,
        vector: Vector,
        chain_at: ChainAt,
        pruned: Callable[[Dot], bool] = never_pruned,
    ) -> Judgement:
        judgement = real(
            block, own_origin=own_origin, vector=vector, chain_at=chain_at, pruned=pruned
        )
        next_one = block.first_seq == vector.get(block.origin, 0) + 1
        if judgement.verdict is Verdict.HELD and next_one:
            return Judgement(Verdict.APPLIED, block)
        return judgement

    real = receive.judge
    plant.function(receive.judge, judge)


@mutant(14)
def no_op_is_not_counted(plant: Planting) -> None:
    """The vector stops before the operations at a block's end that changed nothing."""

    def _advance(durable: Durable, block: Block) -> None:
        real(durable, block)
        deltas = block.deltas()
        while len(deltas) > 1 and deltas[-1] is None:
            deltas.pop()
        durable.vector[block.origin] = block.first_seq + len(deltas) - 1

    real = replicas._advance
    plant.function(replicas._advance, _advance)


@mutant(16)
def duplicate_is_applied_again(plant: Planting) -> None:
    """A block that is here already is logged and applied once more."""

    def judge(
        block: Block,
        *,
        own_origin: int,
        vector: Vector,
        chain_at: ChainAt,
        pruned: Callable[[Dot], bool] = never_pruned,
    ) -> Judgement:
        judgement = real(
            block, own_origin=own_origin, vector=vector, chain_at=chain_at, pruned=pruned
        )
        if judgement.verdict is Verdict.SEEN and block.origin != own_origin:
            return Judgement(Verdict.APPLIED, block)
        return judgement

    real = receive.judge
    plant.function(receive.judge, judge)


@mutant(17, plan=schedules.lost_replies)
def retry_is_a_new_request(plant: Planting) -> None:
    """A known request id is not looked up: the retry is carried out again."""

    def _repeated(self: BlockWriter, request_id: bytes, size: int) -> Accepted | None:
        return None

    plant.method(BlockWriter, "_repeated", _repeated)


@mutant(17, plan=schedules.killed_before_the_reply)
def replay_forgets_request_ids(plant: Planting) -> None:
    """Request ids of the log behind the last checkpoint are not known after a restart."""

    def replay(self: Replica, blocks: Sequence[Received]) -> Round:
        return real(self, [(replace(block, requests=[]), changes) for block, changes in blocks])

    real = Replica.replay
    plant.method(Replica, "replay", replay)


@mutant(22, plan=schedules.crowds)
def two_requests_work_from_one_state(plant: Planting) -> None:
    """A request in a block does not see what the requests before it in the block did."""

    def _add(self: BlockWriter, operation: Operation, undo: dict[bytes, Held | None]) -> int | None:
        if operation.key in self._overlay and operation.key not in undo:
            self._overlay[operation.key] = self._read(operation.key)
        return real(self, operation, undo)

    real = BlockWriter._add
    plant.method(BlockWriter, "_add", _add)


@mutant(plan=schedules.crowds)
def refused_batch_leaves_its_first_half(plant: Planting) -> None:
    """Of a batch that is refused half way, what came before the refusal stays in the state."""

    def _add(self: BlockWriter, operation: Operation, undo: dict[bytes, Held | None]) -> int | None:
        try:
            return real(self, operation, undo)
        except Refused:
            undo.clear()
            raise

    real = BlockWriter._add
    plant.method(BlockWriter, "_add", _add)


@mutant(7, plan=schedules.hour_ahead)
def fast_clock_is_refused(plant: Planting) -> None:
    """A received write whose time lies 20 s ahead of the own clock is not taken."""

    def plan(
        self: Replica,
        requests: Sequence[Request],
        incoming: Iterable[Block],
        wall_ms: int,
        lww_refusal: str = "",
    ) -> Round:
        limit = wall_ms + 20_000 << LOGICAL_BITS
        blocks = list(incoming)
        round_ = real(self, requests, [b for b in blocks if b.hlc < limit], wall_ms, lww_refusal)
        judged = {id(judgement.block): judgement for judgement in round_.judgements}
        first = [
            judged.pop(id(block)) if id(block) in judged else Judgement(Verdict.DROPPED, block)
            for block in blocks
        ]
        round_.judgements[:] = [*first, *judged.values()]
        return round_

    real = Replica.plan
    plant.method(Replica, "plan", plan)


@mutant(12, plan=schedules.left_behind)
def log_with_holes_is_sent(plant: Planting) -> None:
    """Who asks from below the log's floor is sent the rest of the log, without a word."""

    def lacking(self: TailedLog, vector: Vector, bytes_max: int) -> tuple[list[bytes], bool]:
        try:
            return real(self, vector, bytes_max)
        except BelowFloor:
            floor = self.floor
            return real(self, {**vector, **_maximum(vector, floor)}, bytes_max)

    real = TailedLog.lacking
    plant.method(TailedLog, "lacking", lacking)


@mutant(23, plan=schedules.dies_after_telling_one)
def only_own_blocks_are_passed_on(plant: Planting) -> None:
    """A node gives others what it wrote itself, never what it received."""

    async def lacking(self: Replicator, have: Vector, bytes_max: int) -> AsyncIterator[Lacking]:
        others = {o: seq for o, seq in self.engine.vector.items() if o != self.origin}
        async for part in real(self, _maximum(have, others), bytes_max):
            yield part

    real = Replicator.lacking
    plant.method(Replicator, "lacking", lacking)


def _maximum(a: Mapping[int, int], b: Mapping[int, int]) -> Vector:
    return {origin: max(a.get(origin, 0), b.get(origin, 0)) for origin in a.keys() | b.keys()}
