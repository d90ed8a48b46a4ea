"""Fields of stored records: each of the type and range it must have, else ValueError.

A record with the right checksum may still be of another version, or come from a faulty peer with
its snapshot. What is taken here is used and compared without another look.
"""

from __future__ import annotations

from typing import Any

import msgpack

from kvnode.core.dots import Dot, Vector

NUMBER_MAX = 2**64 - 1


def unpacked(packed: bytes, *sizes: int) -> list[Any]:
    """The list of fields in these bytes, so many of them."""
    fields = msgpack.unpackb(packed)  # raises ValueError, in many forms
    if type(fields) is not list or len(fields) not in sizes:
        raise ValueError(f"{' or '.join(map(str, sizes))} fields are expected")
    return fields


def number(value: Any) -> int:
    """A whole number of 0 to 64 bits."""
    if type(value) is not int or not 0 <= value <= NUMBER_MAX:
        raise ValueError(f"a number is expected, not {value!r:.40}")
    return value


def text(value: Any) -> str:
    """A text."""
    if type(value) is not str:
        raise ValueError(f"a text is expected, not {value!r:.40}")
    return value


def octets(value: Any, size: int | None = None) -> bytes:
    """Bytes, ``size`` of them if that is given."""
    if type(value) is not bytes or (size is not None and len(value) != size):
        raise ValueError(f"bytes are expected, not {value!r:.40}")
    return value


def flag(value: Any) -> bool:
    """True or False."""
    if type(value) is not bool:
        raise ValueError(f"true or false is expected, not {value!r:.40}")
    return value


def items(value: Any) -> list[Any]:
    """A list."""
    if type(value) is not list:
        raise ValueError(f"a list is expected, not {value!r:.40}")
    return value


def pairs(value: Any) -> list[tuple[Any, Any]]:
    """A list of pairs."""
    found = []
    for pair in items(value):
        if type(pair) is not list or len(pair) != 2:
            raise ValueError(f"a pair is expected, not {pair!r:.40}")
        found.append((pair[0], pair[1]))
    return found


def vector(value: Any) -> Vector:
    """A version vector: pairs of numbers."""
    return {number(origin): number(seq) for origin, seq in pairs(value)}


def dot(value: Any) -> Dot:
    """One pair of numbers."""
    ((origin, seq),) = pairs([value])
    return number(origin), number(seq)
