"""Bytes that are not a block are refused as such, whatever they are; a real one round-trips."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvnode.core.block import (
    CHAIN_BYTES,
    CHECKSUM_BYTES,
    GENESIS,
    Block,
    chain_value,
    decode_block,
    encode_block,
    sealed,
)
from kvnode.core.errors import BlockError
from kvnode.core.hlc import HLC_MAX
from kvnode.core.operations import Delete, Increment, Put
from kvnode.core.replica import Request
from kvnode.core.types import G_COUNTER, LWW_REGISTER, PN_COUNTER
from tests.core.memory_node import MemoryNode


def rich_block() -> Block:
    """A block with every kind of operation, dependencies and request ids."""
    other, node = MemoryNode(2**64 - 1), MemoryNode(7)
    other.write(Put(b"s", b"theirs"), Increment(b"p", 5))
    node.pull(other)
    operations = (
        Put(b"s", b"ours"),
        Put(b"r", b"value", LWW_REGISTER),
        Increment(b"g", 3, G_COUNTER),
        Increment(b"p", -3, PN_COUNTER),
        Delete(b"p"),
        Delete(b"nothing"),
        Delete(b"s"),
    )
    node.commit([Request(operations, b"r" * 16), Request([Put(b"x", b"")])])
    return node.last_block


RICH = rich_block()


def test_a_block_is_what_its_bytes_say() -> None:
    assert decode_block(RICH.raw) == RICH
    assert RICH.deps == {2**64 - 1: 2}
    assert RICH.requests == [(b"r" * 16, 0, 7)]
    assert len(RICH.deltas()) == RICH.count == 8
    assert RICH.deltas()[5] is None  # a deletion of nothing has a dot and no effect
    assert RICH.end == (7, 8)


def test_encoding_is_pinned() -> None:
    """The log's format is final: nodes of all versions must read these bytes."""
    block = encode_block(
        origin=1,
        first_seq=1,
        hlc=1 << 16,
        wall_ms=1,
        deps={3: 1, 2: 4},
        ops=[[4, b"k", b"v", []], 0],
        requests=[(b"i" * 16, 0, 2)],
        previous=GENESIS,
        dep_chains=[b"2" * 16, b"3" * 16],
    )
    body = (
        "01980101 02ce00010000 01 9402040301 929404c4016bc4017690 00"
        " 9193c410 69696969696969696969696969696969 0002"
    )
    assert block.body.hex() == body.replace(" ", "")
    assert block.chain == chain_value(GENESIS, [b"2" * 16, b"3" * 16], block.body)
    assert block.chain.hex() == "04cb10eeabaa3b72420b4b325d0436e3"
    assert block.raw == sealed(block.body + block.chain)
    assert block.raw[-CHECKSUM_BYTES:].hex() == "ca909dfd"


def test_every_truncation_is_refused() -> None:
    for length in range(len(RICH.raw)):
        _decode_or_refuse(RICH.raw[:length], must_refuse=True)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused(raw: bytes) -> None:
    _decode_or_refuse(raw)
    _decode_or_refuse(sealed(b"\x01" + raw + bytes(CHAIN_BYTES)))


CONTENT = RICH.raw[:-CHECKSUM_BYTES]


@given(st.integers(0, len(CONTENT) - 1), st.integers(0, 255), st.integers(0, 3))
def test_mutated_bytes_raise_nothing_but_block_error(at: int, byte: int, cut: int) -> None:
    """With a checksum that fits: as if they had been written so."""
    _decode_or_refuse(sealed(CONTENT[:at] + bytes([byte]) + CONTENT[at + 1 + cut :]))


def test_every_single_byte_flip_fails_the_checksum() -> None:
    """It is no sign of a second history, for which an origin would be fenced."""
    for at in range(len(RICH.raw)):
        raw = bytearray(RICH.raw)
        raw[at] ^= 0x41
        with pytest.raises(BlockError, match="checksum" if at else "version"):
            decode_block(bytes(raw))


def test_every_change_that_is_sealed_again_is_refused_by_the_chain() -> None:
    """What decodes all the same has another chain value, so no replica takes it."""
    previous, deps = _chains()
    for at in range(len(CONTENT)):
        raw = bytearray(CONTENT)
        raw[at] ^= 0x41
        try:
            block = decode_block(sealed(bytes(raw)))
        except BlockError:
            continue
        assert chain_value(previous, deps, block.body) != block.chain


