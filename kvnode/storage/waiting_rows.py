"""What waits for being stable, or for its deadline, in LMDB tables, inside a transaction.

``garbage`` has a row for each dot whose remains may go once it is stable, and ``meta`` counts them
by origin; ``deadlines`` has the values that are to expire (``deadlines.py``).
"""

from __future__ import annotations

import struct
from collections import Counter
from typing import Any

import msgpack

from kvnode.core.dots import Dot, Vector
from kvnode.storage.deadlines import ROW
from kvnode.storage.environment import Tables
from kvnode.storage.interfaces import Expiring

DOT = struct.Struct(">QQ")
GARBAGE = b"garbage"


class WaitingRows:
    """``deadlines.Waiting`` over a transaction; ``finish`` writes what was counted."""

    def __init__(self, txn: Any, tables: Tables, meta: Any) -> None:
        self._txn = txn
        self._garbage = tables["garbage"]
        self._deadlines = tables["deadlines"]
        self._conflicts = tables["conflicts"]
        self._meta = meta
        self._counted: dict[int, int] | None = None

    # ---- garbage

    def covered(self, stable: Vector, limit: int, after: Dot) -> list[tuple[Dot, bytes]]:
        """See ``StateStore.garbage``."""
        found: list[tuple[Dot, bytes]] = []
        with self._txn.cursor(self._garbage) as cursor:
            for origin in sorted(stable):
                if origin < after[0]:
                    continue
                start = (origin, after[1] + 1 if origin == after[0] else 0)
                more = cursor.set_range(DOT.pack(*start))
                end = DOT.pack(origin, stable[origin])
                while more and len(found) < limit and cursor.key() <= end:
                    found.append((DOT.unpack(cursor.key()), cursor.value()))
                    more = cursor.next()
        return found

    def counted(self) -> dict[int, int]:
        """origin -> garbage rows."""
        raw = self._txn.get(GARBAGE, db=self._meta)
        found: dict[int, int] = msgpack.unpackb(raw, strict_map_key=False) if raw else {}
        return found

    def recount(self) -> None:
        """The table was replaced."""
        with self._txn.cursor(self._garbage) as cursor:
            rows = Counter(DOT.unpack(key)[0] for key in cursor.iternext(values=False))
        self._counted = dict(rows)

    def delete_garbage(self, dots: list[Dot]) -> None:
        """Remove rows, those that are there."""
        rows = self._rows()
        for dot in dots:
            if self._txn.delete(DOT.pack(*dot), db=self._garbage):
                rows[dot[0]] -= 1

    def add_garbage(self, dots: list[Dot], key: bytes) -> None:
        rows = self._rows()
        for dot in dots:
            if self._txn.put(DOT.pack(*dot), key, db=self._garbage, overwrite=False):
                rows[dot[0]] = rows.get(dot[0], 0) + 1

    def finish(self) -> None:
        """Write the counts, if any row was touched."""
        if self._counted is not None:
            left = {origin: count for origin, count in sorted(self._counted.items()) if count}
            self._txn.put(GARBAGE, msgpack.packb(left), db=self._meta)

    def _rows(self) -> dict[int, int]:
        if self._counted is None:
            self._counted = self.counted()
        return self._counted

    # ---- deadlines

    def put_deadline(self, deadline: int, dot: Dot, key: bytes) -> None:
        self._txn.put(ROW.pack(deadline, *dot), key, db=self._deadlines)

    def delete_deadline(self, deadline: int, dot: Dot) -> None:
        self._txn.delete(ROW.pack(deadline, *dot), db=self._deadlines)

    def take_deadlines(self, until: int) -> set[bytes]:
        keys = set()
        with self._txn.cursor(self._deadlines) as cursor:
            cursor.first()
            while cursor.key() and ROW.unpack(cursor.key())[0] <= until:  # empty behind the last
                keys.add(cursor.value())
                cursor.delete()
        return keys

    def expiring(self, until: int, limit: int, after: Expiring) -> list[tuple[Expiring, bytes]]:
        """See ``StateStore.expiring``."""
        found: list[tuple[Expiring, bytes]] = []
        with self._txn.cursor(self._deadlines) as cursor:
            more = cursor.set_range(ROW.pack(*after) + b"\0")
            while more and len(found) < limit:
                row = Expiring(*ROW.unpack(cursor.key()))
                if row.deadline > until:
                    break
                found.append((row, cursor.value()))
                more = cursor.next()
        return found

    def waiting_for_deadline(self) -> int:
        """How many values are to expire."""
        rows: int = self._txn.stat(self._deadlines)["entries"]
        return rows

    def mark_conflict(self, key: bytes, *, conflict: bool) -> None:
        if conflict:
            self._txn.put(key, b"", db=self._conflicts)
        else:
            self._txn.delete(key, db=self._conflicts)
