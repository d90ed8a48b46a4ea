"""Siblings against the history: every write is visible or was replaced by one that had seen it.

A read at vector V must show exactly the puts that V covers, less those that another write covered
by V had seen: the dots of its explicit context, or, of an "observed" one, what the accepting node
had applied (``facts.py`` gives bounds). A blind put replaces nothing, a delete is a replacement
without a value. A value that had expired where it was replaced may have been collected there: then
the replacing write does not name it, and a node whose clock is set back goes on showing it.

For each node and key a *view* is carried along its reads, so each write is looked at once per
node, not once per read. What is found replaced stays replaced: its showing up at a vector that
covers an earlier one without it is a value that came back.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.checkers.count import Count, read_text
from tests.checkers.expiry import SKEW_MS, doubt_deletions_of_expired, expired_maybe, moment
from tests.checkers.facts import NO_DOTS, Cell, Effect, Facts, Story, covers, dot_text
from tests.checkers.history import Dot, Seen, Vector, Verdict
from tests.checkers.reads import Read, looks


class View:
    """What one node shows of one key, at vectors that only grow."""

    __slots__ = ("_collected", "_pending", "_position", "_story", "live", "maybe")

    def __init__(self, story: Story, collected: Callable[[Dot, Effect], bool]) -> None:
        """``collected``: whether a value may have been gone for good where a write was taken."""
        self._story = story
        self._collected = collected
        self._position: dict[int, int] = {}
        self._pending: dict[Dot, bool] = {}
        """Replaced by an explicit context before they were covered: surely, or perhaps."""
        self.live: dict[Dot, Effect] = {}
        """To be shown."""
        self.maybe: dict[Dot, Effect] = {}
        """Perhaps replaced."""

    def advance(self, vector: Vector) -> bool:
        """Take in what the vector covers; False if it covers less than one before."""
        fresh: list[Effect] = []
        for origin, effects in self._story.by_origin.items():
            at = self._position.get(origin, 0)
            limit = vector.get(origin, 0)
            if at and effects[at - 1].seq > limit:
                return False
            while at < len(effects) and effects[at].seq <= limit:
                fresh.append(effects[at])
                at += 1
            self._position[origin] = at
        for effect in fresh:
            if effect.written.action != "put":
                continue
            replaced = self._pending.pop(effect.dot, None)
            if replaced is None and not effect.optional:
                self.live[effect.dot] = effect
            elif not replaced:
                self.maybe[effect.dot] = effect
        for effect in fresh:
            self._replace(effect, vector)
        return True

    def _replace(self, by: Effect, vector: Vector) -> None:
        written = by.written
        if written.mode == "blind":
            return
        if written.mode == "context":
            for dot in written.context or NO_DOTS:
                surely = not (by.optional or self._collected(dot, by))
                effect = self.live.pop(dot, None)
                if effect is not None and not surely:
                    self.maybe[dot] = effect
                elif surely:
                    self.maybe.pop(dot, None)
                if vector.get(dot[0], 0) < dot[1]:
                    self._pending[dot] = self._pending.get(dot, False) or surely
            return
        for dot, effect in list(self.live.items()):
            if effect is not by and by.maybe_saw(*dot):
                del self.live[dot]
                if not self._surely(by, dot):
                    self.maybe[dot] = effect
        for dot in [dot for dot in self.maybe if dot != by.dot and self._surely(by, dot)]:
            del self.maybe[dot]

    def _surely(self, by: Effect, dot: Dot) -> bool:
        return not by.optional and by.surely_saw(*dot) and not self._collected(dot, by)


def siblings(facts: Facts, reads: list[Read], skew_ms: int = SKEW_MS) -> Verdict:
    """Judge every look at siblings."""
    judge = _Judge(facts, skew_ms)
    for (_, kind), story in facts.stories.items():
        if (
            kind == "SIBLINGS"
        ):  # with a context it replaces what was shown, wherever it is carried out
            doubt_deletions_of_expired(facts, story, skew_ms, ("observed",))
    for read, seen in looks(facts, "SIBLINGS", reads):
        judge.look(read, seen)
    return judge.count.verdict


class _Judge:
    def __init__(self, facts: Facts, skew_ms: int) -> None:
        self._facts = facts
        self._skew_ms = skew_ms
        self._views: dict[tuple[str, bytes], View] = {}
        self._recovered: set[Dot] = set()
        self.count = Count("siblings")

    def look(self, read: Read, seen: Seen) -> None:
        """Compare what is shown with what should be."""
        cell: Cell = (seen.key, "SIBLINGS")
        view = self._view(read, cell) if read.vector else None
        for dot, value in seen.siblings.items():
            effect = known_put(self._facts, self.count, read, cell, dot, value)
            if effect is None:
                continue
            if view is not None and not self._allowed(read, view, effect):
                continue
            self.count.ok()
            if effect.call.outcome == "unknown" and dot not in self._recovered:
                self._recovered.add(dot)
                self.count.recovered()
        if view is not None:
            self._missing(read, seen, view, self._facts.story(cell))

    def _view(self, read: Read, cell: Cell) -> View:
        place = (read.node, cell[0])
        view = self._views.get(place)
        if view is None or not view.advance(read.vector):
            view = self._views[place] = View(self._facts.story(cell), self._collected)
            view.advance(read.vector)
        return view

    def _collected(self, dot: Dot, by: Effect) -> bool:
        """Or ``by`` was made again by a node with another history of the value's origin, which
        cannot know whether its context meant this value, and leaves it beside.
        """
        if dot[0] in self._facts.history.reissued and by.dot not in by.call.dots:
            return True
        value = self._facts.by_dot.get(dot)
        return value is not None and expired_maybe(
            self._facts, value.written, moment(by), self._skew_ms
        )

    def _allowed(self, read: Read, view: View, effect: Effect) -> bool:
        dot = effect.dot
        back = effect.gone_at is not None and covers(read.vector, effect.gone_at)
        if not back and (dot in view.live or dot in view.maybe):
            return True
        by = _replacer(self._facts.story((effect.written.key, "SIBLINGS")), effect, read.vector)
        why = "it was gone before" if by is None else f"{by} had seen and replaced it"
        self.count.unexpected(f"{effect} is shown by {read_text(read.source)}, but {why}")
        return False

    def _missing(self, read: Read, seen: Seen, view: View, story: Story) -> None:
        if not (view.live.keys() | view.maybe.keys()) - seen.siblings.keys():
            return
        for dot in [dot for dot in view.maybe if dot not in seen.siblings]:
            effect = view.maybe[dot]
            if effect.written.deadline_ms is None:
                del view.maybe[dot]
                effect.gone_at = effect.gone_at or read.vector
        for dot in [dot for dot in view.live if dot not in seen.siblings]:
            effect = view.live[dot]
            if expired_maybe(self._facts, effect.written, read, self._skew_ms):
                continue
            del view.live[dot]
            effect.gone_at = effect.gone_at or read.vector
            if not any(_may_replace(loose, effect, read) for loose in story.loose):
                self.count.lost(
                    f"{effect} is not shown by {read_text(read.source)}, "
                    "though nothing that had seen it replaced it"
                )


def known_put(
    facts: Facts, count: Count, read: Read, cell: Cell, dot: Dot, value: bytes
) -> Effect | None:
    """The put that a shown value is of; counts what is wrong with its being shown at all."""
    effect = facts.effect(cell, dot, value)
    shown = f"{value!r} of {cell[0]!r} as {dot_text(dot)}"
    if effect is None:
        write = facts.values.get((cell, value))
        if write is not None and dot[0] in facts.history.reissued:
            return None  # the losing branch showed it under a dot that has another write now
        if write is None:
            count.unexpected(f"{read_text(read.source)} shows {shown}: nobody wrote it")
        elif write.outcome == "refused":
            count.unexpected(
                f"{read_text(read.source)} shows {shown}: call {write.calls[0].number}, "
                "which wrote it, was refused"
            )
        else:
            count.unexpected(
                f"{read_text(read.source)} shows {shown}: call {write.calls[0].number} wrote it as "
                f"{', '.join(map(dot_text, write.dots)) or 'nothing that is known'}"
            )
        return None
    if effect.call.started_ms > read.ended_ms:
        count.unexpected(f"{read_text(read.source)} shows {shown} before {effect} had started")
        return None
    if read.vector and read.vector.get(dot[0], 0) < dot[1]:
        count.unexpected(f"{read_text(read.source)} shows {shown}, which its vector does not cover")
        return None
    return effect


def _may_replace(loose: Effect, effect: Effect, read: Read) -> bool:
    written = loose.written
    if written.mode == "blind" or loose.call.started_ms > read.ended_ms:
        return False
    return written.mode == "observed" or effect.dot in (written.context or NO_DOTS)


def _replacer(story: Story, effect: Effect, vector: Vector) -> Effect | None:
    """A covered write that replaced it, for the message."""
    for effects, covered in story.covered(vector):
        for by in effects[:covered]:
            written = by.written
            if by is effect or written.mode == "blind":
                continue
            if (
                effect.dot in (written.context or NO_DOTS)
                if written.mode == "context"
                else by.surely_saw(*effect.dot)
            ):
                return by
    return None
