"""What is known of a write: its dots, also of those whose caller was not told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.checkers.facts import Facts, covers, join, meet
from tests.checkers.history import Seen, Written
from tests.checkers.ideal import Ideal
from tests.checkers.tampering import change, everything, findings, show_at_end


def put(key: bytes, value: bytes) -> Written:
    return Written("put", key, "SIBLINGS", value)


def test_the_dot_of_an_unanswered_write_is_learned_from_what_is_shown() -> None:
    ideal = Ideal(2)
    call = ideal.write("n1", put(b"j", b"a"), put(b"k", b"b"), outcome="unknown")
    ideal.read("n1", b"k")
    facts = Facts(ideal.settle())
    assert {dot: effect.written.value for dot, effect in facts.by_dot.items()} == {
        (1, 1): b"a",
        (1, 2): b"b",
    }
    assert not facts.story((b"j", "SIBLINGS")).loose
    assert facts.by_dot[(1, 1)].call is call


def test_an_unanswered_write_that_nobody_saw_stays_loose() -> None:
    ideal = Ideal(2)
    ideal.write("n1", put(b"k", b"a"), outcome="unknown", happens=False)
    facts = Facts(ideal.settle())
    assert not facts.by_dot
    assert len(facts.story((b"k", "SIBLINGS")).loose) == 1


def test_a_retry_elsewhere_may_store_a_value_twice() -> None:
    """The second node cannot know of the first one's write: a value under two dots, not lost."""
    ideal = Ideal(2)
    ideal.write("n1", put(b"k", b"a"), outcome="unknown", request=b"r")
    ideal.write("n2", put(b"k", b"a"), request=b"r")
    history = ideal.settle()
    assert len(history.finals[0].keys[b"k"].siblings) == 2
    assert everything(history) == []
    change(history, history.calls[0], dots=((1, 1),), before={})
    assert everything(history) == []
    show_at_end(history, Seen(b"k", {(1, 1): b"a"}))
    assert findings(history, "siblings")


def test_a_retry_at_the_same_node_must_not() -> None:
    ideal = Ideal(2)
    ideal.write("n1", put(b"k", b"a"), request=b"r")
    ideal.write("n1", put(b"k", b"a"), request=b"r")
    assert any("more than once" in text for text in findings(ideal.settle(), "durability"))


def test_what_a_lost_branch_wrote_is_found_under_its_new_dots() -> None:
    ideal = Ideal(2)
    call = ideal.write("n1", put(b"k", b"a"))
    history = ideal.settle()
    change(history, call, dots=((7, 1),), vector={7: 1}, before={})
    assert findings(history, "siblings")
    assert findings(history, "durability")
    history.reissued = frozenset({7})
    assert everything(history) == []


@pytest.mark.parametrize("known", [True, False])
def test_bounds_of_what_a_writer_had_seen(*, known: bool) -> None:
    ideal = Ideal(2)
    ideal.write("n2", put(b"k", b"a"))
    ideal.pull("n1", "n2")
    ideal.write("n1", put(b"j", b"b"))
    ideal.write("n2", put(b"k", b"c"))
    last = ideal.write("n1", put(b"j", b"d"), token={2: 2})
    history = ideal.settle()
    if not known:
        history.calls = [replace(call, before=None) for call in history.calls]
    effect = Facts(history).by_dot[last.dots[0]]
    assert effect.surely_saw(1, 1)
    assert effect.surely_saw(2, 1)
    assert not effect.maybe_saw(1, 2)
    assert effect.surely_saw(2, 2) is not known  # only the token says so, wrongly
    assert not effect.maybe_saw(2, 3)


def test_vectors_join_and_meet() -> None:
    a, b = {1: 3, 2: 1}, {2: 4, 3: 1}
    assert join(a, b) == {1: 3, 2: 4, 3: 1}
    assert meet(a, b) == {2: 1}
    assert meet(None, b) == b
    assert covers(join(a, b), a)
    assert not covers(a, b)
