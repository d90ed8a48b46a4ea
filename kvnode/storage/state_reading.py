"""What a state over LMDB tells of its last checkpoint: digests, and what waits to be collected.

Each call is one short transaction, and says of which checkpoint it is where that matters.
"""

from __future__ import annotations

from typing import Any

from kvnode.core.digest import ABSENT, Digest
from kvnode.core.dots import Dot, Vector
from kvnode.storage.checkpoint import decode_meta
from kvnode.storage.digests import unpack
from kvnode.storage.environment import Environment, Tables
from kvnode.storage.interfaces import Expiring, Segmented, Stored, Tag
from kvnode.storage.segment_rows import SegmentRows
from kvnode.storage.waiting_rows import WaitingRows


class StateReading:
    """The reading half of ``LmdbState`` that is not about single entries."""

    _env: Environment
    _tables: Tables
    """To be used inside transactions: compaction makes new handles."""
    _meta: Any
    _digests: Any
    _entries: Any

    def garbage(self, stable: Vector, limit: int, after: Dot = (0, 0)) -> list[tuple[Dot, bytes]]:
        """See ``interfaces.StateStore``."""
        with self._env.read() as txn:
            return self._waiting_rows(txn).covered(stable, limit, after)

    def waiting(self) -> dict[int, int]:
        """See ``interfaces.StateStore``."""
        with self._env.read() as txn:
            return self._waiting_rows(txn).counted()

    def expiring(
        self, until: int, limit: int, after: Expiring
    ) -> tuple[Tag, list[tuple[Expiring, bytes]]]:
        """See ``interfaces.StateStore``."""
        with self._env.read() as txn:
            return self._tag(txn), self._waiting_rows(txn).expiring(until, limit, after)

    def to_expire(self) -> int:
        """See ``interfaces.StateStore``."""
        with self._env.read() as txn:
            return self._waiting_rows(txn).waiting_for_deadline()

    def total(self) -> tuple[Tag, Digest]:
        """The digest of all keys."""
        with self._env.read() as txn:
            return self._tag(txn), self._total(txn)

    def segments(self, start: bytes, end: bytes) -> Segmented:
        """The digests of the segments that share keys with [start, end)."""
        with self._env.read() as txn:
            tag = self._tag(txn)
            reading = self._segment_rows(txn)
            found = [reading.segment_of(start)]
            after = reading.next_segment(found[0][0])
            with txn.cursor(self._digests) as cursor:
                more = bool(after) and cursor.set_range(b"\0" + after)
                while more and not (end and cursor.key()[1:] >= end):
                    found.append((cursor.key()[1:], unpack(cursor.value())))
                    more = cursor.next()
                after = cursor.key()[1:] if more else b""
        return Segmented(tag, found, after)

    def stored(self, start: bytes, end: bytes, keys_max: int, bytes_max: int) -> Stored:
        """Entries from ``start`` to ``end`` as they are stored."""
        found: list[tuple[bytes, bytes]] = []
        size, more = 0, False
        with self._env.read() as txn:
            tag = self._tag(txn)
            for key, raw in self._segment_rows(txn).entries(start, end):
                if len(found) >= keys_max or (found and size + len(raw) > bytes_max):
                    more = True
                    break
                found.append((key, raw))
                size += len(raw)
        return Stored(tag, found, more)

    def _total(self, txn: Any) -> Digest:
        raw = txn.get(b"digest", db=self._meta)
        return ABSENT if raw is None else unpack(raw)

    def _saved(self, txn: Any) -> int:
        return int.from_bytes(txn.get(b"saved", db=self._meta) or b"", "big")

    def _count_saved(self) -> int:
        with self._env.read(latest=True) as txn:
            return self._saved(txn)

    def _tag(self, txn: Any) -> Tag:
        raw = txn.get(b"checkpoint", db=self._meta)
        if raw is None:
            return Tag(self._saved(txn), 0, {})
        saved = decode_meta(raw, 1)
        durable = saved.durable
        return Tag(self._saved(txn), saved.arrival, durable.vector, durable.horizon)

    def _horizon(self) -> int:
        with self._env.read(latest=True) as txn:
            return self._tag(txn).horizon

    def _segment_rows(self, txn: Any) -> SegmentRows:
        return SegmentRows(txn, self._digests, self._entries)

    def _waiting_rows(self, txn: Any) -> WaitingRows:
        return WaitingRows(txn, self._tables, self._meta)
