"""What was written and acknowledged, kept without kvnode, and whether a node holds exactly that.

The obstacle is a write without a reply: it happened or it did not, so sums could only be bounded.
But a batch is seen whole or not at all. So each batch also puts a value under a key of its own, its
*marker*, that nobody else writes or removes. Where a marker is, the whole batch has to be, where it
is not, nothing of it may be: every counter then has one exact sum, whatever got lost on its way.

Whether an acknowledged batch may be missing is decided by its dot alone. The final version vector
says up to where each origin's writes came to the others; what it covers has to be there. What it
does not cover is lost, and that is only in order if the origin's disk was destroyed
(``destroyed``): nobody but that disk had it. Those are counted.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from cluster.vectors import Dot
from kvnode import DataType, Delete, Increment, KeyState, Operation, Put

MARKER: Final = "batch/"
SHOWN_MAX: Final = 3
"""Examples in one line of a complaint."""


class Fate(Enum):
    """What the writer knows of a batch."""

    ACKNOWLEDGED = auto()
    UNKNOWN = auto()
    """Sent, and no reply came."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch that was sent and not refused."""

    marker: str
    node: str
    """Whose writer sent it."""
    operations: Sequence[Operation]
    fate: Fate
    last_dot: Dot = (0, 0)
    """Of an acknowledged one."""
    replaced: Collection[bytes] = ()
    """The values that a put of it was given the context of."""


@dataclass(slots=True)
class Expected:
    """What has to be visible, by key."""

    counters: Counter[str] = field(default_factory=Counter)
    g_counters: set[str] = field(default_factory=set)
    registers: dict[str, set[bytes]] = field(default_factory=lambda: defaultdict(set))
    """One of these values."""
    siblings: dict[str, set[bytes]] = field(default_factory=lambda: defaultdict(set))
    """Exactly these values."""
    deleted: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Verdict:
    """What came of the comparison."""

    operations: int = 0
    """Acknowledged."""
    acknowledged: int = 0
    """Batches, as the two below."""
    unknown_done: int = 0
    unknown_not_done: int = 0
    lost: int = 0
    """Acknowledged operations that only a destroyed disk had."""
    counters: int = 0
    """Compared with their exact sums on one node."""
    values: int = 0
    deleted: int = 0
    problems: list[str] = field(default_factory=list)


class Ledger:
    """Everything that was sent. Written to by many threads."""

    def __init__(self) -> None:
        self.destroyed: set[int] = set()
        """Origins whose disk was wiped while others may have lacked writes of theirs."""
        self._batches: list[Batch] = []
        self._lock = threading.Lock()

    def add(self, batch: Batch) -> None:
        """Sent, and either acknowledged or without a reply."""
        with self._lock:
            self._batches.append(batch)

    def batches(self) -> list[Batch]:
        """All so far."""
        with self._lock:
            return list(self._batches)

    def last_seq(self, origin: int) -> int:
        """Of this origin's acknowledged writes."""
        return max((b.last_dot[1] for b in self.batches() if b.last_dot[0] == origin), default=0)

    def operations_above(self, origin: int, seq: int) -> int:
        """Acknowledged operations of this origin behind ``seq``."""
        return sum(
            len(batch.operations)
            for batch in self.batches()
            if batch.last_dot[0] == origin and batch.last_dot[1] > seq
        )

    def compare(
        self, held: Mapping[str, Mapping[str, KeyState]], vector: Mapping[int, int]
    ) -> Verdict:
        """What all nodes hold, against what was written. ``held``: node -> key -> state."""
        verdict = Verdict()
        (first_name, first), *others = held.items()
        for name, states in others:
            verdict.problems += _disagreements(first_name, first, name, states)
        present = [
            batch for batch in self.batches() if self._is_present(batch, first, vector, verdict)
        ]
        expected = expected_of(present)
        verdict.problems += problems_of(expected, first)
        verdict.counters = len(expected.counters)
        verdict.values = len(first)
        verdict.deleted = len(expected.deleted)
        return verdict

    def _is_present(
        self,
        batch: Batch,
        states: Mapping[str, KeyState],
        vector: Mapping[int, int],
        verdict: Verdict,
    ) -> bool:
        """Whether it came through; counts it, and complains if it had to and did not."""
        present = batch.marker in states
        if batch.fate is Fate.UNKNOWN:
            verdict.unknown_done += present
            verdict.unknown_not_done += not present
            return present
        verdict.acknowledged += 1
        verdict.operations += len(batch.operations)
        origin, seq = batch.last_dot
        covered = seq <= vector.get(origin, 0)
        if present != covered:
            there = "is" if present else "is not"
            verdict.problems.append(
                f"{batch.marker}, write {origin:016x}:{seq} acknowledged by {batch.node}, {there} "
                f"there, but the nodes have that origin up to {vector.get(origin, 0)}"
            )
        elif not present and origin not in self.destroyed:
            verdict.problems.append(
                f"{batch.marker}, write {origin:016x}:{seq} acknowledged by {batch.node}, is lost"
            )
        elif not present:
            verdict.lost += len(batch.operations)
        return present


