"""What a history says about each write: its dot, and what its writer had seen.

Problem: a checker must know which writes a read *has to* show and which it must not show. Replicas
apply blocks in causal order and whole, so what a node shows is a function of its version vector:
of each key, the writes that the vector covers, less those that another covered write had seen and
replaced. Every read and every acknowledgement comes with such a vector. So one oracle judges every
read in the middle of a run as strictly as the end of it; losses, resurrections, broken causality
and half batches are all differences from it.

Obstacle: not all is known. A call without an answer has no dot, and has perhaps not happened. What
the accepting node had applied just before a write is only known to a driver that can look inside.

Idea: bounds. Of each write, ``low`` is what its writer surely had seen: the vector of the last
acknowledgement by the same origin before it, and the session token. ``high`` is what it can have
seen at most: nothing that some vector which covers the write does not cover (no effect before its
cause), thus the vector that came with the acknowledgement. A write surely replaces what ``low``
covers, perhaps what ``high`` covers. With ``before`` both are equal and the oracle is exact.
A write without a dot is *loose*: it may be there, and may have replaced what it can have seen. If
its value turns up anywhere, that tells its dot, and it is loose no more.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import replace
from operator import attrgetter, itemgetter

from tests.checkers.history import UNCLEAN, Call, Dot, Final, History, Seen, Type, Vector, Written

Cell = tuple[bytes, Type]
"""The identity of a value: key and type."""
NO_DOTS: frozenset[Dot] = frozenset()
Told = tuple[list[int], list[Vector]]
"""The vectors of an origin's acknowledgements, in order, and their own components."""
NOTHING_TOLD: Told = ([], [])


class Effect:
    """One operation that happened, under its dot, or may have happened (seq 0)."""

    __slots__ = ("batch", "call", "gone_at", "high", "low", "optional", "origin", "seq", "written")

    def __init__(
        self, call: Call, written: Written, dot: Dot, low: Vector, high: Vector | None
    ) -> None:
        self.call = call
        self.written = written
        self.origin, self.seq = dot
        self.low = low
        self.high = high
        self.batch: tuple[Effect, ...] = ()
        """The operations of its batch, itself included."""
        self.optional = False
        """It may be missing even where its dot is covered (buffered, and the node was killed)."""
        self.gone_at: Vector | None = None
        """A vector at which it had been replaced, for all that comes later."""

    @property
    def dot(self) -> Dot:
        return (self.origin, self.seq)

    def surely_saw(self, origin: int, seq: int) -> bool:
        """Whether its writer had applied the dot."""
        if origin == self.origin:
            return seq < self.seq
        return self.low.get(origin, 0) >= seq

    def maybe_saw(self, origin: int, seq: int) -> bool:
        """Whether its writer can have applied the dot."""
        if origin == self.origin and self.seq:
            return seq < self.seq
        return self.high is None or self.high.get(origin, 0) >= seq

    def __str__(self) -> str:
        written = self.written
        what = repr(written.value)
        if written.action == "increment":
            what = f"{written.amount:+d}"
        elif written.action == "delete":
            what = ""
        at = f" as {dot_text(self.dot)}" if self.seq else ""
        return f"call {self.call.number} ({written.action} {written.key!r} {what}{at})"


class Story:
    """All operations on one cell, by origin, in the order of their seqs."""

    __slots__ = ("by_origin", "loose")

    def __init__(self) -> None:
        self.by_origin: dict[int, list[Effect]] = {}
        self.loose: list[Effect] = []

    def covered(self, vector: Vector) -> Iterator[tuple[list[Effect], int]]:
        """Each origin's operations with how many of them the vector covers."""
        for origin, effects in self.by_origin.items():
            count = bisect_left(effects, vector.get(origin, 0) + 1, key=SEQ)
            if count:
                yield effects, count


SEQ = attrgetter("seq")


class Write:
    """All attempts of one write: those with the same request id."""

    __slots__ = ("calls", "counted", "dots", "learned")

    def __init__(self, call: Call) -> None:
        self.calls = [call]
        self.dots: list[Dot] = []
        """First dot of each time it is known to have happened."""
        self.learned = 0
        """How many of these were found in what was shown."""
        self.counted = False
        """Whether its increments are accounted for."""

    @property
    def outcome(self) -> str:
        """ok if any attempt was, unknown if any was, else refused."""
        outcomes = [call.outcome for call in self.calls]
        return next((o for o in ("ok", "unknown") if o in outcomes), "refused")


