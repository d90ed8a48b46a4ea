"""G-Counter: a sum that only grows; a deletion takes away what its deleter had seen.

Built on counter slots (``slots.py``), whose decrement half stays 0 here.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from kvnode.core.dots import Dot
from kvnode.core.errors import BlockError, Reason, Refused, quoted
from kvnode.core.types import slots
from kvnode.core.types.slots import (
    EMPTY,
    Slots,
    Totals,
    collect,
    context,
    deadlines,
    decode,
    encode,
    garbage,
    live,
    merge,
    value,
    visible,
)

__all__ = [
    "EMPTY",
    "ID",
    "NAME",
    "collect",
    "context",
    "deadlines",
    "decode",
    "delta",
    "encode",
    "garbage",
    "increment",
    "live",
    "merge",
    "remove",
    "value",
    "visible",
]

ID = slots.GROWING
NAME = "G_COUNTER"


def increment(state: Slots, key: bytes, amount: int, origin: int, seq: int) -> list[Any]:
    """The logged operation that adds ``amount``."""
    if amount < 0:
        raise Refused(
            Reason.BAD_AMOUNT,
            f"{quoted(key)} is a G-Counter, which only grows: {amount} is not possible",
        )
    return slots.increment(ID, state, key, amount, origin, seq)


def remove(
    state: Slots, key: bytes, seen: Totals | None, received: Container[Dot] = ()
) -> list[Any] | None:
    """The logged operation that deletes what was ``seen``, or None if that is nothing."""
    return slots.remove(ID, state, key, seen, received)


def delta(op: list[Any], origin: int, seq: int, hlc: int) -> Slots:
    """The small state of a logged operation."""
    small = slots.delta(op, origin, seq, hlc)
    if op[4] if len(op) == 5 else any(op[2][3::4]):
        raise BlockError("a G-Counter operation that takes away")
    return small
