"""What clients ask for, as plain tuples: one is made per operation of a batch."""

from __future__ import annotations

from typing import NamedTuple

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