class Facts:
    """The index of one history that all checkers share."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.stories: dict[Cell, Story] = {}
        self.by_dot: dict[Dot, Effect] = {}
        self.values: dict[tuple[Cell, bytes], Write] = {}
        """Of every put that was ever asked for."""
        self.writes: list[Write] = []
        self.reused: list[tuple[Effect, Effect]] = []
        """Two writes that were acknowledged under one dot."""
        self._killed: dict[str, float] = {}
        for fault in history.faults:
            if fault.kind in UNCLEAN:
                for node in fault.nodes:
                    last = self._killed.get(node, 0.0)
                    self._killed[node] = max(last, fault.ended_ms or float("inf"))
        self._gather()
        self._told = _acknowledged_vectors(history)
        for write in self.writes:
            self._place(write)
        self._learn()
        for write in self.writes:
            self._loosen(write)

    def story(self, cell: Cell) -> Story:
        """Of one cell; empty if nothing was ever asked of it."""
        return self.stories.get(cell) or Story()

    def effect(self, cell: Cell, dot: Dot, value: bytes) -> Effect | None:
        """The put that is shown under ``dot``, None if there is no such put."""
        effect = self.by_dot.get(dot)
        if effect is None or effect.written.value != value:
            return None
        written = effect.written
        return effect if (written.key, written.type) == cell else None

    def _gather(self) -> None:
        requests: dict[bytes, Write] = {}
        for call in self.history.calls:
            if not call.writes:
                continue
            write = requests.get(call.request) if call.request else None
            if write is not None:
                write.calls.append(call)
                continue
            write = Write(call)
            self.writes.append(write)
            if call.request:
                requests[call.request] = write
            for written in call.writes:
                if written.action == "put":
                    self.values[((written.key, written.type), written.value)] = write

    def _place(self, write: Write) -> None:
        for call in sorted(write.calls, key=lambda call: call.repeated):
            if not call.dots:
                continue
            if call.dots[0] in write.dots or call.dots[0][0] in self.history.reissued:
                continue
            known = self.by_dot.get(call.dots[0])
            done = call
            if call.repeated:  # it happened in an attempt before
                begun_ms = min(attempt.started_ms for attempt in write.calls)
                done = replace(call, started_ms=begun_ms)
            effects = self._happen(write, done, call.dots, call.vector or None)
            if known is not None:
                self.reused.append((known, effects[0]))

    def _happen(
        self, write: Write, call: Call, dots: tuple[Dot, ...], high: Vector | None
    ) -> tuple[Effect, ...]:
        write.dots.append(dots[0])
        write.counted = True
        before = None if call.repeated else call.before
        low = self._low(call, dots[0]) if before is None else before
        if before is not None:
            high = before
        if self.history.reissued:  # those numbers may be other writes' now
            low = {o: seq for o, seq in low.items() if o not in self.history.reissued}
        unclean = (
            call.durability == "buffered" and self._killed.get(call.node, -1.0) > call.started_ms
        )
        effects = tuple(
            Effect(call, written, dot, low, high)
            for written, dot in zip(call.writes, dots, strict=True)
        )
        for effect in effects:
            effect.batch = effects
            effect.optional = unclean or effect.origin in self.history.reissued
            self.by_dot.setdefault(effect.dot, effect)
            story = self._told_of(effect.written)
            if effect.optional and effect.written.action == "increment":
                story.loose.append(effect)
                continue
            of_origin = story.by_origin.setdefault(effect.origin, [])
            if not of_origin or of_origin[-1].seq < effect.seq:
                of_origin.append(effect)
            else:
                insort(of_origin, effect, key=SEQ)
        return effects

    def _told_of(self, written: Written) -> Story:
        return self.stories.setdefault((written.key, written.type), Story())

    def _low(self, call: Call, dot: Dot) -> Vector:
        origin, seq = dot
        seqs, vectors = self._told.get(origin, NOTHING_TOLD)
        index = bisect_left(seqs, seq)
        low = vectors[index - 1] if index else {}
        if call.token and not call.repeated:
            low = join(low, call.token)
        return low

    def _learn(self) -> None:
        """Find the dots of unknown writes in what was shown."""
        for read, seen in shown(self.history):
            for dot, value in seen.siblings.items():
                self._learn_dot(read, (seen.key, "SIBLINGS"), dot, value)
            if seen.lww is not None:
                self._learn_dot(read, (seen.key, "LWW"), *seen.lww)

    def _learn_dot(self, read: Call | Final, cell: Cell, dot: Dot, value: bytes) -> None:
        effect = self.by_dot.get(dot)
        if effect is not None:
            if read.vector and (effect.high is None or effect.call.outcome == "unknown"):
                effect.high = meet(effect.high, read.vector)
            return
        write = self.values.get((cell, value))
        if write is None:
            return
        attempts = self._unaccounted(write) or self._reissued(write)
        if not attempts:
            return
        call = attempts[0]
        index = next(
            index
            for index, written in enumerate(call.writes)
            if written.value == value and (written.key, written.type) == cell
        )
        first = dot[1] - index
        dots = tuple((dot[0], first + i) for i in range(len(call.writes)))
        if first > 0 and not any(dot in self.by_dot for dot in dots):
            self._happen(write, call, dots, read.vector or None)
            write.learned += 1

    def _unaccounted(self, write: Write) -> list[Call]:
        """The attempts that may have happened under a dot that is not known yet."""
        done = [call for call in write.calls if call.outcome == "ok"]
        repeated = any(call.repeated for call in done)
        answered = {call.node for call in done}
        return [
            call
            for call in write.calls
            if call in self._reissued(write)
            or (
                call.outcome == "unknown"
                and not (call.dots or repeated or call.node in answered or self.history.settled)
            )
        ][write.learned :]

    def _reissued(self, write: Write) -> list[Call]:
        """The attempts of which the effect is found under one dot, and later under another."""
        return [c for c in write.calls if c.dots and c.dots[0][0] in self.history.reissued]

    def _loosen(self, write: Write) -> None:
        """What may have happened under an unknown dot, now that all dots are known that will be."""
        for call in self._unaccounted(write):
            effects = tuple(Effect(call, written, (0, 0), {}, None) for written in call.writes)
            for effect in effects:
                if write.counted and effect.written.action == "increment":
                    continue  # an attempt of it is known: it counts once
                effect.batch = effects
                self._told_of(effect.written).loose.append(effect)
            write.counted = True


def shown(history: History) -> Iterator[tuple[Call | Final, Seen]]:
    """Every key that was shown to anybody, with the read."""
    for call in history.calls:
        for seen in call.seen:
            yield call, seen
    for final in history.finals:
        for seen in final.keys.values():
            yield final, seen


def _acknowledged_vectors(history: History) -> dict[int, Told]:
    """Of each origin, what it acknowledged writes with."""
    told: dict[int, list[Vector]] = {}
    for call in history.calls:
        if call.outcome == "ok" and call.dots and not call.repeated and call.vector:
            origin = call.dots[0][0]
            if call.durability != "buffered" and origin in call.vector:
                told.setdefault(origin, []).append(call.vector)
    out: dict[int, Told] = {}
    for origin, vectors in told.items():
        vectors.sort(key=itemgetter(origin))
        out[origin] = ([vector[origin] for vector in vectors], vectors)
    return out


def join(a: Vector, b: Vector) -> Vector:
    """What either covers."""
    out = dict(a)
    for origin, seq in b.items():
        if out.get(origin, 0) < seq:
            out[origin] = seq
    return out


def meet(a: Vector | None, b: Vector) -> Vector:
    """What both cover; None covers all."""
    if a is None:
        return b
    return {origin: min(seq, b[origin]) for origin, seq in a.items() if origin in b}


def covers(vector: Vector, other: Vector) -> bool:
    """Whether it covers all that the other does."""
    return all(vector.get(origin, 0) >= seq for origin, seq in other.items())


def dot_text(dot: Dot) -> str:
    """For people."""
    return f"{dot[0]:x}:{dot[1]}"


def vector_text(vector: Vector) -> str:
    """For people."""
    return " ".join(dot_text(dot) for dot in sorted(vector.items())) or "(nothing)"
