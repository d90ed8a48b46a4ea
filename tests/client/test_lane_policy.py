"""Which of those who wait go together: the lane by itself."""

from __future__ import annotations

from kvnode import NodeUnavailable
from kvnode.client.lanes import FLIGHTS_MAX, HALVES_MIN, Entry, Lane


def entry(*keys: bytes, size: int = 1) -> Entry:
    """A write of these keys."""
    return Entry(lane="", request=None, keys=keys, size=size, verb="", deadline=9.0, is_write=True)


def lane(*entries: Entry, ordered: bool = True) -> Lane:
    """A lane in which these wait."""
    found = Lane(fly=lambda _: iter(()), ordered=ordered)  # type: ignore[arg-type,return-value]
    found.waiting.extend(entries)
    return found


def test_who_waits_goes_together_as_far_as_a_call_holds() -> None:
    small = [entry(b"%d" % number) for number in range(4)]
    large = [entry(b"a", size=3 << 20), entry(b"b", size=2 << 20)]
    found = lane(*small, *large)
    first = found.begin()
    assert first is not None
    assert first.entries == [*small, large[0]]
    second = found.begin()
    assert second is not None
    assert second.entries == [large[1]]


def test_a_crowd_that_finds_nobody_away_goes_in_halves() -> None:
    crowd = [entry(b"%d" % number) for number in range(HALVES_MIN)]
    found = lane(*crowd)
    first, second = found.begin(), found.begin()
    assert first is not None
    assert second is not None
    half = HALVES_MIN // 2
    assert (first.entries, second.entries) == (crowd[:half], crowd[half:])


def test_a_half_that_gave_up_does_not_keep_the_other() -> None:
    crowd = [entry(b"%d" % number) for number in range(HALVES_MIN)]
    half = HALVES_MIN // 2
    for each in crowd[:half]:
        each.give_up()
    flight = lane(*crowd).begin()
    assert flight is not None
    assert flight.entries == crowd[half : half + 1]


def test_a_crowd_goes_whole_while_others_are_away() -> None:
    found = lane(entry(b"first"))
    assert found.begin() is not None
    crowd = [entry(b"%d" % number) for number in range(HALVES_MIN)]
    found.waiting.extend(crowd)
    flight = found.begin()
    assert flight is not None
    assert flight.entries == crowd


def test_the_second_half_of_a_crowd_waits_for_a_key_of_the_first() -> None:
    crowd = [entry(b"%d" % (number % (HALVES_MIN // 2))) for number in range(HALVES_MIN)]
    found = lane(*crowd)
    first = found.begin()
    assert first is not None
    assert found.begin() is None
    found.land(first)
    second = found.begin()
    assert second is not None
    assert first.entries + second.entries == crowd


def test_an_operation_that_fills_a_call_alone_goes_alone() -> None:
    found = lane(entry(b"a", size=5 << 20), entry(b"b"))
    first = found.begin()
    assert first is not None
    assert len(first.entries) == 1


def test_no_more_calls_are_on_their_way_than_allowed() -> None:
    found = lane()
    for number in range(FLIGHTS_MAX):
        found.waiting.append(entry(b"%d" % number))
        assert found.begin() is not None
    found.waiting.append(entry(b"last"))
    assert found.begin() is None
    found.land(found.flights[0])
    assert found.begin() is not None


def test_a_key_that_is_on_its_way_holds_back_what_comes_behind() -> None:
    found = lane(entry(b"k"))
    first = found.begin()
    assert first is not None
    found.waiting.extend([entry(b"k"), entry(b"other")])
    assert found.begin() is None
    found.land(first)
    second = found.begin()
    assert second is not None
    assert [each.keys for each in second.entries] == [(b"k",), (b"other",)]


def test_reads_of_one_key_need_no_order() -> None:
    found = lane(entry(b"k"), ordered=False)
    assert found.begin() is not None
    found.waiting.append(entry(b"k"))
    assert found.begin() is not None


def test_who_gave_up_is_not_sent() -> None:
    gone, there = entry(b"a"), entry(b"b")
    gone.give_up()
    found = lane(gone, there)
    flight = found.begin()
    assert flight is not None
    assert flight.entries == [there]
    assert isinstance(gone.error, NodeUnavailable)
    assert not gone.depart("x")
