"""PN-Counter: a sum that grows and shrinks; a deletion takes away what its deleter had seen.

Built on counter slots (``slots.py``), whose decrement half it uses.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from kvnode.core.dots import Dot
from kvnode.core.types import slots
from kvnode.core.types.slots import (
    EMPTY,
    Slots,
    Totals,
    collect,
    context,
    deadlines,
    decode,
    delta,
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

ID = 2
NAME = "PN_COUNTER"


def increment(state: Slots, key: bytes, amount: int, origin: int, seq: int) -> list[Any]:
    """The logged operation that adds ``amount``."""
    return slots.increment(ID, state, key, amount, origin, seq)


def remove(
    state: Slots, key: bytes, seen: Totals | None, received: Container[Dot] = ()
) -> list[Any] | None:
    """The logged operation that deletes what was ``seen``, or None if that is nothing."""
    return slots.remove(ID, state, key, seen, received)