def expected_of(present: Sequence[Batch]) -> Expected:
    """What these batches, each whole, come to. A writer's later batches saw its earlier ones."""
    expected = Expected()
    for batch in present:
        for operation in batch.operations:
            key = str(operation.key)
            match operation:
                case Increment():
                    expected.counters[key] += operation.amount
                    if operation.type is DataType.G_COUNTER:
                        expected.g_counters.add(key)
                case Put(lww=True):
                    expected.registers[key].add(_bytes(operation.value))
                case Put():
                    expected.siblings[key].add(_bytes(operation.value))
                case Delete():
                    expected.deleted.add(key)
    for batch in present:
        for operation in batch.operations:
            if isinstance(operation, Put) and operation.context is not None:
                expected.siblings[str(operation.key)].difference_update(batch.replaced)
    for key in expected.deleted:
        expected.counters.pop(key, None)
        expected.registers.pop(key, None)
        expected.siblings.pop(key, None)
    return expected


def problems_of(expected: Expected, states: Mapping[str, KeyState]) -> Iterator[str]:
    """Where a node shows something else, a line per key."""
    for key, sum_ in expected.counters.items():
        state = states.get(key)
        found = None
        if state is not None:
            found = state.g_counter if key in expected.g_counters else state.pn_counter
        # A PN-counter at 0 is shown as well; one that was never counted is not there at all.
        if found != sum_:
            yield f"counter {key}: expected exactly {sum_}, found {found}"
    for key, values in expected.registers.items():
        register = states[key].register if key in states else None
        if register is None or register.value not in values:
            yield f"register {key}: expected one of {_some(values)}, found {register}"
    for key, values in expected.siblings.items():
        found_values = {each.value for each in states[key].siblings} if key in states else set()
        if found_values != values:
            yield (
                f"siblings {key}: missing {_some(values - found_values)}, "
                f"too many {_some(found_values - values)}"
            )
    known = expected.counters.keys() | expected.registers.keys() | expected.siblings.keys()
    for key in states.keys() - known:
        what = "was deleted and is back" if key in expected.deleted else "was never written"
        yield f"{key} {what}: {states[key].values}"


def _disagreements(
    first_name: str, first: Mapping[str, KeyState], name: str, states: Mapping[str, KeyState]
) -> Iterator[str]:
    for key in sorted(first.keys() | states.keys()):
        if first.get(key) != states.get(key):
            yield f"{key} at {first_name} is not {key} at {name}"


def _some(values: Collection[bytes]) -> str:
    shown = ", ".join(repr(value) for value in sorted(values)[:SHOWN_MAX])
    return shown + (", ..." if len(values) > SHOWN_MAX else "") if values else "none"


def _bytes(value: bytes | str) -> bytes:
    return value if isinstance(value, bytes) else value.encode()
