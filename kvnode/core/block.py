"""The block: what one commit of one origin wrote, encoded once and passed on byte for byte.

Version 1::

    0x01 | msgpack [origin, first_seq, count, hlc, wall_ms, deps, ops, requests]
         | chain, 16 bytes | crc32, 4 bytes

- ``ops[i]`` has dot ``(origin, first_seq + i)`` and tick ``hlc + i``. An operation is
  ``[type, key, ...]`` (see the type's module) or 0, which changed nothing but has a dot. An empty
  list stands for ``count`` times 0 (a *void* block: sequence numbers given up).
- ``deps`` = flat ``[origin, seq, ...]``, sorted: all its origin had applied of the others when it
  wrote the block. A replica applies a block only when it has those: no effect before its cause.
- ``requests`` = ``[[request id, first index, count], ...]``: retries are recognised wherever the
  block has arrived.
- ``chain`` = BLAKE2b over the chain of the origin's previous block, the chains at its deps in
  order, and the bytes before it. Two histories under one origin id can therefore not both fit,
  at any replica, not even when they differ only in what they had received.

- ``crc32``, big-endian, of all before it: bytes that were changed on the way or at rest. The chain
  value would not fit either, but that is how two histories show, and for those an origin is fenced
  for good. Blocks are passed on byte for byte, so it is checked from end to end.

Blocks are immutable and applied whole, so a batch inside one block is atomic everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NamedTuple
from zlib import crc32

import msgpack

from kvnode.core.dots import Dot, Vector
from kvnode.core.errors import BlockError
from kvnode.core.hlc import HLC_MAX
from kvnode.core.types import LWW_REGISTER, SIBLINGS, TYPES, State, siblings

VERSION = b"\x01"
CHAIN_BYTES = 16
CHECKSUM_BYTES = 4
GENESIS = bytes(CHAIN_BYTES)
"""The chain value before an origin's first block."""
SEQ_MAX = 2**63 - 1
ORIGIN_MAX = 2**64 - 1
HEAD_BYTES_MAX = 64
"""The version and the first five fields are within."""
FIELDS = [int, int, int, int, int, list, list, list]
SPAN = [bytes, int, int]
KEY_BYTES_MAX = 480
"""What every replica can store; a block with a longer key is malformed, whoever accepted it."""

Op = list[Any] | int
RequestSpan = tuple[bytes, int, int]
"""(request id, index of its first operation in the block, operations)."""
Delta = tuple[bytes, int, State] | None
"""(key, type, small state) of one operation, None for one that changed nothing."""

_PACK = msgpack.Packer().pack
"""``packb`` makes a packer for each call, whose 256 KB a node's C library maps and gives back: a
small block takes 11 us then instead of 0.5. This one keeps as much as the largest block took."""
_DELTA = {kind: module.delta for kind, module in TYPES.items()}


class Columns(NamedTuple):
    """The operations of a block that each put a value, for good, and all of one type."""

    kind: int
    """LWW_REGISTER or SIBLINGS."""
    keys: Sequence[bytes]
    values: Sequence[bytes]
    replaced: Sequence[frozenset[Dot]]
    """Of siblings; registers replace whatever is earlier."""


@dataclass(slots=True)
class Block:
    """A decoded block; ``raw`` are the bytes that travel and are stored."""

    origin: int
    first_seq: int
    count: int
    hlc: int
    wall_ms: int
    deps: Vector
    ops: list[Op]
    requests: list[RequestSpan]
    chain: bytes
    raw: bytes

    @property
    def last_seq(self) -> int:
        """Sequence number of its last operation."""
        return self.first_seq + self.count - 1

    @property
    def end(self) -> Dot:
        """Dot of its last operation."""
        return (self.origin, self.last_seq)

    @property
    def body(self) -> bytes:
        """The bytes the chain value covers."""
        return self.raw[: -CHAIN_BYTES - CHECKSUM_BYTES]

    def deltas(self) -> list[Delta]:
        """The small state of every operation, in order.

        Raises:
            BlockError: an operation is not well formed. Call it before the block is logged.
        """
        origin = self.origin
        ahead = self.hlc - self.first_seq
        out: list[Delta] = []
        for seq, op in enumerate(self.ops, self.first_seq):
            if type(op) is list:
                if (
                    len(op) < 3
                    or type(key := op[1]) is not bytes
                    or not key
                    or len(key) > KEY_BYTES_MAX
                ):
                    raise BlockError(f"operation of unknown form at {origin:016x}:{seq}")
                kind = op[0]
                delta = _DELTA.get(kind) if type(kind) is int else None
                if delta is None:
                    raise BlockError(f"operation of unknown type at {origin:016x}:{seq}")
                out.append((key, kind, delta(op, origin, seq, seq + ahead)))
            elif op == 0:
                out.append(None)
            else:
                raise BlockError(f"operation of unknown form at {origin:016x}:{seq}")
        return out

    def columns(self) -> Columns | None:
        """Its operations in columns, if they are puts that are alike; else None.

        All checks of ``deltas`` are made, a column at a time: what fails one is None too, and
        ``deltas`` says what is wrong.
        """
        ops = self.ops
        kind = ops[0][:1] if ops and type(ops[0]) is list else None
        if (kind != [LWW_REGISTER] and kind != [SIBLINGS]) or {*map(type, ops)} != {list}:
            return None
        replaced: Sequence[frozenset[Dot]] = ()
        try:
            if kind == [LWW_REGISTER]:
                kinds, keys, values = zip(*ops, strict=True)
            else:
                kinds, keys, values, dots = zip(*ops, strict=True)
                replaced = siblings.each_replaced(dots)
            # packed and joined only to learn their types: a third of what a look at each takes
            alike = bytes(kinds) == bytes(kind) * len(ops)
            b"".join(keys)
            b"".join(values)
        except (TypeError, ValueError, BlockError):
            return None
        if not alike or b"" in keys or len(max(keys, key=len)) > KEY_BYTES_MAX:
            return None
        return Columns(kinds[0], keys, values, replaced)


