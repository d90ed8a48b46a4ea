"""Last-writer-wins registers: the winner of the stated order, as far as the history can tell.

The order is (hybrid clock, origin, seq), and the clock is advanced by all a writer had received:
a write beats every one that it had seen. So at vector V the winner is one of the *candidates*: the
writes covered by V that no other covered write had seen; of one origin that is its latest, so
there are as few as there are origins. Among concurrent ones the clocks decide, which a history
does not show, but whoever won once wins at every vector that has both (``_Order``).

A deletion with a context does nothing at a node that holds a later value than its reader saw: it
is a candidate that may or may not exist. So is any deletion at a node that found the value
expired, which others, with slower clocks, may still show. What lost against a concurrent write must
be in some node's journal, where the driver gives the journals.
"""

from __future__ import annotations

from bisect import bisect_left

from tests.checkers.count import Count, read_text
from tests.checkers.expiry import SKEW_MS, doubt_deletions_of_expired, expired_maybe
from tests.checkers.facts import SEQ, Effect, Facts, Story
from tests.checkers.history import Dot, Final, Seen, Vector, Verdict
from tests.checkers.reads import Read, looks
from tests.checkers.siblings import known_put

SCAN_MAX = 64
"""Writes with contexts that are looked at, newest first, for one that overwrote a winner."""


def registers(facts: Facts, reads: list[Read], skew_ms: int = SKEW_MS) -> Verdict:
    """Judge every look at a register."""
    judge = _Judge(facts, skew_ms)
    for (_, kind), story in facts.stories.items():
        if kind == "LWW":
            _doubt_deletions(facts, story, skew_ms)
    for read, seen in looks(facts, "LWW", reads):
        judge.look(read, seen)
    _journalled(facts, judge.count)
    return judge.count.verdict


class _Judge:
    def __init__(self, facts: Facts, skew_ms: int) -> None:
        self._facts = facts
        self._skew_ms = skew_ms
        self._beaten: dict[tuple[Dot, Dot], Read] = {}
        """(winner, loser) -> the read that showed it."""
        self._recovered: set[Dot] = set()
        self.count = Count("registers")

    def look(self, read: Read, seen: Seen) -> None:
        """Compare the winner shown with those that can be it."""
        story = self._facts.story((seen.key, "LWW"))
        winner: Effect | None = None
        if seen.lww is not None:
            winner = known_put(self._facts, self.count, read, (seen.key, "LWW"), *seen.lww)
            if winner is None:
                return
        if not read.vector:
            return
        left = candidates(story, read.vector)
        if winner is not None:
            self._value(read, story, winner, left)
        else:
            self._nothing(read, seen, story, left)

    def _value(self, read: Read, story: Story, winner: Effect, left: list[Effect]) -> None:
        by = _overwriter(story, winner, read.vector)
        if by is not None:
            self.count.unexpected(
                f"{read_text(read.source)} shows {winner}, but {by} had seen and overwritten it"
            )
            return
        if winner.call.outcome == "unknown" and winner.dot not in self._recovered:
            self._recovered.add(winner.dot)
            self.count.recovered()
        self._order(read, winner, [other for other in left if not other.optional])

    def _order(self, read: Read, winner: Effect, others: list[Effect]) -> None:
        for other in others:
            if other is winner:
                continue
            before = self._beaten.get((other.dot, winner.dot))
            if before is not None:
                self.count.unexpected(
                    f"{read_text(read.source)} shows {winner} as winner over {other}, "
                    f"but {read_text(before.source)} has it the other way round"
                )
                return
            self._beaten.setdefault((winner.dot, other.dot), read)
        self.count.ok()

    def _nothing(self, read: Read, seen: Seen, story: Story, left: list[Effect]) -> None:
        values = [
            effect
            for effect in left
            if effect.written.action == "put"
            and not effect.optional
            and not expired_maybe(self._facts, effect.written, read, self._skew_ms)
        ]
        if not values:
            self.count.ok()
            return
        gone = [
            effect
            for effect in left
            if effect.written.action == "delete"
            or expired_maybe(self._facts, effect.written, read, self._skew_ms)
        ]
        gone += [loose for loose in story.loose if loose.call.started_ms <= read.ended_ms]
        if not gone:
            self.count.lost(
                f"{read_text(read.source)} shows no register {seen.key!r}, though {values[0]} "
                "is not overwritten by anything that had seen it"
            )
        elif len(gone) == 1 and gone[0].seq:
            self._order(read, gone[0], values)
        else:
            self.count.ok()


