"""Causal contexts: what one reader saw of one key, as an opaque token.

A context names exactly what was shown: the dots of the siblings, the stamp of the register, the
totals of the counter slots. Not the replica's version vector: that would name writes the reader
has not been shown, and a put with it would remove them unseen.

Token: ``version byte | msgpack [[type, seen], ...] | 8-byte keyed BLAKE2b over key and payload``;
what shows nothing (a deleted register, values that have expired) has a row of its own, ``[type,
seen, 0]``. The key of the hash is the cluster's secret, so a token of another key or cluster, a
truncated or an invented one is refused, and every node of the cluster accepts every other node's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from hmac import compare_digest
from typing import Any

import msgpack

from kvnode.core.dots import Dot
from kvnode.core.entry import Entry, visible_types
from kvnode.core.errors import Reason, Refused, quoted
from kvnode.core.types import COUNTERS, LWW_REGISTER, SIBLINGS, TYPES
from kvnode.core.types.lww import Stamp
from kvnode.core.types.slots import Totals

VERSION = b"\x01"
MAC_BYTES = 8
KEPT = 16
"""Origins and secrets that tokens are made with: one of each in a node."""
_SIBLINGS_ROW = VERSION + bytes((0x91, 0x92, SIBLINGS, 0x92))
_REGISTER_ROW = VERSION + bytes((0x91, 0x92, LWW_REGISTER, 0x93))
"""Version, one row, and how many numbers follow."""
_PACKER = msgpack.Packer()
"""To make one takes longer than to pack a number."""
HIDDEN = 0
"""Third element of a row whose type showed nothing."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a reader saw of a key, shown or seen gone; ``types`` are those that showed a value."""

    siblings: frozenset[Dot] = frozenset()
    register: Stamp | None = None
    counters: dict[int, Totals] = field(default_factory=dict)
    types: tuple[int, ...] = ()


def entry_token(key: bytes, entry: Entry, secret: bytes, now: int) -> bytes:
    """The token of everything visible in ``entry`` at ``now``, and of what is gone but held.

    A deletion or an expiry is there because who has seen the key absent has seen it: a register
    written with this token must come after it, also at a node that has not received it; a sibling
    must replace the expired one also at a node whose clock still shows it.
    """
    return shown_token(key, entry, visible_types(entry, now), secret)


def shown_token(key: bytes, entry: Entry, shown: Collection[int], secret: bytes) -> bytes:
    """The same, where it is known already which types show a value."""
    seen: list[list[Any]] = [[kind, TYPES[kind].context(entry[kind])] for kind in shown]
    for kind in (LWW_REGISTER, SIBLINGS):
        if kind in entry and kind not in shown:
            hidden = TYPES[kind].context(entry[kind])
            if hidden:
                seen.append([kind, hidden, HIDDEN])
    return _seal(key, seen, secret)


def cell_token(key: bytes, kind: int, seen: list[int], secret: bytes) -> bytes:
    """The token of one type's ``seen`` (as its ``context`` gives it)."""
    return _seal(key, [[kind, seen]], secret)


def stamp_token(key: bytes, hlc: int, origin: int, seq: int, secret: bytes) -> bytes:
    """``cell_token`` of a register, spelled out: for every read of one."""
    pack = _PACKER.pack
    payload: bytes = _REGISTER_ROW + pack(hlc) + pack(origin) + pack(seq)
    return payload + _mac(key, payload, secret)


def dot_token(key: bytes, dot: Dot, secret: bytes) -> bytes:
    """``cell_token`` of one sibling, spelled out: every put of siblings is answered with one."""
    origin, seq = dot
    payload: bytes = _one_dot(origin) + (
        b"\xce" + seq.to_bytes(4, "big") if 0xFFFF < seq <= 0xFFFFFFFF else _PACKER.pack(seq)
    )
    return payload + _mac(key, payload, secret)


def put_tokens(
    keys: Sequence[bytes], kind: int, dot: Dot, hlc: int, secret: bytes
) -> Iterator[bytes]:
    """``cell_token`` of what puts of these keys left, at one dot and tick after the other.

    Spelled out as well: a batch is answered with one for each of its operations.
    """
    origin, seq = dot
    begin, pack = _keyed(secret).copy, _PACKER.pack
    packed_origin = pack(origin)
    for key in keys:
        if kind == SIBLINGS:
            payload = _SIBLINGS_ROW + packed_origin + pack(seq)
        else:
            payload = _REGISTER_ROW + pack(hlc) + packed_origin + pack(seq)
        mac = begin()
        mac.update(len(key).to_bytes(4, "big") + key + payload)
        yield payload + mac.digest()
        seq += 1
        hlc += 1


@lru_cache(KEPT)
def _one_dot(origin: int) -> bytes:
    """Version, one row of siblings, two numbers of which the first is there: all but the seq."""
    packed: bytes = msgpack.packb(origin)
    return _SIBLINGS_ROW + packed


def decode_token(key: bytes, token: bytes, secret: bytes, bytes_max: int) -> Context:
    """What the token says was seen of ``key``, in whatever order: it is used once and dropped.

    Raises:
        Refused: BAD_CONTEXT if it was not made by this cluster for this key.
    """
    payload, mac = token[:-MAC_BYTES], token[-MAC_BYTES:]
    if (
        len(token) > bytes_max
        or payload[:1] != VERSION
        or not compare_digest(mac, _mac(key, payload, secret))
    ):
        raise Refused(
            Reason.BAD_CONTEXT,
            f"the context was not made by this cluster for the key {quoted(key)}, or the nodes' "
            '"secret" settings differ: pass the one that get returned for this key, unchanged',
        )
    try:
        return _unpack(msgpack.unpackb(payload[1:]))
    except (ValueError, TypeError, LookupError) as error:  # sealed by somebody with the secret
        raise Refused(Reason.BAD_CONTEXT, f"the context is of unknown form: {error}") from error


def _unpack(rows: list[Any]) -> Context:
    siblings: frozenset[Dot] = frozenset()
    register: Stamp | None = None
    counters: dict[int, Totals] = {}
    types = []
    for kind, seen, *hidden in rows:
        if type(kind) is not int or not all(type(n) is int and n >= 0 for n in seen):
            raise ValueError("numbers expected")
        if not hidden:
            types.append(kind)
        numbers = iter(seen)
        if kind == SIBLINGS:
            siblings = frozenset(zip(numbers, numbers, strict=True))
        elif kind == LWW_REGISTER:
            hlc, origin, seq = seen
            register = (hlc, origin, seq)
        elif kind in COUNTERS:
            counters[kind] = {
                (o, b): (inc, dec)
                for o, b, inc, dec in zip(numbers, numbers, numbers, numbers, strict=True)
            }
        else:
            raise ValueError(f"unknown type {kind!r}")
    return Context(siblings, register, counters, tuple(types))


def _seal(key: bytes, seen: list[list[Any]], secret: bytes) -> bytes:
    payload: bytes = VERSION + _PACKER.pack(seen)
    return payload + _mac(key, payload, secret)


def _mac(key: bytes, payload: bytes, secret: bytes) -> bytes:
    mac = _keyed(secret).copy()
    mac.update(len(key).to_bytes(4, "big") + key + payload)
    return mac.digest()


@lru_cache(KEPT)
def _keyed(secret: bytes) -> blake2b:
    """To be copied, which takes less than taking up the key again."""
    return blake2b(digest_size=MAC_BYTES, key=secret, person=b"kvnode.context")
