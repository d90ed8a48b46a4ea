"""What clients ask for, as plain tuples: one is made per operation of a batch.

Most batches are of operations that are *alike*: puts that differ in key and value, increments that
differ in key and amount. Those are kept in columns. They are sequences of operations like any
other, of which one is made when somebody asks for it; who handles every batch there is (the limits,
the block writer) takes the columns instead and spares an object for each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from kvnode.core.context import Context
from kvnode.core.types import SIBLINGS
from kvnode.core.types.lww import Stamp


class Put(NamedTuple):
    """Store a value. Without context: in place of what the accepting node holds now.

    ``deadline``: when it expires (Unix ms), 0: never. An operation is logged with it, so it is the
    same time on every replica, whenever it gets there.

    ``unless_after``: of a register; changes nothing if another request has written it later.
    """

    key: bytes
    value: bytes
    type: int = SIBLINGS
    context: Context | None = None
    blind: bool = False
    deadline: int = 0
    unless_after: Stamp | None = None


class Increment(NamedTuple):
    """Add to a counter. Type 0: the counter that is there, else a new PN-Counter."""

    key: bytes
    amount: int
    type: int = 0


class Delete(NamedTuple):
    """Remove what the context shows; without one, what the accepting node holds now.

    ``unless_after``: as of a put.
    """

    key: bytes
    type: int = 0
    context: Context | None = None
    unless_after: Stamp | None = None


Operation = Put | Increment | Delete


class Puts(Sequence[Put]):
    """Puts that are alike: without context, of one type, with one deadline."""

    __slots__ = ("deadline", "keys", "type", "values")

    def __init__(
        self, keys: list[bytes], values: list[bytes], type_: int = SIBLINGS, deadline: int = 0
    ) -> None:
        self.keys = keys
        self.values = values
        self.type = type_
        self.deadline = deadline

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[Put]:
        for key, value in zip(self.keys, self.values, strict=True):
            yield Put(key, value, self.type, deadline=self.deadline)

    def __getitem__(self, index: Any) -> Any:
        return list(self)[index]


class Increments(Sequence[Increment]):
    """Increments of one type."""

    __slots__ = ("amounts", "keys", "type")

    def __init__(self, keys: list[bytes], amounts: list[int], type_: int = 0) -> None:
        self.keys = keys
        self.amounts = amounts
        self.type = type_

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[Increment]:
        for key, amount in zip(self.keys, self.amounts, strict=True):
            yield Increment(key, amount, self.type)

    def __getitem__(self, index: Any) -> Any:
        return list(self)[index]


def keys_of(operations: Sequence[Operation]) -> list[bytes]:
    """Their keys, in order."""
    if type(operations) is Puts or type(operations) is Increments:
        return operations.keys
    return [operation.key for operation in operations]


def latest_seen(operations: Sequence[Operation]) -> int:
    """The latest register stamp in the operations' contexts: their dots must come after it."""
    if type(operations) is Puts or type(operations) is Increments:
        return 0  # they have none
    latest = 0
    for operation in operations:
        if not isinstance(operation, Increment) and operation.context is not None:
            register = operation.context.register
            if register is not None and register[0] > latest:
                latest = register[0]
    return latest
