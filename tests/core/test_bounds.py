"""What is remembered is bounded: request ids, and blocks to push."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kvnode.core.block import Block, decode_block
from kvnode.core.operations import Increment, Put
from kvnode.core.progress import PushBuffer
from kvnode.core.requests import Remembered, RequestWindow
from tests.core.memory_node import MemoryNode


def request_id(number: int) -> bytes:
    return number.to_bytes(16, "big")


@given(st.integers(1, 5), st.lists(st.integers(0, 9), max_size=30))
def test_the_window_keeps_the_newest_request_ids(size_max: int, numbers: list[int]) -> None:
    window = RequestWindow(size_max)
    kept: list[int] = []
    for at, number in enumerate(numbers):
        window.add(request_id(number), 1, at + 1, 1)
        if number not in kept:
            kept = [*kept, number][-size_max:]
    assert len(window) == len(kept) <= size_max
    assert [request for request, _ in window.all()] == [request_id(n) for n in kept]
    for number in range(10):
        assert (window.get(request_id(number)) is not None) == (number in kept)
    if kept:
        assert window.next_number == window.all()[-1][1].number + 1
        there = {known.number for _, known in window.all()}
        assert there | set(window.forgotten) == set(range(1, window.next_number))


def test_another_one_s_requests_push_none_out_beyond_its_share() -> None:
    window = RequestWindow(10)
    for number in range(10):
        window.add(request_id(number), 1, number + 1, 1)
    for number in range(100, 200):
        window.add(request_id(number), 2, number + 1, 1)
    kept = [*range(5, 10), *range(195, 200)]
    assert [known for known, _ in window.all()] == [request_id(n) for n in kept]
    for number in range(300, 302):
        window.add(request_id(number), 3, number + 1, 1)
    assert {known.origin for _, known in window.all()} == {1, 2, 3}


def test_identities_that_were_lost_take_no_share_for_ever() -> None:
    """Ten of them left a node the memory of half a second of its own requests."""
    window = RequestWindow(10)
    numbers = iter(range(1_000))
    for origin in range(1, 10):
        for number in range(20):
            window.add(request_id(next(numbers)), origin, number + 1, 1)
    for number in range(300):
        window.add(request_id(next(numbers)), 99, number + 1, 1)
    assert {known.origin for _, known in window.all()} == {99}
    assert len(window) == 10
    assert window.next_number == window.all()[-1][1].number + 1


def test_trap_17_a_node_that_catches_up_knows_the_requests_it_took_itself() -> None:
    """Their clients ask again at the moment when the cut heals and another one's come at once."""
    mine, theirs = MemoryNode(1, window=10), MemoryNode(2, window=10)
    for number in range(30):
        theirs.write(Increment(b"c", 1), request_id=request_id(number))
    first = mine.write(Increment(b"mine", 1), request_id=request_id(99))
    mine.pull(theirs)
    again = mine.write(Increment(b"mine", 1), request_id=request_id(99))
    assert (again.repeated, again.first_seq) == (True, first.first_seq)


def test_what_is_forgotten_stays_told_until_it_is_off_the_disk() -> None:
    window = RequestWindow(1)
    for number in range(4):
        window.add(request_id(number), 1, number + 1, 1)
    told = window.forgotten
    assert list(told) == [1, 2, 3]
    window.add(request_id(5), 1, 9, 1)
    window.drop_forgotten(len(told))
    assert list(window.forgotten) == [4]


def test_what_waits_for_the_disk_is_bounded_though_none_of_it_gets_there() -> None:
    window = RequestWindow(3)
    window.add(request_id(0), 1, 1, 1)
    told = window.unsaved
    for number in range(1, 50):
        window.add(request_id(number), 1, number + 1, 1)
        assert len(window.unsaved) <= 2 * 3
        assert set(window.all()) <= set(window.unsaved)
    window.drop_unsaved(told)  # it was on its way meanwhile
    assert set(window.all()) <= set(window.unsaved)


def test_the_first_outcome_of_a_request_id_counts() -> None:
    window = RequestWindow(3)
    window.add(b"i", 1, 10, 2)
    window.add(b"i", 2, 99, 2)
    known = window.get(b"i")
    assert known is not None
    assert (known.origin, known.first_seq, known.size) == (1, 10, 2)


def test_what_a_checkpoint_lacks_stays_told_until_it_is_on_the_disk() -> None:
    window = RequestWindow(3)
    window.restore(request_id(0), Remembered(1, 1, 1, 1))
    assert window.unsaved == [], "it came from the disk"
    for number in range(1, 5):
        window.add(request_id(number), 1, number + 1, 1)
    told = window.unsaved
    assert [known for known, _ in told] == [request_id(number) for number in range(1, 5)]
    assert list(window.forgotten) == [1, 2], "one of them before it was on the disk"
    window.add(request_id(7), 1, 8, 1)
    window.drop_unsaved(told)
    assert [known for known, _ in window.unsaved] == [request_id(7)]


