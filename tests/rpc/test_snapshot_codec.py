"""Chunks on the wire: in pieces that fit into messages, and whole again or not at all."""

from __future__ import annotations

import pytest

from kvnode.core.snapshot import CHUNK_BYTES, Section, make_chunk
from kvnode.rpc.snapshot_codec import Assembler, Fetched, Offer, to_wire
from kvnode.v1 import snapshot_pb2 as pb

OFFER = Offer(b"i" * 16, 7, 9)
MESSAGE_BYTES_USUAL = 4 << 20
"""What gRPC takes when nobody says otherwise."""


def test_trap_27_no_message_is_larger_than_grpc_usually_takes() -> None:
    """However large one entry is."""
    chunk = make_chunk(Section.ENTRIES, [b"huge", b"x" * (20 << 20)])
    assembler = Assembler(1 << 30)
    messages = list(to_wire(OFFER, chunk, last=True))
    assert max(message.ByteSize() for message in messages) < MESSAGE_BYTES_USUAL
    *parts, last = [assembler.add(message) for message in messages]
    assert parts
    assert all(part == Fetched(OFFER) for part in parts)
    assert last == Fetched(OFFER, chunk, last=True)


def test_a_small_chunk_is_one_message_and_a_sign_of_life_is_nothing() -> None:
    """The receiver waits for seconds while a copy is made."""
    chunk = make_chunk(Section.CHAINS, [b"k", b"v"])
    assembler = Assembler(CHUNK_BYTES)
    assert assembler.add(pb.SnapshotChunk()) == Fetched()
    (message,) = to_wire(OFFER, chunk, last=False)
    assert assembler.add(message) == Fetched(OFFER, chunk)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"offset": 5}, "where 0 was expected"),
        ({"rows": b""}, "a piece at 0"),
        ({"size": 2}, "where 2 were announced"),
        ({"size": 1 << 30}, "the limit is"),
        ({"section": 99}, "99"),
    ],
)
def test_pieces_that_do_not_fit_are_refused(change: dict[str, object], complaint: str) -> None:
    """A sender with a bug must not make this node stage rubbish, or take all its memory."""
    (message,) = to_wire(OFFER, make_chunk(Section.META, [b"k", b"v"]), last=False)
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(ValueError, match=complaint):
        Assembler(CHUNK_BYTES).add(message)
