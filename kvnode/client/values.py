"""What a node answers, as plain immutable values.

A key's state can hold several values at once: concurrent siblings, or values of several types
that regions created while out of touch. Nothing here picks a winner: a read gives a ``Value`` or a
``Conflict``, and only the first has ``.value``, so a type checker makes the caller look.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from kvnode.core.errors import Reason
from kvnode.errors import DeadlineExceeded, KeyNotFound, KvnodeError, NodeFailure
from kvnode.v1 import types_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kvnode.v1 import kv_pb2

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
SHOWN_BYTES_MAX: Final = 40
"""Bytes of a key or value that an error message quotes; longer ones are cut."""

REPR_BYTES_MAX: Final = 200
"""Bytes of a value that a ``repr`` shows."""


class DataType(IntEnum):
    """The types of kvnode; the numbers are those of the wire (``kvnode.v1.DataType``)."""

    G_COUNTER = 1
    PN_COUNTER = 2
    LWW_REGISTER = 3
    SIBLINGS = 4


class Dot(NamedTuple):
    """The identity of one write: the writing node's origin id and its sequence number there.

    A tuple, as is ``OperationReceipt``: a batch makes one of each for every operation, and as
    frozen dataclasses they took 2.4 us of a batch's time for an operation instead of 1.9.
    """

    origin: int
    seq: int

    def __str__(self) -> str:
        """``ORIGIN:SEQ``, the origin as 16 hexadecimal digits."""
        return f"{self.origin:016x}:{self.seq}"

    def __repr__(self) -> str:
        """As in messages, tables and logs."""
        return f"Dot('{self}')"


@dataclass(frozen=True, slots=True)
class StoredValue:
    """A value and who wrote it."""

    value: bytes
    dot: Dot
    time_ms: int
    """By the writer's hybrid logical clock, Unix ms."""
    node: str
    """Name of the node that took the write; empty if the answering node never met it."""
    expires_ms: int | None = None
    """When the value expires, Unix ms; None: never."""

    @property
    def expires_at(self) -> datetime | None:
        """The same as a time in UTC; None: never, or beyond the calendar."""
        if self.expires_ms is None:
            return None
        try:
            return EPOCH + timedelta(milliseconds=self.expires_ms)
        except OverflowError:
            return None


@dataclass(frozen=True, slots=True)
class Freshness:
    """How much the answering node knew of what one member has taken."""

    node: str
    age_ms: int | None
    """All that the member had so long ago was in the answer; None: not heard of since the start."""


@dataclass(frozen=True, slots=True, repr=False)
class KeyState:
    """All visible values of one key, and the causal context of exactly these."""

    key: bytes
    context: bytes
    """Opaque. Pass it to ``put`` or ``delete`` to replace exactly what this state shows."""
    g_counter: int | None = None
    pn_counter: int | None = None
    register: StoredValue | None = None
    siblings: tuple[StoredValue, ...] = ()
    freshness: tuple[Freshness, ...] = field(default=(), compare=False)
    """How old this may be: per member, what the answering node knew of it."""

    def __repr__(self) -> str:
        """Its key and its values: ``Value('visits', 3)``, ``Conflict('cart', b'tea', b'cake')``."""
        values = (self.value,) if isinstance(self, Value) else self.values
        return f"{type(self).__name__}({', '.join([shown(self.key), *map(value_shown, values)])})"

    @property
    def types(self) -> tuple[DataType, ...]:
        """The types that have a visible value; more than one is a type conflict."""
        shown = (
            (DataType.G_COUNTER, self.g_counter is not None),
            (DataType.PN_COUNTER, self.pn_counter is not None),
            (DataType.LWW_REGISTER, self.register is not None),
            (DataType.SIBLINGS, bool(self.siblings)),
        )
        return tuple(kind for kind, visible in shown if visible)

    @property
    def visible(self) -> bool:
        """Whether the key has any value."""
        return bool(self.types)

    @property
    def in_conflict(self) -> bool:
        """Whether there is more than one value to choose from."""
        return len(self.siblings) > 1 or len(self.types) > 1

    @property
    def values(self) -> tuple[int | bytes, ...]:
        """Every visible value: counters as ``int``, the others as ``bytes``."""
        counters = tuple(sum_ for sum_ in (self.g_counter, self.pn_counter) if sum_ is not None)
        stored = (*((self.register,) if self.register else ()), *self.siblings)
        return (*counters, *(item.value for item in stored))

    def one(self) -> Value:
        """This, if it is a value; else ConflictError with all of them, or KeyNotFound."""
        if isinstance(self, Value):
            return self
        if self.in_conflict:
            raise ConflictError(self)
        raise absence(self)


