"""Tokens: only what this cluster made for this key is believed."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvnode.core.context import Context, cell_token, decode_token, dot_token
from kvnode.core.errors import Reason, Refused
from kvnode.core.operations import Delete, Increment, Put
from kvnode.core.types import G_COUNTER, LWW_REGISTER, PN_COUNTER, SIBLINGS
from tests.core.memory_node import SECRET, TOKEN_BYTES_MAX, WALL_MS, MemoryNode


def full_token() -> bytes:
    """Of a key that two regions created under several types."""
    a, b = MemoryNode(1), MemoryNode(2**64 - 1)
    a.write(Put(b"k", b"v"))
    b.write(Put(b"k", b"r", LWW_REGISTER))
    c = MemoryNode(3)
    c.write(Increment(b"k", 2, G_COUNTER))
    d = MemoryNode(4)
    d.write(Increment(b"k", -2, PN_COUNTER))
    for other in (b, c, d):
        a.pull(other)
    return a.token(b"k")


TOKEN = full_token()


def refused(key: bytes, token: bytes, secret: bytes = SECRET) -> bool:
    try:
        decode_token(key, token, secret, TOKEN_BYTES_MAX)
    except Refused as refusal:
        return refusal.reason is Reason.BAD_CONTEXT
    return False


def test_a_token_names_exactly_what_was_shown() -> None:
    context = decode_token(b"k", TOKEN, SECRET, TOKEN_BYTES_MAX)
    assert context.siblings == {(1, 1)}
    assert context.register is not None
    assert context.register[1:] == (2**64 - 1, 1)
    assert context.counters == {G_COUNTER: {(3, 1): (2, 0)}, PN_COUNTER: {(4, 1): (0, 2)}}
    assert context.types == (G_COUNTER, PN_COUNTER, LWW_REGISTER, SIBLINGS)


def test_the_token_of_an_absent_key_names_nothing() -> None:
    assert MemoryNode(1).context(b"k") == Context()


def test_the_token_of_one_type_names_only_that() -> None:
    token = cell_token(b"k", SIBLINGS, [1, 1, 2, 5], SECRET)
    context = decode_token(b"k", token, SECRET, TOKEN_BYTES_MAX)
    assert context == Context(siblings=frozenset({(1, 1), (2, 5)}), types=(SIBLINGS,))


@pytest.mark.parametrize("origin", [1, 0xFFFF, 2**64 - 1])
@pytest.mark.parametrize("power", [0, 7, 8, 16, 32, 63])
def test_the_token_of_one_sibling_is_that_of_its_type(origin: int, power: int) -> None:
    for seq in (2**power - 1, 2**power):
        token = dot_token(b"k", (origin, seq), SECRET)
        assert token == cell_token(b"k", SIBLINGS, [origin, seq], SECRET)


def test_a_token_of_another_key_or_cluster_is_refused() -> None:
    assert not refused(b"k", TOKEN)
    assert refused(b"l", TOKEN)
    assert refused(b"", TOKEN)
    assert refused(b"k", TOKEN, b"another cluster's secret")


def test_key_and_payload_cannot_trade_bytes() -> None:
    """The hash covers the key's length: no key and token pair equals another pair's bytes."""
    payload, mac = TOKEN[:-8], TOKEN[-8:]
    assert refused(b"k" + payload[:1], payload[1:] + mac)


def test_every_truncation_is_refused() -> None:
    assert all(refused(b"k", TOKEN[:length]) for length in range(len(TOKEN)))
    assert all(refused(b"k", TOKEN[length:]) for length in range(1, len(TOKEN)))


def test_every_changed_byte_is_refused() -> None:
    for at in range(len(TOKEN)):
        assert refused(b"k", TOKEN[:at] + bytes([TOKEN[at] ^ 1]) + TOKEN[at + 1 :])


@given(st.binary(max_size=100))
def test_invented_tokens_are_refused(raw: bytes) -> None:
    assert refused(b"k", raw)
    assert refused(b"k", b"\x01" + msgpack.packb([[SIBLINGS, [1, 1]]]) + raw[:8])


def test_a_token_beyond_the_limit_is_refused() -> None:
    with pytest.raises(Refused, match="not made by this cluster"):
        decode_token(b"k", TOKEN, SECRET, len(TOKEN) - 1)


def test_a_token_does_not_grow_with_what_was_deleted() -> None:
    """Else a counter that is reset every minute would soon have tokens that are refused."""
    node = MemoryNode(1)
    for _ in range(20):
        node.write(Increment(b"c", 1), Delete(b"c"))
    node.write(Increment(b"c", 1))
    assert len(node.context(b"c").counters[PN_COUNTER]) == 1


def test_a_write_with_the_context_of_a_deleted_register_comes_after_the_deletion() -> None:
    """Its client has seen the deletion, so it must win over it everywhere (P4, P7).

    The accepting node has not received the deletion, and its wall clock is behind.
    """
    a, b = MemoryNode(1), MemoryNode(2)
    a.write(Put(b"r", b"old", LWW_REGISTER))
    a.write(Delete(b"r"), wall_ms=WALL_MS + 60_000)
    seen = a.context(b"r")  # of the absence: what KeyNotFound carries
    b.write(Put(b"r", b"new", LWW_REGISTER, seen))
    b.pull(a)
    assert b.entry(b"r")[LWW_REGISTER][3] == b"new"


def test_a_delete_with_the_context_of_an_absence_deletes_nothing() -> None:
    """Also if it names the type: its client saw no value. Else its tombstone, later than the one
    the client saw, would beat values written in between that nobody has read.
    """
    a, b, c = MemoryNode(1), MemoryNode(2), MemoryNode(3)
    a.write(Put(b"r", b"old", LWW_REGISTER))
    b.pull(a)
    a.write(Delete(b"r"))
    absence = a.context(b"r")
    c.write(Put(b"r", b"unread", LWW_REGISTER), wall_ms=WALL_MS + 100)
    b.write(Delete(b"r", LWW_REGISTER, absence), wall_ms=WALL_MS + 200)
    b.pull(a)
    b.pull(c)
    assert b.entry(b"r")[LWW_REGISTER][3] == b"unread"
