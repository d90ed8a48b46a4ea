"""The counter checker adds up."""

from __future__ import annotations

import itertools

import pytest

from tests.checkers.history import Seen, Type, Written
from tests.checkers.ideal import Ideal
from tests.checkers.sums import BITS_MAX, Sums
from tests.checkers.tampering import change, everything, findings, show, show_at_end

KEY = b"k"


def add(amount: int, kind: Type = "PNCOUNTER") -> Written:
    return Written("increment", KEY, kind, amount=amount)


def delete(kind: Type = "PNCOUNTER") -> Written:
    return Written("delete", KEY, kind)


def shows(value: int, kind: Type = "PNCOUNTER") -> Seen:
    return Seen(KEY, counters={kind: value})


def counted() -> Ideal:
    ideal = Ideal(2)
    ideal.write("n1", add(5))
    ideal.write("n2", add(-2))
    ideal.write("n1", add(7))
    return ideal


def test_all_acknowledged_increments_are_there_once() -> None:
    history = counted().settle()
    assert history.finals[0].keys[KEY] == shows(10)
    assert everything(history) == []


@pytest.mark.parametrize("value", [5, 3, 12, 17])
def test_a_lost_or_doubled_increment_is_found(value: int) -> None:
    history = counted().settle()
    show_at_end(history, shows(value))
    (text,) = findings(history, "counters")
    assert f"shows {value}" in text
    assert "make 10" in text


def test_a_wrong_sum_in_the_middle_is_found_though_the_end_is_right() -> None:
    ideal = counted()
    read = ideal.read("n1", KEY)
    history = ideal.settle()
    show(history, read, shows(10))
    assert findings(history, "counters")


def test_a_deletion_takes_exactly_what_it_saw() -> None:
    ideal = counted()
    ideal.write("n1", delete())
    ideal.write("n1", add(1))
    history = ideal.settle()
    assert history.finals[0].keys[KEY] == shows(-1)
    assert everything(history) == []
    for wrong in (1, 11, 10):
        show_at_end(history, shows(wrong))
        assert findings(history, "counters")
    show_at_end(history, Seen(KEY))
    assert findings(history, "counters")


def test_a_deletion_by_context_takes_what_its_reader_saw() -> None:
    ideal = counted()
    read = ideal.read("n2", KEY)
    ideal.pull("n1", "n2")
    written = Written("delete", KEY, "PNCOUNTER", mode="context", seen=read.vector)
    ideal.write("n1", written)
    history = ideal.settle()
    assert history.finals[0].keys[KEY] == shows(12)
    assert everything(history) == []
    show_at_end(history, Seen(KEY))
    assert findings(history, "counters")


@pytest.mark.parametrize("happens", [True, False])
def test_increments_without_an_answer_may_count(*, happens: bool) -> None:
    ideal = counted()
    ideal.write("n2", add(100), outcome="unknown", happens=happens)
    ideal.write("n2", add(30), outcome="unknown", happens=not happens)
    history = ideal.settle()
    assert everything(history) == []
    show_at_end(history, shows(10 + 60))
    assert findings(history, "counters")
    show_at_end(history, shows(10 + 130))
    assert not findings(history, "counters")
    history.settled = True
    assert findings(history, "counters")


def test_an_unknown_increment_does_not_explain_what_was_read_before_it_was_asked_for() -> None:
    ideal = counted()
    read = ideal.read("n1", KEY)
    ideal.write("n1", add(100), outcome="unknown")
    history = ideal.settle()
    show(history, read, shows(112))
    assert findings(history, "counters")


def test_a_retry_counts_once() -> None:
    ideal = Ideal(2)
    first = ideal.write("n1", add(5), outcome="unknown", request=b"r")
    again = ideal.write("n1", add(5), outcome="unknown", happens=False, request=b"r")
    history = ideal.settle()
    change(history, again, outcome="ok", dots=((1, 1),), repeated=True, vector={1: 1})
    assert everything(history) == []
    show_at_end(history, shows(10))
    assert findings(history, "counters")
    change(history, first, outcome="ok", dots=((1, 2),), vector={1: 2})
    assert any("carried out more than once" in text for text in findings(history, "durability"))


def test_a_g_counter_does_not_shrink_in_a_session() -> None:
    ideal = Ideal(2)
    ideal.write("n1", add(5, "GCOUNTER"))
    ideal.write("n1", add(7, "GCOUNTER"), outcome="unknown")
    high = ideal.read("n1", KEY)
    low = ideal.read("n1", KEY)
    history = ideal.settle()
    assert everything(history) == []
    change(history, high, vector={1: 1})
    show(history, low, shows(5, "GCOUNTER"))
    assert any("fell from 12" in text for text in findings(history, "counters"))


def test_the_sums_of_subsets_are_exact_while_it_is_cheap() -> None:
    amounts = [3, -5, 8, 8, -1]
    sums = Sums()
    for amount in amounts:
        sums = sums.plus(amount)
    possible = {
        sum(chosen)
        for size in range(len(amounts) + 1)
        for chosen in itertools.combinations(amounts, size)
    }
    assert {total for total in range(-20, 40) if total in sums} == possible
    for low, high in itertools.combinations(range(-10, 25), 2):
        assert sums.between(low, high) == any(low <= total <= high for total in possible)


def test_the_sums_of_many_or_large_amounts_are_bounded_and_sound() -> None:
    sums = Sums().plus(BITS_MAX).plus(2 * BITS_MAX).plus(-BITS_MAX)
    assert all(factor * BITS_MAX in sums for factor in range(-1, 4))
    assert BITS_MAX // 2 not in sums
    assert 4 * BITS_MAX not in sums
    assert -2 * BITS_MAX not in sums
    assert sums.between(5, BITS_MAX)
    assert not sums.between(5, BITS_MAX - 1)