def chain_value(previous: bytes, deps: Iterable[bytes], body: bytes) -> bytes:
    """The chain value of a block, from its predecessor's, its deps' and its own bytes."""
    digest = blake2b(previous, digest_size=CHAIN_BYTES)
    for chain in deps:
        digest.update(chain)
    digest.update(body)
    return digest.digest()


def sealed(content: bytes) -> bytes:
    """The bytes of a block with their checksum."""
    return content + crc32(content).to_bytes(CHECKSUM_BYTES, "big")


def encode_block(
    *,
    origin: int,
    first_seq: int,
    hlc: int,
    wall_ms: int,
    deps: Vector,
    ops: list[Op],
    requests: Sequence[RequestSpan],
    previous: bytes,
    dep_chains: Sequence[bytes],
    count: int | None = None,
) -> Block:
    """A new block of its origin. ``dep_chains`` are in the order of ``sorted(deps)``."""
    size = len(ops) if count is None else count
    flat = [number for dot in sorted(deps.items()) for number in dot]
    body = VERSION + _PACK([origin, first_seq, size, hlc, wall_ms, flat, ops, requests])
    chain = chain_value(previous, dep_chains, body)
    return Block(
        origin,
        first_seq,
        size,
        hlc,
        wall_ms,
        deps,
        ops,
        list(requests),
        chain,
        sealed(body + chain),
    )


def decode_block(raw: bytes) -> Block:
    """The block in these bytes, operations not yet looked into (see ``Block.deltas``).

    Whatever way its origin packed them: nobody encodes it again, and the chain value is over bytes.

    Raises:
        BlockError: not a version 1 block, it fails its checksum, or a number in it is out of
            range.
    """
    content = raw[:-CHECKSUM_BYTES]
    if len(content) < 1 + CHAIN_BYTES or raw[:1] != VERSION:
        raise BlockError("block of an unknown version")
    if crc32(content).to_bytes(CHECKSUM_BYTES, "big") != raw[-CHECKSUM_BYTES:]:
        raise BlockError("block fails its checksum")
    try:
        fields = msgpack.unpackb(content[1:-CHAIN_BYTES])
    except Exception as error:  # msgpack raises many types on bytes from outside
        raise BlockError(f"block is not msgpack: {error}") from error
    if type(fields) is not list or [type(field) for field in fields] != FIELDS:
        raise BlockError("block of unknown form")
    origin, first, count, hlc, wall_ms, deps, ops, requests = fields
    if not (
        0 < origin <= ORIGIN_MAX
        and first > 0
        and count > 0
        and first + count - 1 <= SEQ_MAX
        and hlc > 0
        and hlc + count <= HLC_MAX
        and 0 <= wall_ms <= HLC_MAX
        and (len(ops) == count or not (ops or requests))
    ):
        raise BlockError("block with numbers out of range")
    return Block(
        origin,
        first,
        count,
        hlc,
        wall_ms,
        _vector(deps, origin) if deps else {},
        ops,
        _spans(requests, count) if requests else [],
        content[-CHAIN_BYTES:],
        raw,
    )


class BlockHead(NamedTuple):
    """A block's first fields."""

    end: Dot
    wall_ms: int


def block_head(raw: bytes) -> BlockHead:
    """Where a block ends and when it was written, from its first ``HEAD_BYTES_MAX`` bytes.

    Raises:
        BlockError: these are not the beginning of a block.
    """
    fields = msgpack.Unpacker(max_buffer_size=HEAD_BYTES_MAX)  # it takes its buffer at once
    fields.feed(raw[1:HEAD_BYTES_MAX])
    try:
        fields.read_array_header()
        origin, first, count, _, wall_ms = (int(fields.unpack()) for _ in range(5))
    except Exception as error:  # msgpack raises many types on damaged bytes
        raise BlockError(f"block is not msgpack: {error}") from error
    if raw[:1] != VERSION:
        raise BlockError("block of an unknown version")
    return BlockHead((origin, first + count - 1), wall_ms)


def _vector(flat: list[Any], own: int) -> Vector:
    origins, seqs = flat[::2], flat[1::2]
    if len(origins) != len(seqs) or {*map(type, flat)} != {int} or min(flat) <= 0:
        raise BlockError("deps of unknown form")
    vector = dict(zip(origins, seqs, strict=True))
    if origins != sorted(origins) or len(vector) != len(origins) or own in vector:
        raise BlockError("deps not sorted, or of the block's own origin")
    return vector


def _spans(raw: list[Any], count: int) -> list[RequestSpan]:
    spans: list[RequestSpan] = []
    for span in raw:
        if type(span) is not list or [type(each) for each in span] != SPAN:
            raise BlockError("request of unknown form")
        request_id, first, size = span
        if len(request_id) != 16 or first < 0 or size <= 0 or first + size > count:
            raise BlockError("request of unknown form")
        spans.append((request_id, first, size))
    return spans
