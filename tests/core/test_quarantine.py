"""The quarantine: what a record waits for, and who goes when it is full."""

from __future__ import annotations

import pytest

from kvnode.core.operations import Put
from kvnode.core.quarantine import OWN_LOG, ROW_OVERHEAD_BYTES, Quarantine, Record, glimpse
from tests.core.memory_node import MemoryNode


def quarantine(rows_max: int = 100, bytes_max: int = 1 << 20) -> Quarantine:
    return Quarantine(rows_max=rows_max, bytes_max=bytes_max)


def block(origin: int = 7, count: int = 3) -> bytes:
    node = MemoryNode(origin)
    node.write(Put(b"before", b"v"))
    node.write(*[Put(b"k", b"v")] * count)
    return node.last_block.raw


def flipped(raw: bytes, at: int = -1) -> bytes:
    changed = bytearray(raw)
    changed[at] ^= 1
    return bytes(changed)


def test_the_beginning_of_a_bad_block_tells_which_it_is() -> None:
    assert glimpse(flipped(block())) == (7, 2, 4)
    assert glimpse(block()[:20]) == (7, 2, 4)
    assert glimpse(block(2**64 - 1)[:20]) == (2**64 - 1, 2, 4)


@pytest.mark.parametrize(
    "raw",
    [b"", b"\x01", b"\x02" + block()[1:], b"\x01\x98\xc1", b"\x01\x98\x00\x01\x01", b"\1\x93"],
)
def test_other_bytes_tell_nothing(raw: bytes) -> None:
    assert glimpse(raw) is None


def test_a_record_goes_when_a_good_copy_of_its_block_is_here() -> None:
    held = quarantine()
    record = held.add(block(), "bad", 5, peer="b", identity=(7, 2, 4), awaits={7: 9, 8: 1})
    assert record is not None
    assert record.awaits == {7: 4}
    assert held.waiting() == {7: 2}
    assert held.settle({7: 3, 8: 1}) == []
    assert held.settle({7: 4}) == [record]
    assert (held.records, held.bytes_held, held.waiting()) == ({}, 0, {})


@pytest.mark.parametrize(
    ("raw", "shown"),
    [(b"noise", 0), (flipped(block(9)), 0), (flipped(block(7, 100)), 0), (flipped(block()), 7)],
)
def test_damaged_bytes_are_one_of_the_blocks_their_sender_has(raw: bytes, shown: int) -> None:
    """Whatever they say of themselves; that is shown, if the sender has such a block."""
    held = quarantine()
    record = held.add(raw, "bad", 5, peer="b", awaits={7: 9, 8: 1})
    assert record is not None
    assert (record.origin, record.awaits) == (shown, {7: 9, 8: 1})
    assert held.settle({7: 9}) == []
    assert held.settle({7: 9, 8: 1}) == [record]


def test_what_nobody_has_stays_until_it_is_dropped() -> None:
    held = quarantine()
    record = held.add(b"noise", "bad", 5, awaits={})
    assert record is not None
    assert held.settle({7: 2**62}) == []
    assert held.remove(record.number) == record
    assert held.remove(record.number) is None


def test_a_damaged_block_of_the_own_log_waits_for_nothing() -> None:
    held = quarantine()
    record = held.add(block(), "rot", 5, source=OWN_LOG, identity=(7, 4, 4), awaits={})
    assert record is not None
    assert held.settle({7: 100}) == []
    assert held.waiting() == {}


def test_the_same_bytes_again_are_counted() -> None:
    held = quarantine()
    first = held.add(b"noise", "bad", 5, peer="b", awaits={7: 9})
    assert first is not None
    held.take_changes()
    assert held.add(b"noise", "bad", 8, peer="c", awaits={7: 9}) is None
    (record,) = held.records.values()
    assert (record.times, record.first_ms, record.last_ms, record.peer) == (2, 5, 8, "b")
    assert held.take_changes() == {}, "not worth a write"
    held.remove(record.number)
    assert held.add(b"noise", "bad", 9, awaits={}) is not None, "dropped, and here again"


def numbers(held: Quarantine) -> list[int]:
    return list(held.records)


def test_further_copies_of_a_block_go_first_and_the_oldest_of_them() -> None:
    held = quarantine(rows_max=4)
    good = block()
    held.add(b"noise", "bad", 1, awaits={3: 1})
    copies = [held.add(flipped(good, at), "bad", 2, awaits={7: 9}) for at in (-1, -2, -3)]
    assert held.make_room() == []
    held.add(flipped(block(8)), "bad", 3, awaits={8: 9})
    assert held.make_room() == [copies[0]]
    held.add(flipped(block(6)), "bad", 4, awaits={6: 9})
    assert held.make_room() == [copies[1]]
    held.add(flipped(block(5)), "bad", 4, awaits={5: 9})
    assert [record.number for record in held.make_room()] == [1], "no copies: the oldest record"
    assert held.pushed_out == 3
    assert numbers(held) == [4, 5, 6, 7]


def test_bytes_are_bounded_and_long_ones_cut() -> None:
    bytes_max = 10_000
    held = quarantine(bytes_max=bytes_max)
    record = held.add(bytes(8_000), "bad", 1, awaits={})
    assert record is not None
    assert (len(record.raw), record.raw_bytes) == (5_000, 8_000)
    for number in range(20):
        held.add(b"%d" % number + bytes(2_000), "bad", 1, awaits={})
        held.make_room()
        assert held.bytes_held <= bytes_max
    assert held.bytes_held == sum(each.size for each in held.records.values())
    assert len(held.records) == bytes_max // (2_002 + ROW_OVERHEAD_BYTES)


def test_changes_are_told_once() -> None:
    held = quarantine()
    record = held.add(b"noise", "bad", 5, awaits={})
    assert record is not None
    assert held.take_changes() == {1: record}
    assert held.take_changes() == {}
    held.remove(1)
    assert held.take_changes() == {1: None}


def test_restored_records_are_the_same_and_numbers_go_on() -> None:
    held, again = quarantine(), quarantine()
    records: list[Record | None] = [
        held.add(b"noise", "bad", 5, awaits={}), held.add(b"other", "bad", 5, awaits={7: 1})
    ]  # fmt: skip
    for record in records:
        assert record is not None
        again.restore(record)
    assert (again.records, again.bytes_held) == (held.records, held.bytes_held)
    assert again.add(b"noise", "bad", 6, awaits={}) is None
    third = again.add(b"third", "bad", 6, awaits={})
    assert third is not None
    assert third.number == 3
