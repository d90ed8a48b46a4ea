"""What has expired, from the deadline to the free space, and how replicas still compare.

Problem: values go at their deadline by the wall clock, and every replica has another one, which
may also be set back. Yet equal version vectors must have equal digests, no value may come back
that any replica has let go, and the work must be in proportion to what expires.

Idea: a store has a *horizon*, a time that only grows. All that has a deadline till then counts as
gone in its digests, may be collected, and is shown to nobody (readers and writes take the larger
of wall clock and horizon for ``now``). What has a deadline behind it is neither collected nor left
out. The horizon is part of the checkpoint, and only a checkpoint moves it, by a *sweep*:

- The table ``deadlines`` has a row ``deadline, 8 bytes | origin, 8 | seq, 8 -> key`` for each
  stored value whose deadline is behind the horizon.
- A sweep takes the rows up to the new horizon, subtracts what they stand for from the digests, and
  makes them garbage rows, just as if each were a delete under the dot of the value's own write.
- From there they go like deletes: when that dot is causally stable.

A value that is stored when it is past the horizon already gets its garbage row at once.

Two stores compare digests as of T, the larger of their horizons: who is behind takes out what its
own rows have between its horizon and T. Whatever either has collected had a deadline till T, so it
counts on neither side; whatever has a later one must be on both. Nothing has to be agreed on, no
clock is trusted, and what it costs is what expired between two horizons: some seconds' worth.

How far a horizon may go is the collector's to say (``node/collector.py``). That is a question of
politeness to slower clocks, not of correctness: a horizon that is a year ahead hides too early,
here, and still compares.
"""

from __future__ import annotations

import struct
from typing import Protocol

from kvnode.core.digest import Digest
from kvnode.core.dots import Dot
from kvnode.core.entry import Entry, deadlines, garbage_dots, in_conflict
from kvnode.storage.digests import Rows, Segments

ROW = struct.Struct(">QQQ")
"""Deadline, origin, seq."""


class Waiting(Protocol):
    """The tables of what waits, inside the transaction that writes a checkpoint."""

    def put_deadline(self, deadline: int, dot: Dot, key: bytes) -> None: ...
    def delete_deadline(self, deadline: int, dot: Dot) -> None: ...
    def take_deadlines(self, until: int) -> set[bytes]:
        """Remove the rows with deadlines till then; their keys."""
        ...

    def add_garbage(self, dots: list[Dot], key: bytes) -> None: ...
    def mark_conflict(self, key: bytes, *, conflict: bool) -> None: ...


def change_rows(
    waiting: Waiting, key: bytes, before: Entry | None, after: Entry, horizon: int
) -> None:
    """``after`` was stored in place of ``before`` (None: of nothing, or of something damaged)."""
    old = deadlines(before) if before else []
    new = deadlines(after)
    if not (old or new):
        return
    kept = set(new)
    for deadline, dot in old:
        if (deadline, dot) not in kept:
            waiting.delete_deadline(deadline, dot)
    for deadline, dot in new:
        if deadline > horizon:
            waiting.put_deadline(deadline, dot, key)


def sweep(rows: Rows, waiting: Waiting, before: int, until: int) -> Digest:
    """Move the horizon from ``before`` to ``until``; what that adds to the digest of all keys."""
    segments = Segments(rows, until)
    for key in sorted(waiting.take_deadlines(until)):
        raw = next((value for _, value in rows.entries(key, key + b"\0")), None)
        if raw is None:
            continue  # a row that damage has left behind
        entry = segments.expire(key, raw, before)
        if entry is not None:
            waiting.add_garbage(garbage_dots(entry, until), key)
            waiting.mark_conflict(key, conflict=in_conflict(entry, until))
    segments.finish()
    return segments.change_of_total
