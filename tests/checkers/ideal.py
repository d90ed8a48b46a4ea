"""A cluster that is right by definition, and the histories of random clients on it.

Every node holds a version vector; what it shows of a key is worked out, for each read anew, from
the definition: the covered writes less those that a covered write had seen. No merge, no delta, no
storage, so nothing of kvnode's cleverness: the checkers must find nothing in its histories, and
must find whatever is changed in them afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random
from typing import Literal

from tests.checkers.history import (
    Call,
    Dot,
    Final,
    History,
    Seen,
    Type,
    Vector,
    Written,
)

Mode = Literal["observed", "blind", "context"]
Outcome = Literal["ok", "refused", "unknown"]
EPOCH_MS = 1_700_000_000_000
COUNTERS: tuple[Type, ...] = ("GCOUNTER", "PNCOUNTER")


@dataclass(slots=True)
class Done:
    """A write that happened."""

    dot: Dot
    written: Written
    before: Vector
    """What its origin had applied, itself not included."""
    stamp: tuple[int, int, int]
    effective: bool = True

    def saw(self, dot: Dot) -> bool:
        """Whether its writer had applied the dot."""
        return self.before.get(dot[0], 0) >= dot[1]

    def replaces(self, dot: Dot) -> bool:
        """Whether the sibling goes where this is applied."""
        match self.written.mode:
            case "blind":
                return False
            case "context":
                return dot in (self.written.context or ())
        return self.saw(dot)

    def takes(self, dot: Dot) -> bool:
        """Whether this deletion takes the increment away."""
        if self.written.mode == "context":
            return (self.written.seen or {}).get(dot[0], 0) >= dot[1]
        return self.saw(dot)


@dataclass(slots=True)
class Ideal:
    """Nodes "n1", "n2", ... with the origins 1, 2, ..., and the history of what was asked."""

    nodes: int = 3
    history: History = field(default_factory=History)
    vectors: dict[str, Vector] = field(default_factory=dict)
    done: dict[tuple[bytes, Type], list[Done]] = field(default_factory=dict)
    clocks: dict[str, int] = field(default_factory=dict)
    """Of each node, as far apart as logical clocks can be."""
    values: int = 0

    def __post_init__(self) -> None:
        self.vectors = {f"n{number}": {} for number in range(1, self.nodes + 1)}
        self.clocks = {f"n{number}": number * 100 for number in range(1, self.nodes + 1)}
        self.history.epoch_ms = EPOCH_MS

    # ---- what clients ask

    def write(
        self,
        node: str,
        *writes: Written,
        client: int = 0,
        outcome: Outcome = "ok",
        happens: bool = True,
        request: bytes = b"",
        token: Vector | None = None,
    ) -> Call:
        """A batch; ``happens`` says whether one with an unknown outcome does."""
        number = len(self.history.calls) + 1
        before = dict(self.vectors[node])
        dots: tuple[Dot, ...] = ()
        if outcome == "ok" or (outcome == "unknown" and happens):
            dots = tuple(self._apply(node, written) for written in writes)
        ended_ms = None if outcome == "unknown" else number * 10 + 5.0
        call = Call(
            number, client, node, number * 10.0, ended_ms, outcome,
            writes=writes, request=request, token=token,
        )  # fmt: skip
        if outcome == "ok":
            call = replace(call, dots=dots, vector=dict(self.vectors[node]), before=before)
        self.history.calls.append(call)
        return call

    def read(self, node: str, *keys: bytes, client: int = 0, token: Vector | None = None) -> Call:
        """Some keys in one call."""
        number = len(self.history.calls) + 1
        call = Call(
            number, client, node, number * 10.0, number * 10 + 5.0, "ok",
            seen=tuple(self.look(key, self.vectors[node], self._now_ms(number)) for key in keys),
            vector=dict(self.vectors[node]), token=token,
        )  # fmt: skip
        self.history.calls.append(call)
        return call

    def pull(self, to: str, source: str) -> None:
        """All that the source has reaches ``to``."""
        mine = self.vectors[to]
        for origin, seq in self.vectors[source].items():
            mine[origin] = max(seq, mine.get(origin, 0))
        self.clocks[to] = max(self.clocks[to], self.clocks[source])

    def settle(self) -> History:
        """Everybody gets everything; the finals are taken."""
        for to in self.vectors:
            for source in self.vectors:
                self.pull(to, source)
        for to in self.vectors:
            self.pull(to, f"n{self.nodes}")
        number = len(self.history.calls) + 1
        keys = sorted({key for key, _ in self.done})
        for node, vector in self.vectors.items():
            seen = {key: self.look(key, vector, self._now_ms(number)) for key in keys}
            shown = {k: s for k, s in seen.items() if s.siblings or s.lww or s.counters}
            self.history.finals.append(Final(node, dict(vector), repr(shown), shown, number * 10.0))
        return self.history

    # ---- what there is

    def look(self, key: bytes, vector: Vector, now_ms: float = 0.0) -> Seen:
        """What a replica with that vector shows."""
        siblings, lww, counters = {}, None, {}
        there = self._covered(key, "SIBLINGS", vector)
        for done in there:
            replaced = any(other.replaces(done.dot) for other in there)
            if done.written.action == "put" and not replaced and not _expired(done, now_ms):
                siblings[done.dot] = done.written.value
        registers = self._covered(key, "LWW", vector)
        if registers:
            winner = max(registers, key=lambda done: done.stamp)
            if winner.written.action == "put" and not _expired(winner, now_ms):
                lww = (winner.dot, winner.written.value)
        for kind in COUNTERS:
            there = self._covered(key, kind, vector)
            left = [
                done.written.amount
                for done in there
                if done.written.action == "increment"
                and not any(r.written.action == "delete" and r.takes(done.dot) for r in there)
            ]
            if left:
                counters[kind] = sum(left)
        return Seen(key, siblings, lww, counters)

    def _covered(self, key: bytes, kind: Type, vector: Vector) -> list[Done]:
        return [
            done
            for done in self.done.get((key, kind), ())
            if vector.get(done.dot[0], 0) >= done.dot[1] and done.effective
        ]

    def _apply(self, node: str, written: Written) -> Dot:
        vector = self.vectors[node]
        origin = int(node[1:])
        dot = (origin, vector.get(origin, 0) + 1)
        read = self._covered(written.key, "LWW", written.seen or {})
        seen = max((other.stamp for other in read), default=(0, 0, 0))
        self.clocks[node] = max(self.clocks[node], seen[0]) + 1
        done = Done(dot, written, dict(vector), (self.clocks[node], *dot))
        if (written.action, written.type, written.mode) == ("delete", "LWW", "context"):
            there = self._covered(written.key, "LWW", vector)
            done.effective = all(other.stamp <= seen for other in there)
        self.done.setdefault((written.key, written.type), []).append(done)
        vector[origin] = dot[1]
        return dot

    def _now_ms(self, number: int) -> float:
        return EPOCH_MS + number * 10 + 2.0


def _expired(done: Done, now_ms: float) -> bool:
    deadline = done.written.deadline_ms
    return deadline is not None and now_ms >= deadline


KEYS: dict[bytes, Type] = {
    b"s1": "SIBLINGS", b"s2": "SIBLINGS", b"r1": "LWW", b"r2": "LWW",
    b"g1": "GCOUNTER", b"p1": "PNCOUNTER", b"p2": "PNCOUNTER",
}  # fmt: skip


class Wanderer:
    """Random clients: reads, contexts, batches, deletes, lost answers, tokens."""

    def __init__(self, seed: int, nodes: int = 3) -> None:
        self.random = Random(seed)
        self.ideal = Ideal(nodes)
        self.lossless = False
        """Whether every call is answered, and no value expires."""
        self._last: dict[bytes, tuple[Seen, Vector]] = {}
        """The last read of each key, by anybody: contexts are taken from it."""
        self._tokens: dict[int, Vector] = {client: {} for client in range(3)}

    def run(self, calls: int) -> History:
        """A history of about that many calls."""
        for _ in range(calls):
            self._step()
        return self.ideal.settle()

    def _step(self) -> None:
        random, ideal = self.random, self.ideal
        client = random.randrange(6)
        node = random.choice(list(ideal.vectors))
        if random.random() < 0.3:
            ideal.pull(node, random.choice(list(ideal.vectors)))
        token = self._tokens.get(client)
        if token is not None:  # the node waits until it covers the token
            for other in ideal.vectors:
                if any(ideal.vectors[node].get(o, 0) < seq for o, seq in token.items()):
                    ideal.pull(node, other)
            token = dict(token)
        if random.random() < 0.4:
            keys = random.sample(list(KEYS), random.choice((1, 1, 3, len(KEYS))))
            call = ideal.read(node, *keys, client=client, token=token)
            for seen in call.seen:
                self._last[seen.key] = (seen, call.vector)
        else:
            size = random.choice((1, 1, 1, 2, 4))
            writes = [self._written() for _ in range(size)]
            outcome: Outcome = random.choices(("ok", "unknown", "refused"), (20, 1, 1))[0]
            if self.lossless:
                outcome = "ok"
            call = ideal.write(
                node, *writes, client=client, outcome=outcome,
                happens=random.random() < 0.5, token=token,
            )  # fmt: skip
        if client in self._tokens and call.outcome == "ok":
            mine = self._tokens[client]
            for origin, seq in call.vector.items():
                mine[origin] = max(seq, mine.get(origin, 0))

    def _written(self) -> Written:
        random = self.random
        key, kind = random.choice(list(KEYS.items()))
        seen, vector = self._last.get(key, (Seen(key), {}))
        mode: Mode = random.choice(("observed", "context")) if key in self._last else "observed"
        context = frozenset(seen.siblings) if mode == "context" else None
        read = dict(vector) if mode == "context" else None
        if random.random() < 0.2:
            return Written("delete", key, kind, mode=mode, context=context, seen=read)
        if kind in COUNTERS:
            amount = random.randint(1, 9)
            if kind == "PNCOUNTER" and random.random() < 0.4:
                amount = -amount
            return Written("increment", key, kind, amount=amount)
        self.ideal.values += 1
        deadline = None
        if random.random() < 0.1 and not self.lossless:
            now = EPOCH_MS + len(self.ideal.history.calls) * 10
            deadline = now + random.randrange(1500)
        if kind == "SIBLINGS" and random.random() < 0.1:
            mode, context, read = "blind", None, None
        value = b"v%d" % self.ideal.values
        return Written("put", key, kind, value, 0, mode, context, read, deadline)