FIELDS: list[Any] = msgpack.unpackb(RICH.body[1:])
ORIGIN, FIRST, COUNT, HLC, WALL, DEPS, OPS, REQUESTS = range(8)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (ORIGIN, 0),
        (ORIGIN, -1),
        (ORIGIN, "7"),
        (ORIGIN, True),
        (FIRST, 0),
        (FIRST, 2**63),
        (FIRST, 1.0),
        (FIRST, True),
        (COUNT, 0),
        (COUNT, 7),
        (COUNT, 2**64 - 1),
        (HLC, 0),
        (HLC, HLC_MAX),
        (HLC, None),
        (WALL, -1),
        (WALL, HLC_MAX + 1),
        (DEPS, [1]),
        (DEPS, [2, 1, 1, 1]),
        (DEPS, [1, 1, 1, 2]),
        (DEPS, [7, 1]),
        (DEPS, [1, 0]),
        (DEPS, [1, "2"]),
        (DEPS, {}),
        (OPS, {}),
        (OPS, [0]),
        (REQUESTS, [[b"short", 0, 1]]),
        (REQUESTS, [[b"i" * 16, 0, 9]]),
        (REQUESTS, [[b"i" * 16, -1, 1]]),
        (REQUESTS, [[b"i" * 16, 0, 0]]),
        (REQUESTS, [[b"i" * 16, 0]]),
        (REQUESTS, [None]),
    ],
)
def test_a_field_out_of_range_is_refused(field: int, value: Any) -> None:
    """Also booleans: they count as numbers in Python, but are other bytes in a stored state."""
    fields = list(FIELDS)
    fields[field] = value
    with pytest.raises(BlockError):
        decode_block(sealed(b"\x01" + msgpack.packb(fields) + bytes(CHAIN_BYTES)))


@pytest.mark.parametrize(
    "op",
    [
        1,
        None,
        b"",
        [],
        [4, b"k"],
        [9, b"k", b"v"],
        [True, b"k", 1, 1, 0],
        [[4], b"k", b"v", []],
        [4, b"", b"v", []],
        [4, "k", b"v", []],
        [4, b"k", "v", []],
        [4, b"k", b"v", [1]],
        [4, b"k", b"v", [1, -1]],
        [4, b"k", b"v", None],
        [4, b"k", b"v"],
        [3, b"k", 1],
        [3, b"k", b"v", 0],
        [3, b"k", b"v", -1],
        [3, b"k", b"v", True],
        [3, b"k", b"v", 2**47],
        [3, b"k", None, 1],
        [3, b"k", b"v", 1, 1],
        [4, b"k", b"v", [], 0],
        [4, b"k", b"v", [], 1.5],
        [4, b"k", None, [1, 1], 1],
        [4, b"k", b"v", 1, 1],
        [1, b"k", 1, 1, 1],
        [1, b"k", [1, 1, 1, 1]],
        [1, b"k", 9, 1, 0],
        [1, b"k", 0, 1, 0],
        [2, b"k", 1, -1, 0],
        [2, b"k", 1, 1.5, 0],
        [2, b"k", [1, 1, 1]],
        [2, b"k", [1, 1, 1, True]],
        [2, b"k", 1, 2],
    ],
)
def test_an_operation_that_is_not_well_formed_is_refused(op: Any) -> None:
    fields = list(FIELDS)
    fields[COUNT], fields[OPS], fields[REQUESTS] = 1, [op], []
    block = decode_block(sealed(b"\x01" + msgpack.packb(fields) + bytes(CHAIN_BYTES)))
    with pytest.raises(BlockError):
        block.deltas()


def test_a_void_block_gives_sequence_numbers_up() -> None:
    fields = list(FIELDS)
    fields[COUNT], fields[OPS], fields[REQUESTS] = 1000, [], []
    block = decode_block(sealed(b"\x01" + msgpack.packb(fields) + bytes(CHAIN_BYTES)))
    assert block.deltas() == []
    assert block.last_seq == 1000


def _chains() -> tuple[bytes, list[bytes]]:
    other = MemoryNode(2**64 - 1)
    other.write(Put(b"s", b"theirs"), Increment(b"p", 5))
    chains = [other.last_block.chain]
    assert chain_value(GENESIS, chains, RICH.body) == RICH.chain
    return GENESIS, chains


def _decode_or_refuse(raw: bytes, *, must_refuse: bool = False) -> None:
    try:
        decode_block(raw).deltas()
    except BlockError:
        return
    assert not must_refuse
