"""A chunk of a bulk writer: operations that leave together, as one atomic batch.

While it is gathered it keeps its operations in columns, as ``put_many`` would get them: to make an
object and a request for each took three quarters of a load's time. That lasts as long as they are
alike (puts that differ in key and value only, increments of one type); with the first that is not
it becomes a list of operations.

A batch is carried out whole or refused whole, also where only one of its operations is wrong. Then
nothing was done, and it is taken apart: it leaves once more, each operation as a request of its
own, and only those that are refused by themselves have failed.

With the level "buffered" nobody would be told of that: what is acknowledged from the node's queue
and refused when its turn comes is lost. As one batch all of it would be, for the sake of one wrong
operation. So there a chunk leaves apart at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from kvnode.client.columns import Made, in_general, increments_request, puts_request
from kvnode.client.lanes import Entry, Flight
from kvnode.client.levels import Durability
from kvnode.client.operations import Increment, Operation, Put, key_bytes, single_request
from kvnode.client.values import DataType
from kvnode.errors import NodeUnavailable, RequestRefused

if TYPE_CHECKING:
    from kvnode.client.calls import Calls

Kind: TypeAlias = tuple[bool, float | None] | tuple[DataType | None]
"""What alike operations have in common: of puts ``lww`` and ``ttl``, of increments the type. A
plain tuple: one is made for every operation."""


class Chunk:
    """Operations in order; ``first`` is the number of the first, ``since`` when it was taken.

    ``size``: bytes. ``apart``: it is no batch, or no more. ``flight``: once it has left, its entry,
    or one for each operation if it left apart.
    """

    __slots__ = ("_given", "_keys", "_values", "apart", "first", "flight", "kind", "since", "size")

    def __init__(self, first: int, since: float, kind: Kind | None) -> None:
        self.first = first
        self.since = since
        self.kind = kind
        self.size = 0
        self.apart = False
        self.flight = Flight([])
        self._keys: set[bytes] = set()
        self._given: list[Any] = []
        """Keys as the caller gave them; without a kind operations."""
        self._values: list[Any] = []
        """Of puts the values, of increments the amounts."""

    def __len__(self) -> int:
        """Operations."""
        return len(self._given)

    def add(self, kind: Kind | None, key: bytes, given: Any, value: Any, size: int) -> None:
        """One more: a key and a value of a kind, or without one an operation."""
        if kind != self.kind:
            if self.kind is not None:
                self._given = self.operations
                self.kind = None
            if kind is not None:
                given = operation_of(kind, given, value)
        self._keys.add(key)
        self._given.append(given)
        self._values.append(value)
        self.size += size

    @property
    def operations(self) -> list[Operation]:
        """As they were asked for."""
        kind = self.kind
        if kind is None:
            return self._given
        pairs = zip(self._given, self._values, strict=True)
        return [operation_of(kind, given, value) for given, value in pairs]

    @property
    def adds(self) -> int | None:
        """As in ``Entry``."""
        return None if self.kind is None or len(self.kind) == 2 else self.kind[0] or 0

    def meets(self, other: Chunk) -> bool:
        """Whether the order of the two matters: they have a key in common, and are not alike
        increments.
        """
        if self.adds is not None and self.adds == other.adds:
            return False
        return not self._keys.isdisjoint(other._keys)

    # ---- on its way

    def leave(self, calls: Calls, durability: Durability, deadline: float) -> None:
        """As one batch, or apart if that was refused, or could be without a word."""
        if durability == "buffered":
            self.apart = True
        if self.apart:
            self.flight = Flight(self._parts(calls, durability, deadline))
            return
        request, keys = self._request(calls.new_request_id())
        entry = calls.entry(request, keys, durability, deadline)
        entry.adds = self.adds
        self.flight = Flight([entry])

    def is_refused_by(self, error: object) -> bool:
        """Whether that is said of the batch because of some of its operations, for all one can
        know: certainly nothing was done, and there is a node that could do the others.
        """
        refused = isinstance(error, RequestRefused) and not isinstance(error, NodeUnavailable)
        return refused and len(self) > 1 and not self.apart

    def _parts(self, calls: Calls, durability: Durability, deadline: float) -> list[Entry]:
        """A request of its own for each operation, in order."""
        entries = []
        for operation in self.operations:
            request = single_request(operation, calls.new_request_id())
            entry = calls.entry(request, (key_bytes(operation.key),), durability, deadline)
            entry.verb = "a write"
            if isinstance(operation, Increment):
                entry.adds = operation.type or 0
            entries.append(entry)
        return entries

    @property
    def errors(self) -> list[BaseException | None]:
        """What became of each operation."""
        errors: list[BaseException | None] = [entry.error for entry in self.flight.entries]
        return errors if len(errors) == len(self) else errors * len(self)

    def _request(self, request_id: bytes) -> Made:
        kind = self.kind
        if kind is None:
            return in_general(self._given, request_id)
        if len(kind) == 2:
            lww, ttl = kind
            return puts_request(self._given, self._values, lww=lww, ttl=ttl, request_id=request_id)
        return increments_request(self._given, self._values, type=kind[0], request_id=request_id)


def operation_of(kind: Kind, key: bytes | str, value: Any) -> Operation:
    """One of the alike."""
    if len(kind) == 2:
        lww, ttl = kind
        return Put(key, value, lww, ttl=ttl)
    return Increment(key, value, kind[0])
