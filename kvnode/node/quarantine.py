"""The quarantine of a node, on disk: see ``core/quarantine.py`` for what it holds and why.

Every change is written at once, synced, by the thread that writes checkpoints (LMDB has one writer
each): what was wrong must be known after a crash too. If there is no room, the record stays in
memory and is written with the next change. That the same bytes came again is only counted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from kvnode.config import Config
from kvnode.core.block import SEQ_MAX, Block, decode_block
from kvnode.core.dots import Vector
from kvnode.core.errors import BlockError, StateError
from kvnode.core.quarantine import OWN_LOG, Quarantine, Record
from kvnode.core.receive import Verdict
from kvnode.core.report import Report
from kvnode.node.peers import Peer
from kvnode.node.worker import Done, Job
from kvnode.storage.interfaces import DamagedBlock, DiskFullError, StateStore
from kvnode.storage.rows import decode_record, encode_record

if TYPE_CHECKING:
    from kvnode.node.engine import Engine

logger = logging.getLogger(__name__)

REASONS = {
    Verdict.HELD: "it is well formed, and waits for other writes before it",
    Verdict.DROPPED: "it is well formed, and waits for other writes before it",
    Verdict.FORK: "its origin is fenced, see 'kvnode status'",
    Verdict.AHEAD: "it is of this node's own origin, see 'kvnode status'",
    Verdict.FORGOTTEN: "its origin was forgotten, and no member has it",
    Verdict.DAMAGED: "what is stored here under a key that it changes is damaged",
}
"""Why a block that was tried again still cannot be taken."""


class NodeQuarantine:
    """The records, the store behind them, and who wants to know."""

    def __init__(
        self,
        config: Config,
        state: StateStore,
        run: Callable[[Job, Done], None],
        fail: Callable[[BaseException], None],
        wall_ms: Callable[[], int],
    ) -> None:
        """Take up the store's records.

        Args:
            run: runs a job in the thread that writes the state.
            fail: the store is broken; the node cannot go on.
            wall_ms: Unix time.
        """
        self._kept = Quarantine(
            rows_max=config.quarantine_rows_max, bytes_max=config.quarantine_bytes_max
        )
        self._state = state
        self._run = run
        self._fail = fail
        self._wall_ms = wall_ms
        self.on_change: Callable[[], None] = lambda: None
        for number, raw in state.rows("quarantine"):
            try:
                self._kept.restore(decode_record(number, raw))
            except StateError as error:
                logger.error("record %d of the quarantine is left out: %s", number, error)

    def __len__(self) -> int:
        return len(self._kept.records)

    @property
    def pushed_out(self) -> int:
        """Records that had to go for newer ones, since start."""
        return self._kept.pushed_out

    @property
    def bytes_held(self) -> int:
        """What the records take."""
        return self._kept.bytes_held

    def records(self) -> list[Record]:
        """All, oldest first."""
        return list(self._kept.records.values())

    def get(self, number: int) -> Record | None:
        """The record of this number."""
        return self._kept.records.get(number)

    def received(
        self,
        raw: bytes,
        reason: str,
        *,
        peer: str,
        identity: tuple[int, int, int] | None = None,
        awaits: Vector | None = None,
    ) -> None:
        """Keep a block that cannot be taken."""
        record = self._kept.add(
            raw, reason, self._wall_ms(), peer=peer, identity=identity, awaits=awaits or {}
        )
        if record is not None:
            logger.error(
                "quarantined block %s from %s: %s", name_of(record), peer or "a peer", reason
            )
            self._changed()

    def own_log(self, damage: DamagedBlock) -> None:
        """Keep a block of the own log that fails its checksum."""
        origin, last = damage.end
        record = self._kept.add(
            damage.raw,
            str(damage),
            self._wall_ms(),
            source=OWN_LOG,
            identity=(origin, last, last),
            awaits={},
        )
        if record is not None:
            logger.error("quarantined block %s of the own log: %s", name_of(record), damage)
            self._changed()

    def settle(self, vector: Mapping[int, int]) -> None:
        """A round was committed: what good copies have made up for goes."""
        settled = self._kept.settle(vector)
        for record in settled:
            logger.info("a good copy of block %s has arrived", name_of(record))
        if settled:
            self._changed()

    def remove(self, number: int) -> None:
        """Take a record out."""
        if self._kept.remove(number) is not None:
            self._changed()

    def problem(self, names: Mapping[int, str]) -> str:
        """What is wrong, one line; empty if nothing is."""
        records = self._kept.records.values()
        if not records:
            return ""
        some = "1 block" if len(records) == 1 else f"{len(records)} blocks"
        parts = [f"{some} in quarantine (kvnode quarantine ls)"]
        waiting = sorted(self._kept.waiting().items())
        if waiting:
            parts.append(
                "writes are missing here from "
                + ", ".join(f"{names.get(o) or '?'} {o:016x}:{seq}" for o, seq in waiting[:3])
                + (" and others" if len(waiting) > 3 else "")
                + " on"
            )
        if any(record.source == OWN_LOG for record in records):
            parts.append("blocks of the own log are damaged, peers must get them elsewhere")
        return "; ".join(parts)

    def _changed(self) -> None:
        for record in self._kept.make_room():
            logger.error(
                "the quarantine is full: record %d (block %s: %s) is gone",
                record.number,
                name_of(record),
                record.reason,
            )
        changes = self._kept.take_changes()

        def write() -> None:
            rows = {
                number: None if record is None else encode_record(record)
                for number, record in changes.items()
            }
            self._state.put_rows("quarantine", rows)

        def done(error: BaseException | None) -> None:
            if isinstance(error, DiskFullError):
                logger.error("the quarantine is in memory only: %s", error)
                self._kept.changed = changes | self._kept.changed
            elif error is not None:
                self._fail(error)

        self._run(write, done)
        self.on_change()


def name_of(record: Record) -> str:
    """Which block it is, as far as that can be read."""
    if not record.origin:
        return "(unreadable)"
    return f"{record.origin:016x}:{record.first_seq}-{record.last_seq}"


def decode_sent(engine: Engine, peer: Peer, report: Report, raws: Sequence[bytes]) -> list[Block]:
    """The blocks in a peer's message; bytes that are none are quarantined, and the rest goes on."""
    blocks: list[Block] = []
    for raw in raws:
        try:
            blocks.append(decode_block(raw))
        except BlockError as error:
            awaits = _awaited(report.vector, engine.vector)
            engine.quarantine.received(raw, str(error), peer=peer.name, awaits=awaits)
    if len(blocks) < len(raws):
        engine.quarantine.settle(engine.vector)  # a bad copy of what is here already
    return blocks


