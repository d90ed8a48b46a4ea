"""What clients ask for, as plain tuples: one is made per operation of a batch."""

from __future__ import annotations

from typing import NamedTuple

from kvnode.core.context import Context
from kvnode.core.types import SIBLINGS


class Put(NamedTuple):
    """Store a value. Without context: in place of what the accepting node holds now.

    ``deadline``: when it expires (Unix ms), 0: never. An operation is logged with it, so it is the
    same time on every replica, whenever it gets there.
    """

    key: bytes
    value: bytes
    type: int = SIBLINGS
    context: Context | None = None
    blind: bool = False
    deadline: int = 0


class Increment(NamedTuple):
    """Add to a counter. Type 0: the counter that is there, else a new PN-Counter."""

    key: bytes
    amount: int
    type: int = 0


class Delete(NamedTuple):
    """Remove what the context shows; without one, what the accepting node holds now."""

    key: bytes
    type: int = 0
    context: Context | None = None


Operation = Put | Increment | Delete