@dataclass(frozen=True, slots=True, repr=False)
class Value(KeyState):
    """A key with one value, or with several that the caller's resolver made one."""

    value: int | bytes = b""

    __match_args__ = ("key", "value")

    @property
    def text(self) -> str:
        """The value, decoded as UTF-8. ValueTypeError for a counter and for other bytes."""
        value = self.value
        if isinstance(value, int):
            raise ValueTypeError(f"key {shown(self.key)} is a counter, not text; use .counter")
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise ValueTypeError(
                f"the value of key {shown(self.key)} is not UTF-8 ({error.reason} at byte"
                f" {error.start}); use .value"
            ) from error

    @property
    def counter(self) -> int:
        """The value, a counter's sum. ValueTypeError for bytes."""
        value = self.value
        if not isinstance(value, int):
            raise ValueTypeError(
                f"key {shown(self.key)} holds bytes, not a counter; use .value or .text"
            )
        return value

    @property
    def expires_at(self) -> datetime | None:
        """When it expires, in UTC; None: never, or it is made of several and stored nowhere."""
        if self.in_conflict:
            return None
        stored = self.register or next(iter(self.siblings), None)
        return stored.expires_at if stored else None


@dataclass(frozen=True, slots=True, repr=False)
class Conflict(KeyState):
    """A key with several values: concurrent siblings, or values of several types."""

    __match_args__ = ("key", "siblings")

    if not TYPE_CHECKING:  # a type checker says sooner that there is no one value

        @property
        def value(self) -> bytes:
            """There is not one."""
            raise ConflictError(self)

        text = counter = value


@dataclass(frozen=True, slots=True, repr=False)
class Absent(KeyState):
    """A key without a value; its context stands for that."""

    __match_args__ = ("key",)

    if not TYPE_CHECKING:

        @property
        def value(self) -> bytes:
            """There is none."""
            raise absence(self)

        text = counter = value


def absence(state: KeyState) -> KeyNotFound:
    """The exception for a key without a value."""
    return KeyNotFound(
        f"no key {shown(state.key)}",
        reason=Reason.KEY_NOT_FOUND,
        facts={"context": state.context.hex()},
    )


class ValueTypeError(KvnodeError, TypeError):
    """Text or a counter was asked for, and the one value is something else."""


class ConflictError(KvnodeError):
    """One value was asked for and the key has several; ``state`` has them all."""

    def __init__(self, state: KeyState, *, written: bool = False) -> None:
        """``written``: the value that was to be written is there, as one of them."""
        values = ", ".join(
            str(value) if isinstance(value, int) else shown(value) for value in state.values
        )
        wrote = "; what was written is one of them" if written else ""
        super().__init__(f"key {shown(state.key)} is in conflict, its values are: {values}{wrote}")
        self.state = state
        self.written = written


@dataclass(frozen=True, slots=True)
class Receipt:
    """An accepted write."""

    dot: Dot
    context: bytes
    """After a put: the context of the value just written and of nothing else."""
    counter: int | None
    """After an increment: the sum at the answering node."""
    session: Mapping[int, int] = field(repr=False)
    """What that node had applied: origin -> sequence number. To compare with the ``vector`` of a
    ``status()``: a node that has at least these numbers has this write and all that its node had
    then."""
    repeated: bool
    """The node knew the request id: this is the first outcome, nothing was done again."""
    endpoint: str
    """The endpoint that took the write."""
    stored_by: tuple[str, ...] = ()
    """Members that had it on disk, the one that took it first; told for levels above "fsync"."""


