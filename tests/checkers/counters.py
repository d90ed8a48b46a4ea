"""Counters: exact, whatever was lost, repeated, deleted or never answered.

At vector V a counter shows the sum of the increments that V covers, less those that a deletion
covered by V had seen. A deletion has seen a prefix of each origin's increments (its context's
read, or what its node had applied), so all deletions together take away a prefix of each: sums of
prefixes are all that is needed. Where a deletion's sight is only known in bounds the increments
between them may count or not. Increments without an answer may be there or not: the difference
has to be the sum of some of them (``sums.py``).
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate

from tests.checkers.count import Count, read_text
from tests.checkers.facts import SEQ, Cell, Effect, Facts, Story, covers, join
from tests.checkers.history import Call, Seen, Type, Vector, Verdict
from tests.checkers.reads import Read, looks
from tests.checkers.sums import Sums

COUNTERS: tuple[Type, Type] = ("GCOUNTER", "PNCOUNTER")


def counters(facts: Facts, reads: list[Read]) -> Verdict:
    """Judge every look at a counter."""
    count = Count("counters")
    for kind in COUNTERS:
        accounts: dict[Cell, Account] = {}
        grown = _Growth(count) if kind == "GCOUNTER" else None
        for read, seen in looks(facts, kind, reads):
            if not read.vector:
                continue
            cell = (seen.key, kind)
            account = accounts.get(cell)
            if account is None:
                account = accounts[cell] = Account(facts.story(cell))
            _judge(count, account, read, seen, kind)
            if grown is not None and not account.deleted:
                grown.look(read, seen)
    return count.verdict


def _judge(count: Count, account: Account, read: Read, seen: Seen, kind: Type) -> None:
    value = seen.counters.get(kind, 0)
    low, high = account.bounds(read.vector, read.ended_ms)
    if low <= value <= high:
        count.ok()
        return
    unknown = account.unknown(read.ended_ms)
    if (value - low in unknown) if low == high else unknown.between(value - high, value - low):
        count.ok()
        if isinstance(read.source, Call):
            return
        count.recovered()
        return
    sure = f"{low}" if low == high else f"{low} to {high}"
    also = f" and {unknown.low:+d} to {unknown.high:+d} unknown" if unknown.step else ""
    text = (
        f"{read_text(read.source)} shows {value} for the {kind} {seen.key!r}: "
        f"its covered increments make {sure}{also}"
    )
    if value < low:
        count.lost(text)
    else:
        count.unexpected(text)


class Account:
    """The increments and deletions of one counter, summed up."""

    def __init__(self, story: Story) -> None:
        self._doubt = [effect for effect in story.loose if effect.written.action == "delete"]
        """Deletions that may have happened at any time, or seen anything."""
        self._origins: dict[int, _Prefixes] = {}
        self._deletes: list[tuple[list[Effect], list[tuple[Vector, Vector]]]] = []
        for origin, effects in story.by_origin.items():
            self._origins[origin] = _Prefixes(
                [effect for effect in effects if effect.written.action == "increment"]
            )
            deletes = [effect for effect in effects if effect.written.action == "delete"]
            if deletes:
                taken: list[tuple[Vector, Vector]] = []
                for delete in deletes:
                    surely, maybe = _sight(delete)
                    if taken:
                        surely, maybe = join(taken[-1][0], surely), join(taken[-1][1], maybe)
                    taken.append((surely, maybe))
                self._deletes.append((deletes, taken))
            self._doubt += [delete for delete in deletes if _blurred(delete)]
        self._loose = sorted(
            (effect for effect in story.loose if effect.written.action == "increment"),
            key=lambda effect: effect.call.started_ms,
        )
        self._sums: list[Sums] = []
        self.deleted = bool(self._deletes or self._doubt)

    def bounds(self, vector: Vector, ended_ms: float) -> tuple[int, int]:
        """The least and the greatest sum of what the vector covers, in a read that ended then."""
        doubt = any(delete.call.started_ms <= ended_ms for delete in self._doubt)
        surely: Vector = {}
        maybe: Vector = {}
        for deletes, taken in self._deletes:
            covered = bisect_left(deletes, vector.get(deletes[0].origin, 0) + 1, key=SEQ)
            if covered:
                surely = join(surely, taken[covered - 1][0])
                maybe = join(maybe, taken[covered - 1][1])
        low = high = 0
        for origin, prefixes in self._origins.items():
            limit = vector.get(origin, 0)
            certain = min(limit, surely.get(origin, 0))
            doubtful = limit if doubt else min(limit, maybe.get(origin, 0))
            least, greatest = prefixes.between(certain, max(certain, doubtful), limit)
            low += least
            high += greatest
        return low, high

    def unknown(self, ended_ms: float) -> Sums:
        """What the increments without an answer that were asked for by then can add."""
        if not self._sums and self._loose:
            amounts = (effect.written.amount for effect in self._loose)
            self._sums = list(accumulate(amounts, Sums.plus, initial=Sums()))
        index = 0
        while index < len(self._loose) and self._loose[index].call.started_ms <= ended_ms:
            index += 1
        return self._sums[index] if self._sums else Sums()


class _Prefixes:
    """Sums of one origin's increments up to each; the taking away ones apart."""

    def __init__(self, increments: list[Effect]) -> None:
        self._increments = increments
        amounts = [effect.written.amount for effect in increments]
        self._added = list(accumulate((max(a, 0) for a in amounts), initial=0))
        self._taken = list(accumulate((min(a, 0) for a in amounts), initial=0))

    def between(self, certain: int, doubtful: int, limit: int) -> tuple[int, int]:
        """Least and greatest sum up to seq ``limit`` without what is certainly deleted.

        What lies between ``certain`` and ``doubtful`` is perhaps deleted.
        """
        a = bisect_left(self._increments, certain + 1, key=SEQ)
        b = a if doubtful == certain else bisect_left(self._increments, doubtful + 1, key=SEQ)
        c = bisect_left(self._increments, limit + 1, key=SEQ)
        rest = self._added[c] - self._added[b] + self._taken[c] - self._taken[b]
        return (
            rest + self._taken[b] - self._taken[a],
            rest + self._added[b] - self._added[a],
        )


def _sight(delete: Effect) -> tuple[Vector, Vector]:
    """What it surely takes away, and what at most."""
    if delete.written.mode == "context":
        maybe = delete.written.seen or {}
        return ({} if delete.optional else maybe), maybe
    own = {delete.origin: delete.seq - 1}
    surely = {} if delete.optional else {**delete.low, **own}
    return surely, {**(delete.high or {}), **own}


def _blurred(delete: Effect) -> bool:
    return delete.written.mode == "observed" and delete.high is None


class _Growth:
    """No client sees a G-counter shrink at growing vectors, as long as nobody deletes it."""

    def __init__(self, count: Count) -> None:
        self._count = count
        self._last: dict[tuple[int, bytes], tuple[Read, int]] = {}

    def look(self, read: Read, seen: Seen) -> None:
        """One more look."""
        if not isinstance(read.source, Call):
            return
        value = seen.counters.get("GCOUNTER", 0)
        place = (read.source.client, seen.key)
        last = self._last.get(place)
        if last is not None and value < last[1] and covers(read.vector, last[0].vector):
            self._count.unexpected(
                f"the GCOUNTER {seen.key!r} fell from {last[1]} in {read_text(last[0].source)} "
                f"to {value} in {read_text(read.source)}, and nobody deleted it"
            )
        self._last[place] = (read, value)
