"""Tokens of watches, and what is told of blocks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvnode.core.block import GENESIS, Block, encode_block
from kvnode.core.dots import Vector, covers
from kvnode.core.errors import Reason, Refused
from kvnode.core.watch import (
    Cursor,
    Write,
    WriteKind,
    decode_cursor,
    encode_cursor,
    gather,
)

SECRET = b"secret"
vectors = st.dictionaries(st.integers(1, 2**64 - 1), st.integers(1, 2**63 - 1), max_size=5)


def block(origin: int, first_seq: int, *ops: Any, deps: Vector | None = None) -> Block:
    others = deps or {}
    return encode_block(
        origin=origin,
        first_seq=first_seq,
        hlc=1,
        wall_ms=1,
        deps=others,
        ops=list(ops),
        requests=[],
        previous=GENESIS,
        dep_chains=[GENESIS] * len(others),
        count=len(ops) or 5,
    )


def refusal(token: bytes, prefix: bytes = b"p", secret: bytes = SECRET) -> Reason:
    with pytest.raises(Refused) as caught:
        decode_cursor(token, prefix, secret)
    return caught.value.reason


@given(vectors, vectors, st.none() | st.binary(max_size=20), st.binary(max_size=10))
def test_a_token_says_again_what_was_put_into_it(
    shown: Vector, more: Vector, scanned: bytes | None, prefix: bytes
) -> None:
    cursor = Cursor(shown, shown, scanned)
    cursor.saw(more)
    assert covers(cursor.seen, shown)
    assert covers(cursor.seen, more)
    again = decode_cursor(encode_cursor(cursor, prefix, SECRET), prefix, SECRET)
    assert again == cursor


def test_a_token_of_a_reader_that_keeps_up_names_each_origin_once() -> None:
    vector = {2**63 + number: 10**6 for number in range(100)}
    assert len(encode_cursor(Cursor(vector, vector), b"", SECRET)) < 100 * 15


def test_a_token_of_another_prefix_cluster_or_form_is_refused() -> None:
    """It would leave out changes without a word."""
    token = encode_cursor(Cursor({1: 1}, {1: 1}), b"p", SECRET)
    assert decode_cursor(token, b"p", SECRET)
    assert refusal(token, prefix=b"") == Reason.BAD_TOKEN
    assert refusal(token, prefix=b"pp") == Reason.BAD_TOKEN
    assert refusal(token, secret=b"other") == Reason.BAD_TOKEN
    with pytest.raises(Refused, match='or the nodes\' "secret" settings differ'):
        decode_cursor(token, b"p", b"other")
    for changed in (token[:-1], token[1:], b"\x02" + token[1:], token + b"\0", b"x", bytes(50)):
        assert refusal(changed) == Reason.BAD_TOKEN
    assert refusal(bytes(2 << 20)) == Reason.BAD_TOKEN


def test_writes_are_told_with_what_they_did() -> None:
    found = gather(
        [
            block(
                7,
                3,
                [4, b"s", b"value", []],
                [4, b"s", None, [7, 3]],
                0,
                [3, b"r", b"value"],
                [3, b"r", None],
                [2, b"n", 8, 5, 0],
                [2, b"n", [7, 8, 5, 0]],
                [1, b"g", 10, 5, 0],
                [1, b"other", 10, 5, 0],
            ),
            block(8, 1),
        ],
        b"",
    )
    kinds = {key: [(write.dot[1], write.type, write.kind) for write in found[key]] for key in found}
    put, add, delete = WriteKind.PUT, WriteKind.INCREMENT, WriteKind.DELETE
    assert kinds == {
        b"s": [(3, 4, put), (4, 4, delete)],
        b"r": [(6, 3, put), (7, 3, delete)],
        b"n": [(8, 2, add), (9, 2, delete)],
        b"g": [(10, 1, add)],
        b"other": [(11, 1, add)],
    }


def test_keys_are_in_the_order_of_their_last_writes_and_of_one_prefix() -> None:
    first = block(1, 1, [3, b"pa", b"1"], [3, b"pb", b"1"], [3, b"x", b"1"])
    second = block(2, 1, [3, b"pa", b"2"], deps={1: 3})
    found = gather([first, second], b"p")
    assert list(found) == [b"pb", b"pa"]
    assert found[b"pa"] == [Write((1, 1), 3, WriteKind.PUT), Write((2, 1), 3, WriteKind.PUT)]


def test_a_cursor_moves_by_whole_blocks_and_is_current_when_it_covers_all() -> None:
    cursor = Cursor({1: 1}, {1: 1})
    cursor.advance([block(2, 1, 0, 0), block(1, 2, 0)])
    assert (cursor.shown, cursor.seen) == ({1: 2, 2: 2}, {1: 2, 2: 2})
    assert cursor.current({1: 2, 2: 2})
    assert not cursor.current({1: 3, 2: 2})
    cursor.scanned = b"k"
    assert not cursor.current({1: 2, 2: 2})
