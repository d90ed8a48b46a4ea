"""Changes to valid inputs, from one seed.

Problem: nearly all formats end in a checksum, so changed bytes are refused at the door and what is
behind it is never tried.

Idea: three kinds of change. *Bytes* are flipped, cut, inserted, repeated and spliced as they are.
*Sealed bytes* are changed inside the checksum, which is made anew: what a faulty or hostile peer
could send. *Trees*: the msgpack values inside are decoded, one of them is exchanged for something
of another type or size, left out, repeated or nested, and all is encoded and sealed again; that
gets past the parser too.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack

DEEP = 5_000
INPUT_BYTES_MAX = 64 << 10
"""Larger ones find nothing more, slowly."""
INTEGERS = (-(2**63), -1, 0, 1, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 2, 2**64 - 1)
ODD: tuple[Any, ...] = (
    None, True, False, 0.5, -0.0, float("nan"), float("inf"), b"", b"\xff", bytes(16), bytes(481),
    "", "text", "\ud7ff", "x" * 400, [], {}, [[]], [1], [1, 2], {1: 2}, {"a": []}, [b"k", b"v"],
    msgpack.ExtType(5, b"x"), msgpack.Timestamp(1, 2),
)  # fmt: skip
BOMBS = (
    b"\x91" * DEEP,
    b"\x81\x00" * DEEP,
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\xdb\xff\xff\xff\xff",
    b"\xc9\xff\xff\xff\xff\x01",
    b"\xc1",
)
"""Nested beyond any stack; lists, maps, bytes, texts and extensions that are not there."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """What is around a format's msgpack: its place, and how to make the whole anew."""

    inside: Callable[[bytes], bytes]
    seal: Callable[[bytes, bytes], bytes]
    """(new inside, the whole before) -> new whole."""


class Mutator:
    """An endless supply of inputs for one decoder."""

    def __init__(self, seed: str, corpus: Sequence[bytes], envelope: Envelope | None) -> None:
        self._random = random.Random(seed)
        self._corpus = corpus
        self._envelope = envelope

    def next(self) -> bytes:
        """The next input."""
        while len(raw := self._next()) > INPUT_BYTES_MAX:
            pass
        return raw

    def _next(self) -> bytes:
        chance = self._random
        raw = chance.choice(self._corpus)
        if chance.random() < 0.01:
            return chance.randbytes(chance.randrange(200))
        if self._envelope is None or chance.random() < 0.2:
            return self._bytes(raw)
        inside = self._envelope.inside(raw)
        if chance.random() < 0.4:
            return self._envelope.seal(self._bytes(inside), raw)
        try:
            tree = msgpack.unpackb(inside, strict_map_key=False)
            for _ in range(chance.choice((1, 1, 1, 2, 4))):
                tree = self._tree(tree)
            packed: bytes = msgpack.packb(tree)
        except (ValueError, TypeError, OverflowError):  # a list as a map's key, and the like
            packed = self._bytes(inside)
        return self._envelope.seal(packed, raw)

    def _bytes(self, whole: bytes) -> bytes:
        chance, raw = self._random, bytearray(whole)
        for _ in range(chance.choice((1, 1, 2, 4, 8))):
            at = chance.randrange(len(raw) + 1)
            match chance.randrange(8):
                case 0 if at < len(raw):
                    raw[at] ^= 1 << chance.randrange(8)
                case 1 if at < len(raw):
                    raw[at] = chance.choice((0, 1, 0x7F, 0x80, 0xC0, 0xFF, chance.randrange(256)))
                case 2:
                    del raw[at:]
                case 3:
                    del raw[at : at + chance.randrange(1, 9)]
                case 4:
                    raw[at:at] = chance.randbytes(chance.randrange(1, 9))
                case 5:
                    raw[at:at] = raw[at : at + chance.randrange(1, 40)] * chance.choice((1, 2, 50))
                case 6:
                    other = chance.choice(self._corpus)
                    cut = chance.randrange(len(other) + 1)
                    raw[at:] = other[cut:]
                case _ if chance.random() < 0.3:
                    raw[at:at] = chance.choice(BOMBS)
        return bytes(raw)

    def _tree(self, tree: Any) -> Any:
        """With one value somewhere in it changed."""
        chance = self._random
        if type(tree) is list and tree and chance.random() < 0.85:
            out = list(tree)
            at = chance.randrange(len(out))
            match chance.randrange(10):
                case 0:
                    del out[at]
                case 1:
                    out.insert(at, out[chance.randrange(len(out))])
                case 2:
                    other = chance.randrange(len(out))
                    out[at], out[other] = out[other], out[at]
                case 3:
                    out += out[at:] * chance.choice((1, 100))
                case _:
                    out[at] = self._tree(out[at])
            return out
        return self._other(tree)

    def _other(self, value: Any) -> Any:
        chance = self._random
        if type(value) is int and chance.random() < 0.6:
            near = value + chance.choice((-1, 1, 2**16, -(2**16)))
            return chance.choice((near if 0 <= near < 2**64 else 0, *INTEGERS))
        if type(value) is bytes and chance.random() < 0.4:
            return self._bytes(value)
        if chance.random() < 0.1:
            for _ in range(chance.choice((1, 3, 300))):
                value = [value]
            return value
        return chance.choice((*ODD, *INTEGERS))
