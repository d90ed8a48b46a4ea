"""A batch is seen whole or not at all, by its vector and, apart from that, by its values.

A vector that ends inside a batch says that half of it was applied. And of a read of several keys
in one call: where one value of a batch is shown, each other one that was asked for is shown too,
or something can have replaced it.
"""

from __future__ import annotations

from bisect import bisect_right

from tests.checkers.count import Count, read_text
from tests.checkers.facts import NO_DOTS, Effect, Facts, Story
from tests.checkers.history import Call, Dot, Final, Seen, Vector, Verdict
from tests.checkers.reads import Read
from tests.checkers.registers import candidates


def batches(facts: Facts, reads: list[Read]) -> Verdict:
    """Judge every vector and every read of several keys."""
    count = Count("batches")
    inside = _Insides(facts)
    sources: list[Call | Final] = [call for call in facts.history.calls if call.outcome == "ok"]
    for source in [*sources, *facts.history.finals]:
        half = inside.half(source.vector)
        if half is not None:
            count.unexpected(f"{read_text(source)} has only half of the batch of {half}")
    for read in reads:
        if len(read.seen) > 1 and isinstance(read.source, Call):
            _whole(facts, count, read)
    return count.verdict


class _Insides:
    """Where the batches of each origin lie."""

    def __init__(self, facts: Facts) -> None:
        self._batches: dict[int, list[tuple[int, int, Effect]]] = {}
        for effect in facts.by_dot.values():
            if len(effect.batch) > 1 and effect.batch[0] is effect:
                last = effect.batch[-1].seq
                self._batches.setdefault(effect.origin, []).append((effect.seq, last, effect))
        for spans in self._batches.values():
            spans.sort(key=lambda span: span[0])

    def half(self, vector: Vector) -> Effect | None:
        """The first operation of a batch that the vector covers in part."""
        for origin, spans in self._batches.items():
            seq = vector.get(origin, 0)
            index = bisect_right(spans, seq, key=lambda span: span[0]) - 1
            if index >= 0 and seq < spans[index][1]:
                return spans[index][2]
        return None


def _whole(facts: Facts, count: Count, read: Read) -> None:
    looks = {seen.key: seen for seen in read.seen}
    done: set[Dot] = set()
    for seen in read.seen:
        for dot in _dots(seen):
            effect = facts.by_dot.get(dot)
            if effect is None or len(effect.batch) < 2 or effect.batch[0].dot in done:
                continue
            done.add(effect.batch[0].dot)
            for other in effect.batch:
                look = looks.get(other.written.key)
                if look is None or other is effect or other.written.action != "put":
                    continue
                if other.dot in _dots(look) or _replaceable(facts, other, read):
                    count.ok()
                else:
                    count.lost(f"{read_text(read.source)} shows {effect}, but not {other}")


def _dots(seen: Seen) -> list[Dot]:
    return [*seen.siblings, seen.lww[0]] if seen.lww is not None else list(seen.siblings)


def _replaceable(facts: Facts, effect: Effect, read: Read) -> bool:
    """Whether it can rightly be missing where the rest of its batch is."""
    written = effect.written
    story = facts.story((written.key, written.type))
    if written.deadline_ms is not None or effect.optional or story.loose:
        return True
    if written.type == "LWW":
        return any(other is not effect for other in candidates(story, read.vector))
    return _replaced(story, effect, read)


def _replaced(story: Story, effect: Effect, read: Read) -> bool:
    for effects in story.by_origin.values():
        for by in effects:
            if by is effect or by.written.mode == "blind" or by.call.started_ms > read.ended_ms:
                continue
            if by.written.mode == "context":
                if effect.dot in (by.written.context or NO_DOTS):
                    return True
            elif by.maybe_saw(effect.origin, effect.seq):
                return True
    return False
