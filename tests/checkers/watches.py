"""Watches: every write of the watched keys once, causes first, batches whole, and nothing left out.

A watch is told in *steps*, each whole (``Told``). At the end of a step, of everything that was told
so far, all that its writer surely had seen was told too, or was there when the watch began; and the
rest of its batch. What an origin wrote earlier is a part of that, so a write that is skipped is
found as soon as a later one of its origin is told. At the end all is told that the members have,
and each key was last shown as the members show it.

Deletions that found nothing are no changes, so none is asked for. Values that expire do so without
a change: they are left out where states are compared. A history with two branches of one origin is
not judged: its numbers mean two things.
"""

from __future__ import annotations

from dataclasses import replace

from tests.checkers.count import Count
from tests.checkers.facts import Effect, Facts, dot_text
from tests.checkers.history import Dot, Seen, Verdict, Watched


def watches(facts: Facts) -> Verdict:
    """Judge every watch."""
    count = Count("watches")
    for watched in () if facts.history.reissued else facts.history.watches:
        _Reader(facts, watched, count).judge()
    return count.verdict


class _Reader:
    """One watch, told again."""

    def __init__(self, facts: Facts, watched: Watched, count: Count) -> None:
        self._facts = facts
        self._watched = watched
        self._count = count
        self._told: set[Dot] = set()
        self._found: set[Dot] = set()
        """Left out, and counted as that."""
        self._wanted: dict[int, list[int]] = {}
        """Of each origin, the seqs that have to be told and were not, the next one last."""
        for dot, effect in sorted(facts.by_dot.items(), reverse=True):
            written = effect.written
            there = watched.since.get(dot[0], 0) >= dot[1]
            if written.action == "delete" or effect.optional or there:
                continue
            if written.key.startswith(watched.prefix):
                self._wanted.setdefault(dot[0], []).append(dot[1])

    def judge(self) -> None:
        """Step by step."""
        states: dict[bytes, Seen] = {}
        for told in self._watched.told:
            for key, dot in told.writes:
                self._take(key, dot)
            for _, dot in told.writes:
                self._causes(dot)
            states |= {seen.key: seen for seen in told.states}
        if self._watched.finished:
            self._end(states)

    def _take(self, key: bytes, dot: Dot) -> None:
        effect = self._facts.by_dot.get(dot)
        if dot in self._told:
            self._count.unexpected(f"{self._watched} was told {dot_text(dot)} twice")
        elif self._watched.since.get(dot[0], 0) >= dot[1]:
            self._count.unexpected(f"{self._watched} was told {dot_text(dot)}, which was there")
        elif effect is not None and effect.written.key != key:
            self._count.unexpected(f"{self._watched} was told {effect} as a change of {key!r}")
        else:
            self._count.ok()
        self._told.add(dot)

    def _causes(self, dot: Dot) -> None:
        effect = self._facts.by_dot.get(dot)
        if effect is None:
            return
        for origin, seq in {**effect.low, dot[0]: effect.batch[-1].seq}.items():
            missing = self._next(origin)
            if missing and missing <= seq:
                self._left_out(f"was told {effect}, but not", (origin, missing))
                return

    def _next(self, origin: int) -> int:
        """The next of its writes that was not told, 0 if none is left."""
        wanted = self._wanted.get(origin, [])
        while wanted and self._is_settled((origin, wanted[-1])):
            wanted.pop()
        return wanted[-1] if wanted else 0

    def _is_settled(self, dot: Dot) -> bool:
        return dot in self._told or dot in self._found

    def _left_out(self, what: str, dot: Dot) -> None:
        self._count.lost(f"{self._watched} {what} {self._facts.by_dot[dot]}")
        self._found.add(dot)

    def _end(self, states: dict[bytes, Seen]) -> None:
        for final in self._facts.history.finals[:1]:
            for origin, last in final.vector.items():
                missing = self._next(origin)
                if missing and missing <= last:
                    self._left_out("came to an end without", (origin, missing))
            for key, seen in final.keys.items():
                if key.startswith(self._watched.prefix):
                    self._compare(states.get(key, Seen(key)), seen)

    def _compare(self, told: Seen, final: Seen) -> None:
        told, final = self._lasting(told), self._lasting(final)
        if told == final:
            self._count.ok()
        else:
            self._count.unexpected(f"{self._watched} saw {told} last, and the members show {final}")

    def _lasting(self, seen: Seen) -> Seen:
        """Without what expires."""
        siblings = {dot: v for dot, v in seen.siblings.items() if not self._expires(dot)}
        lww = None if seen.lww is None or self._expires(seen.lww[0]) else seen.lww
        return replace(seen, siblings=siblings, lww=lww)

    def _expires(self, dot: Dot) -> bool:
        effect: Effect | None = self._facts.by_dot.get(dot)
        return effect is not None and effect.written.deadline_ms is not None