def test_a_restored_window_goes_on_where_it_was() -> None:
    window, restored = RequestWindow(3), RequestWindow(3)
    for number in range(7):
        window.add(request_id(number), 1, number + 1, 1)
    for known, where in window.all():
        restored.restore(known, where)
    assert restored.all() == window.all()
    assert restored.next_number == window.next_number


@given(
    st.integers(1, 5),
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 3)), max_size=30),
    st.lists(st.tuples(st.integers(0, 19), st.integers(1, 3)), max_size=30),
)
def test_a_window_that_lies_in_a_copy_goes_on_as_it_would_have(
    size_max: int, before: list[tuple[int, int]], after: list[tuple[int, int]]
) -> None:
    window, other = RequestWindow(size_max), RequestWindow(size_max)
    for one in (window, other):
        for at, (number, origin) in enumerate(before):
            one.add(request_id(number), origin, at + 1, 1)
    copy = window.copying()()
    window.lie_in(copy)
    copy.clear()
    assert len(copy) == 0
    for at, (number, origin) in enumerate(after):
        for one in (window, other):
            one.add(request_id(number), origin, at + 1, 1)
        assert window.all() == other.all()
        assert window.forgotten == other.forgotten
        assert window.next_number == other.next_number


def test_a_copy_is_of_new_objects_and_the_window_keeps_no_old_ones() -> None:
    window = RequestWindow(3)
    window.add(request_id(1), 1, 1, 1)
    before = id(window.all()[0][0])
    copy = window.copying()()
    assert id(copy.all()[0][0]) != before
    window.lie_in(copy)
    assert id(window.all()[0][0]) != before


def test_a_window_that_went_on_does_not_go_back_to_the_copy() -> None:
    window = RequestWindow(3)
    window.add(request_id(1), 1, 1, 1)
    copy = window.copying()()
    window.add(request_id(2), 1, 2, 1)
    window.lie_in(copy)
    assert window.get(request_id(2))


def own_blocks(count: int) -> list[Block]:
    node = MemoryNode(1)
    for number in range(count):
        node.write(*[Put(b"k", b"%d" % number)] * (1 + number % 3))
    return [decode_block(raw) for _, raw in node.log.replay(0)]


BLOCKS = own_blocks(12)


@given(st.integers(1, 1000), st.integers(1, 600), st.integers(0, 30))
def test_the_push_buffer_is_a_bounded_suffix(bytes_max: int, message: int, start: int) -> None:
    buffer = PushBuffer(bytes_max, 1)
    for block in BLOCKS:
        buffer.add(block)
        assert buffer.bytes_held <= max(bytes_max, len(block.raw))
    assert buffer.next_seq == BLOCKS[-1].last_seq + 1

    sent, seq = buffer.since(start, message)
    assert sent == [b.raw for b in BLOCKS if start <= b.first_seq < seq] or seq == start
    assert sum(map(len, sent[:-1])) < message
    if not sent:
        assert seq == start
    everything, end = buffer.since(BLOCKS[-1].first_seq, 1)
    assert everything == [BLOCKS[-1].raw], "the newest block always fits"
    assert buffer.since(end, 1000) == ([], end)


def test_a_peer_that_fell_behind_the_buffer_is_sent_nothing() -> None:
    """It pulls; pushing from the middle would only show it a gap."""
    buffer = PushBuffer(len(BLOCKS[0].raw), 1)
    for block in BLOCKS:
        buffer.add(block)
    assert buffer.since(1, 1 << 20) == ([], 1)


def test_what_all_have_is_not_kept_and_the_rest_is() -> None:
    buffer = PushBuffer(1 << 20, 1)
    for block in BLOCKS:
        buffer.add(block)
    buffer.drop(BLOCKS[4].last_seq - 1)  # not all of the block
    assert not buffer.has(BLOCKS[3].first_seq)
    assert buffer.since(BLOCKS[4].first_seq, 1 << 20)[0] == [b.raw for b in BLOCKS[4:]]
    assert buffer.bytes_held == sum(len(b.raw) for b in BLOCKS[4:])
    buffer.drop(BLOCKS[-1].last_seq)
    assert (len(buffer), buffer.bytes_held) == (0, 0)
    assert buffer.next_seq == BLOCKS[-1].last_seq + 1


def test_the_lag_of_a_peer_is_the_age_of_the_first_write_it_lacks() -> None:
    buffer = PushBuffer(1 << 20, 1)
    assert buffer.oldest_unacknowledged_ms(0) is None
    for block in BLOCKS[:3]:
        buffer.add(block)
    assert buffer.oldest_unacknowledged_ms(0) == BLOCKS[0].wall_ms
    assert buffer.oldest_unacknowledged_ms(BLOCKS[0].last_seq) == BLOCKS[1].wall_ms
    assert buffer.oldest_unacknowledged_ms(BLOCKS[2].last_seq) is None
