"""Which of those who wait go together: the lane by itself."""

from __future__ import annotations

import pytest

from kvnode import NodeUnavailable, OutcomeUnknown
from kvnode.client.lanes import CROWD, FAR_S, FLIGHTS_MAX, HALVES_MIN, Entry, Lane, overtaken


def entry(*keys: bytes, size: int = 1, adds: int | None = None) -> Entry:
    """A write of these keys."""
    found = Entry("", keys, size, "", 9.0, is_write=True)
    found.adds = adds
    return found


class Clock:
    """A time that the test lets pass."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def lane(*entries: Entry, ordered: bool = True, crowd: int = 1, now: Clock | None = None) -> Lane:
    """A lane in which these wait."""
    found = Lane(lambda _: iter(()), now or Clock(), ordered, crowd)  # type: ignore[arg-type,return-value]
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


def test_behind_others_only_a_crowd_goes() -> None:
    found = lane(entry(b"first"), crowd=CROWD)
    first = found.begin()
    assert first is not None
    found.waiting.extend(entry(b"%d" % number) for number in range(CROWD - 1))
    assert found.begin() is None
    found.waiting.append(entry(b"last"))
    second = found.begin()
    assert second is not None
    assert len(second.entries) == CROWD
    found.waiting.append(entry(b"more"))
    assert found.begin() is None
    found.land(first)
    assert found.begin() is None, "there is still one away"
    found.land(second)
    assert found.begin() is not None


def test_a_batch_is_a_crowd() -> None:
    found = lane(entry(b"first"), crowd=CROWD)
    assert found.begin() is not None
    found.waiting.append(entry(*(b"%d" % number for number in range(CROWD - 1))))
    assert found.begin() is None
    found.waiting.append(entry(b"last"))
    assert found.begin() is not None


def test_nobody_waits_for_those_who_are_away_for_long() -> None:
    now = Clock()
    found = lane(entry(b"first"), crowd=CROWD, now=now)
    assert found.begin() is not None
    now.now += FAR_S / 2
    found.waiting.append(entry(b"second"))
    assert found.begin() is None
    now.now += FAR_S / 2
    assert found.begin() is not None
    now.now += 100 * FAR_S
    found.waiting.append(entry(b"third"))
    assert found.begin() is None, "no more than may be away"


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


def test_alike_increments_of_one_key_do_not_wait_for_each_other() -> None:
    crowd = [entry(b"hot", adds=0) for _ in range(HALVES_MIN)]
    found = lane(*crowd)
    assert found.begin() is not None
    assert found.begin() is not None
    assert not found.waiting


@pytest.mark.parametrize(
    ("away", "next_one"),
    [
        ((None,), 0),
        ((0,), None),
        ((2,), 0),  # without a type it may find the counter that the first makes
        ((0,), 1),
        ((0, None), 0),
        ((None, 0), 0),
        ((0, 1), 1),
    ],
)
def test_all_else_of_their_key_waits_for_them_and_they_for_it(
    away: tuple[int | None, ...], next_one: int | None
) -> None:
    """What an increment adds to, and what a delete removes, depends on what was before."""
    found = lane(*(entry(b"k", adds=adds) for adds in away))
    first = found.begin()
    assert first is not None
    found.waiting.append(entry(b"other", b"k", adds=next_one))
    assert found.begin() is None
    found.land(first)
    assert found.begin() is not None


def test_only_what_had_to_come_before_was_overtaken() -> None:
    """A later put makes the increments before it late, other increments do not."""
    first, second, third = (entry(b"k", adds=0) for _ in range(3))
    put = entry(b"k")
    assert overtaken([first, second, third], [False, True, True]) == set()
    assert overtaken([first, second, put], [False, True, True]) == {first}
    assert overtaken([put, second, third], [False, False, True]) == {put}


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


class Unlucky(Entry):
    """Its caller gives up in the moment in which it is looked for last."""

    @property
    def settled(self) -> bool:
        """Whether it was; from here on it is."""
        if "looked" not in self.__dict__:
            self.__dict__["looked"] = True
            self.give_up()
            return False
        return self.error is not None

    @settled.setter
    def settled(self, _: bool) -> None: ...


def test_who_gives_up_while_it_departs_is_not_told_that_nothing_was_done() -> None:
    found = Unlucky("", (b"k",), 1, "put", 9.0, is_write=True)
    assert found.depart("x")
    assert isinstance(found.error, OutcomeUnknown)


def test_an_entry_is_settled_once() -> None:
    told: list[str] = []
    found = entry(b"k")
    found.wake = lambda: told.append("woken")
    found.settle("first")
    found.settle("second")
    found.give_up()
    assert (found.reply, found.error, told) == ("first", None, ["woken"])
    assert not found.depart("x")