class OperationReceipt(NamedTuple):
    """One operation of an accepted batch; the fields are those of ``Receipt``."""

    dot: Dot
    context: bytes
    counter: int | None


@dataclass(frozen=True, slots=True)
class BatchReceipt:
    """An accepted batch: all of it happened, in the order of ``receipts``."""

    receipts: tuple[OperationReceipt, ...]
    session: Mapping[int, int] = field(repr=False)
    repeated: bool
    endpoint: str
    stored_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ManyReceipt:
    """An accepted batch of alike operations: all of it happened, in order.

    Told is only what is the same for all of them. ``first``: the dot of the first operation.
    """

    first: Dot
    count: int
    """Operations."""
    session: Mapping[int, int] = field(repr=False)
    repeated: bool
    endpoint: str
    stored_by: tuple[str, ...] = ()

    @property
    def dots(self) -> tuple[Dot, ...]:
        """One per operation, made when asked for: those behind the first follow it."""
        origin, first = self.first
        if not origin:  # "buffered": none has its number yet
            return (self.first,) * self.count
        return tuple([Dot(origin, seq) for seq in range(first, first + self.count)])


@dataclass(frozen=True, slots=True)
class Outcome:
    """A write that a node knows to have happened."""

    dots: tuple[Dot, ...]
    """One per operation."""
    node: str
    """Name of the node that took it; empty if the answering node never met it."""
    endpoint: str
    """The endpoint that told."""


class NotReplicated(DeadlineExceeded):
    """The write is done and will spread, but in time fewer members had it than was asked for.

    It is not undone, and making it again would be a second write. ``receipt.stored_by`` names
    those that had it; the receipt has no context and no sum.
    """

    def __init__(self, message: str, facts: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.facts = facts or {}
        self.receipt: Receipt | BatchReceipt | ManyReceipt | None = None


def shown(raw: bytes) -> str:
    """``raw`` for an error message: quoted, on one line, without doubt about its bytes."""
    cut = raw[:SHOWN_BYTES_MAX]
    try:
        text = repr(cut.decode())
    except UnicodeDecodeError:
        text = repr(cut)
    return text if cut == raw else f"{text}... ({len(raw)} bytes)"


def value_shown(value: int | bytes) -> str:
    """A value for a ``repr``."""
    if isinstance(value, int) or len(value) <= REPR_BYTES_MAX:
        return repr(value)
    return f"{value[:REPR_BYTES_MAX]!r}... ({len(value)} bytes)"


# ---- from the wire


def dot_of(message: types_pb2.Dot) -> Dot:
    """The dot of a message."""
    return Dot(message.origin, message.seq)


def vector_of(message: types_pb2.VersionVector) -> dict[int, int]:
    """Origin -> last sequence number of its applied prefix."""
    return parsed_vector(message.SerializeToString()).copy()


@lru_cache(maxsize=4)
def parsed_vector(raw: bytes) -> dict[int, int]:
    """The vector of a message's bytes, not to be changed: all that a node did in one commit is
    answered with the same one.
    """
    entries = types_pb2.VersionVector.FromString(raw).entries
    return {entry.origin: entry.seq for entry in entries}


def counter_of(message: types_pb2.CounterValue) -> int:
    """The exact sum, also beyond 64 bits; NodeFailure if that is no number."""
    if not message.exact:
        return message.value
    try:
        return int(message.exact)
    except ValueError as error:
        raise NodeFailure(f"the node sent a sum that is no number: {error}") from error


def freshness_of(messages: Iterable[kv_pb2.Freshness]) -> tuple[Freshness, ...]:
    """Per member."""
    return tuple(Freshness(each.node, None if each.unknown else each.age_ms) for each in messages)


def operation_receipt_of(message: kv_pb2.WriteResult) -> OperationReceipt:
    """What became of one operation."""
    dot = message.dot
    counter = counter_of(message.counter) if message.HasField("counter") else None
    return OperationReceipt(Dot(dot.origin, dot.seq), message.context, counter)