def candidates(story: Story, vector: Vector) -> list[Effect]:
    """The writes that can win at that vector."""
    heads: list[Effect] = []
    for effects, covered in story.covered(vector):
        for effect in reversed(effects[:covered]):
            heads.append(effect)
            if not effect.optional:
                break
    if len(heads) == 1:
        return heads
    return [effect for effect in heads if not any(_overwrites(other, effect) for other in heads)]


def _overwrites(by: Effect, effect: Effect) -> bool:
    """Whether ``by`` surely comes later."""
    if by is effect or by.optional:
        return False
    read = by.written.seen
    return by.surely_saw(effect.origin, effect.seq) or (
        read is not None and read.get(effect.origin, 0) >= effect.seq
    )


def _overwriter(story: Story, winner: Effect, vector: Vector) -> Effect | None:
    """A covered write that had surely seen the winner."""
    for effects, covered in story.covered(vector):
        # what an origin has seen only grows: its last sure write without a context says it all
        for by in reversed(effects[max(0, covered - SCAN_MAX) : covered]):
            if _overwrites(by, winner):
                return by
            if not (by.optional or by.written.seen):
                break
    return None


def _doubt_deletions(facts: Facts, story: Story, skew_ms: int) -> None:
    """Mark the deletions that perhaps did nothing, their node having held a later value, or one
    that had expired there.
    """
    doubt_deletions_of_expired(facts, story, skew_ms, ("observed", "context"))
    for effects in story.by_origin.values():
        for effect in effects:
            if effect.written.action == "delete" and effect.written.mode == "context":
                effect.optional = effect.optional or not _effective(story, effect)


def _effective(story: Story, deletion: Effect) -> bool:
    """Whether its reader had seen every write of the register that its node can have held."""
    read = deletion.written.seen or {}
    for origin, effects in story.by_origin.items():
        after = bisect_left(effects, read.get(origin, 0) + 1, key=SEQ)
        if after < len(effects) and deletion.maybe_saw(origin, effects[after].seq):
            return False
    return not story.loose


def _journalled(facts: Facts, count: Count) -> None:
    """What lost against a concurrent write is in a journal, if the journals are known."""
    finals = [final for final in facts.history.finals if final.journal is not None]
    if not finals or not facts.history.finals:
        return
    journal = {dot for final in finals for dot in final.journal or ()}
    vector = finals[0].vector
    for (key, kind), story in facts.stories.items():
        if kind != "LWW" or story.loose:
            continue
        seen = finals[0].keys.get(key)
        winner = None if seen is None or seen.lww is None else seen.lww[0]
        for effects, covered in story.covered(vector):
            for effect in effects[:covered]:
                if effect.dot != winner and _must_be_journalled(story, effect, finals[0]):
                    if effect.dot in journal:
                        count.ok()
                    else:
                        count.lost(f"{effect} lost against a concurrent write and is in no journal")


def _must_be_journalled(story: Story, effect: Effect, final: Final) -> bool:
    """Whether it was acknowledged and nobody can have seen it who wrote later."""
    written = effect.written
    if written.action != "put" or effect.optional or written.deadline_ms is not None:
        return False
    for effects, covered in story.covered(final.vector):
        for by in effects[:covered]:
            if by is not effect and (
                by.maybe_saw(effect.origin, effect.seq)
                or (by.written.seen or {}).get(effect.origin, 0) >= effect.seq
            ):
                return False
    return True
