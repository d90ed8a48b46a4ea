"""What a watch tells of blocks, and the token to go on from.

A watch is a place in a node's log: a version vector, *shown*. What it lacks of the node's log, in
the node's arrival order, which is a causal order, is what comes next; so the vector means the same
on every node, and nothing has to be kept for anybody.

**What is shown of a block** is which keys it wrote, and each key's state as it is at that moment.
The state of an earlier moment is not kept anywhere. So a state may show more than the writes it
comes with; those come too, later, and show the key again. Two things follow:

- Who has been told all that the node has was shown the node's state of that moment, key by key:
  whatever changed a key after it was shown has been told since. Before that the states are of
  different moments.
- Going on at another node, which has all of *shown* but not all that the states contained, could
  show a key older than it was shown before. The token therefore also says what the states may
  contain, *seen*, and a node that lacks any of it must not go on from it yet. Where both are the
  same, as they are for a reader that keeps up, it costs nothing.

**The keys that were there before** are shown in key order, while writes go on; the token holds
the key up to which that was done. *Shown* is the vector of the beginning: everything written
meanwhile comes afterwards, whether it was in a state already or not.

Several writes of one key between two tokens are one change, in the place of the last: of any two
changes the later one's last write was not known to the earlier one's. A token stands behind whole
blocks, so batches are never torn.

Token: ``version byte | msgpack [seen, shown where less, scanned] | 8-byte keyed BLAKE2b over
prefix and payload``, vectors flat and sorted. The hash's key is the cluster's secret, so that a
token of another cluster or prefix is refused: it would leave out changes without a word.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from hashlib import blake2b
from hmac import compare_digest
from typing import Any, NamedTuple

import msgpack

from kvnode.core.block import SEQ_MAX, Block
from kvnode.core.dots import Dot, Vector, covers
from kvnode.core.errors import Reason, Refused
from kvnode.core.types import COUNTERS

VERSION = b"\x01"
MAC_BYTES = 8
TOKEN_BYTES_MAX = 1 << 20
INCREMENT_FIELDS = 5
"""Of a counter's logged operation; a delete's has fewer."""


class WriteKind(IntEnum):
    """What a write did; the numbers are those of the wire."""

    PUT = 1
    INCREMENT = 2
    DELETE = 3


class Write(NamedTuple):
    """One operation that changed a key."""

    dot: Dot
    type: int
    kind: WriteKind


Writes = dict[bytes, list[Write]]
"""Key -> its writes. The keys are in the order of their last writes."""


@dataclass(slots=True)
class Cursor:
    """How far one watch has come. Vectors are replaced, never changed in place."""

    shown: Vector
    seen: Vector
    """At least ``shown``."""
    scanned: bytes | None = None
    """Keys up to this one were shown as they were; None: all, or they were not asked for."""

    def advance(self, blocks: Iterable[Block]) -> None:
        """What these blocks wrote is shown now."""
        shown = dict(self.shown)
        for block in blocks:
            shown[block.origin] = block.last_seq
        self.shown = shown
        self.saw(shown)

    def saw(self, vector: Vector) -> None:
        """States of a node with this vector are shown."""
        if not covers(self.seen, vector):
            origins = self.seen | vector
            self.seen = {o: max(self.seen.get(o, 0), vector.get(o, 0)) for o in origins}

    def current(self, vector: Vector) -> bool:
        """Whether all that a node with this vector has was shown."""
        return self.scanned is None and covers(self.shown, vector)


def gather(blocks: Iterable[Block], prefix: bytes) -> Writes:
    """The writes of the keys that begin with ``prefix``, of blocks that were applied."""
    found: Writes = {}
    for block in blocks:
        seq = block.first_seq
        for op in block.ops:
            if isinstance(op, list) and op[1].startswith(prefix):
                writes = found.pop(op[1], [])
                writes.append(Write((block.origin, seq), op[0], _kind(op)))
                found[op[1]] = writes
            seq += 1
    return found


def encode_cursor(cursor: Cursor, prefix: bytes, secret: bytes) -> bytes:
    """The token of a watch of ``prefix``."""
    behind = {
        origin: cursor.shown.get(origin, 0)
        for origin, seq in cursor.seen.items()
        if cursor.shown.get(origin, 0) < seq
    }
    payload: bytes = VERSION + msgpack.packb([_flat(cursor.seen), _flat(behind), cursor.scanned])
    return payload + _mac(payload, prefix, secret)


def decode_cursor(token: bytes, prefix: bytes, secret: bytes) -> Cursor:
    """The inverse of ``encode_cursor``; Refused (BAD_TOKEN)."""
    payload, mac = token[:-MAC_BYTES], token[-MAC_BYTES:]
    if (
        len(token) > TOKEN_BYTES_MAX
        or payload[:1] != VERSION
        or not compare_digest(mac, _mac(payload, prefix, secret))
    ):
        raise Refused(
            Reason.BAD_TOKEN,
            "the token was not made by this cluster for a watch of this prefix, or the nodes' "
            '"secret" settings differ: pass the one of the last change, unchanged, with the same '
            "prefix",
        )
    try:
        seen, behind, scanned = msgpack.unpackb(payload[1:])
        cursor = Cursor(_vector(seen) | _vector(behind), _vector(seen), scanned)
        if not (scanned is None or type(scanned) is bytes) or not covers(cursor.seen, cursor.shown):
            raise ValueError("vectors that do not fit")
    except (ValueError, TypeError, LookupError) as error:  # sealed by somebody with the secret
        raise Refused(Reason.BAD_TOKEN, f"the token is of unknown form: {error}") from error
    cursor.shown = {origin: seq for origin, seq in cursor.shown.items() if seq}
    return cursor


def _kind(op: list[Any]) -> WriteKind:
    if op[0] in COUNTERS:
        return WriteKind.INCREMENT if len(op) == INCREMENT_FIELDS else WriteKind.DELETE
    return WriteKind.DELETE if op[2] is None else WriteKind.PUT


def _flat(vector: Vector) -> list[int]:
    return [number for dot in sorted(vector.items()) for number in dot]


def _vector(flat: list[int]) -> Vector:
    if not all(type(number) is int and number >= 0 for number in flat):
        raise ValueError("numbers expected")
    numbers = iter(flat)
    vector = dict(zip(numbers, numbers, strict=True))
    if any(seq > SEQ_MAX for seq in vector.values()):
        raise ValueError("numbers out of range")
    return vector


def _mac(payload: bytes, prefix: bytes, secret: bytes) -> bytes:
    sized = len(prefix).to_bytes(4, "big") + prefix + payload
    return blake2b(sized, digest_size=MAC_BYTES, key=secret, person=b"kvnode.watch").digest()
