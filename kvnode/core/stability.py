"""Causal stability: which writes every member has, so that nothing concurrent to them can come.

Problem: what a delete leaves behind (a register's tombstone, a counter slot with its baseline) is
there to meet writes that were made without having seen the delete. It may go when no such write
can come any more, and at no time before. No grace period says when that is.

Idea: members *report* their version vectors (synced and applied). A dot is **stable** here when
each member has reported a vector that covers it, and everything that member had issued when it
reported has arrived here. Only such reports are *usable*: own vector[M] >= report[M].

Why nothing can come (T a delete that is stable here, W any write to the same key by a member M
that had not seen T): M reported a vector that covers T, so M issued W before that report, so
W's seq is at most report[M], which own vector covers: W has arrived. W was merged with what T
left before that was collected. So whatever arrives afterwards has seen T, and

- of a register it is later: the clock of its writer was advanced by T (also over a crash: the
  clock is in the checkpoint and in the log behind it), and (hlc, origin, seq) decides;
- of a counter it is no increment in the spent slot: who has seen a delete opens a new slot, under
  the dot of its first increment, which is never used again;
- a second delete of the spent slot, or a total that another replica's state still holds, finds
  the slot absent and its birth received, and is ignored.

A replica that has collected and one that has not differ only in such remains. A state that comes
from one to the other (a snapshot) is merged with what both have received: absent and received =
removed. Which dots are stable may be told by any mixture of usable reports, old or new: they only
grow, so a dot that was stable stays so. A crash may lose reports behind the last checkpoint, or a
collection itself: both only put collection off.

Who counts is the caller's matter, and it must be everybody whose write could still arrive. A
newcomer N counts from the operation that makes it a member on. It writes only when it covers the
reports by which every member, this one included, acknowledged that operation. What was
stable here without N was here before this one's acknowledgement: N has seen it when it writes.
A member that is gone counts until all it wrote and anybody holds is here.

A report that is not usable yet is kept until it is: the first of them, because a member that
writes without a pause is always a little ahead in its last one.

Wuu and Bernstein 1984; Baquero, Almeida, Shoker 2017.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from kvnode.core.dots import Vector, covers
from kvnode.core.report import check_origins


class Stability:
    """The members' reports as one node knows them; never its own."""

    def __init__(self, reports: dict[int, Vector]) -> None:
        """``reports``: the usable ones (``Durable.reports``), kept up to date in place."""
        self.reports = reports
        self._last: dict[int, Vector] = dict(reports)
        self._pending: dict[int, Vector] = {}
        """The first report of each member that came since its usable one and is not usable."""

    def learn(self, origin: int, vector: Mapping[int, int], own: Vector) -> None:
        """A member reported; ``own`` is what this node has, synced and applied.

        Raises:
            Refused: with those before it, it names more origins than any cluster has.
        """
        last = self._last.get(origin, {})
        if origin not in self._last or not covers(last, vector):
            check_origins(last, vector)
            merged = dict(last)  # reports of two streams may cross
            for other, seq in vector.items():
                if seq > merged.get(other, 0):
                    merged[other] = seq
            self._last[origin] = merged
        self._refresh(origin, own)

    def keep(self, counted: Collection[int]) -> None:
        """Let go of the reports of all others: who does not count any more never writes again.

        Should one of them count again for a while (another forget is not acknowledged yet), nothing
        is stable then, and what was stays so.
        """
        for reports in (self.reports, self._last, self._pending):
            for origin in reports.keys() - counted:
                del reports[origin]

    def last(self, origin: int) -> Vector | None:
        """A member's last report, None if there was none."""
        return self._last.get(origin)

    def stable(self, own: Vector, counted: Iterable[int] | None) -> Vector:
        """What is stable, given whose reports count (None: not known, so nothing is).

        Empty while one of them has not reported.
        """
        if counted is None:
            return {}
        members = list(counted)
        for member in members:
            self._refresh(member, own)
        return _least([self.reports.get(member) for member in members], own)

    def acknowledged(self, counted: Iterable[int] | None) -> Vector:
        """What each member has (own not asked): the least of the last reports, usable or not."""
        if counted is None:
            return {}
        lasts = [self._last.get(member) for member in counted]
        every = {origin: seq for last in lasts if last for origin, seq in last.items()}
        for last in lasts:
            for origin, seq in (last or {}).items():
                every[origin] = max(every[origin], seq)
        return _least(lasts, every)

    def _refresh(self, origin: int, own: Vector) -> None:
        """Make the newest report usable that is."""
        for vector in (self._last.get(origin), self._pending.get(origin)):
            if vector is not None and vector.get(origin, 0) <= own.get(origin, 0):
                self.reports[origin] = vector
                self._pending.pop(origin, None)
                break
        last = self._last.get(origin)
        if last is not None and last is not self.reports.get(origin):
            self._pending.setdefault(origin, last)


def _least(vectors: Iterable[Mapping[int, int] | None], own: Vector) -> Vector:
    least = dict(own)
    for vector in vectors:
        if vector is None:
            return {}
        least = {
            origin: known
            for origin, seq in least.items()
            if (known := min(seq, vector.get(origin, 0)))
        }
    return least