def _awaited(claimed: Mapping[int, int], have: Vector) -> Vector:
    """What will make up for bytes that are no block: what their sender has and is not here.

    If that is nothing, all it says it has is here already. What such bytes say of themselves is not
    asked: where that is what is damaged, nothing would ever come of it.
    """
    missing = {origin: seq for origin, seq in claimed.items() if seq > have.get(origin, 0)}
    return missing or dict(claimed)


async def retry(engine: Engine, record: Record) -> str:
    """Try to take the block, or to read it from the own log; why not, empty if that worked."""
    if record.source == OWN_LOG:
        others = dict.fromkeys(engine.vector, SEQ_MAX)
        try:
            engine.log.lacking({**others, record.origin: record.last_seq - 1}, 1)
        except DamagedBlock as damage:
            return str(damage)
        engine.quarantine.remove(record.number)
        return ""
    if len(record.raw) < record.raw_bytes:
        return f"of its {record.raw_bytes} bytes only {len(record.raw)} were kept"
    try:
        block = decode_block(record.raw)
    except BlockError as error:
        return str(error)
    (verdict,) = await engine.receive([block], record.peer)
    if verdict in (Verdict.APPLIED, Verdict.SEEN):
        engine.quarantine.remove(record.number)
        return ""
    return REASONS.get(verdict, record.reason)
