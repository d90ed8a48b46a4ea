"""The siblings oracle lets right histories pass and finds what is wrong."""

from __future__ import annotations

import pytest

from tests.checkers.history import Call, Fault, Seen, Vector, Written
from tests.checkers.ideal import Ideal
from tests.checkers.tampering import change, everything, findings, show, show_at_end

KEY = b"k"


def put(value: bytes, call: Call | None = None, *, blind: bool = False) -> Written:
    """A put; with the context of what a read saw, if one is given."""
    if call is None:
        return Written("put", KEY, "SIBLINGS", value, mode="blind" if blind else "observed")
    return Written(
        "put", KEY, "SIBLINGS", value, mode="context", context=frozenset(call.seen[0].siblings)
    )


def delete() -> Written:
    return Written("delete", KEY, "SIBLINGS")


def concurrent() -> Ideal:
    """Two values from two nodes, both at both."""
    ideal = Ideal(2)
    ideal.write("n1", put(b"a"))
    ideal.write("n2", put(b"b"))
    ideal.pull("n1", "n2")
    ideal.pull("n2", "n1")
    return ideal


def test_concurrent_values_stay_until_one_who_saw_both_writes() -> None:
    ideal = concurrent()
    assert len(ideal.read("n1", KEY).seen[0].siblings) == 2
    ideal.write("n1", put(b"c"))
    assert list(ideal.read("n1", KEY).seen[0].siblings.values()) == [b"c"]
    assert everything(ideal.settle()) == []


def test_a_value_that_nobody_had_seen_must_not_be_missing() -> None:
    ideal = concurrent()
    read = ideal.read("n1", KEY)
    history = ideal.settle()
    show(history, read, Seen(KEY, {(1, 1): b"a"}))
    missing, back = findings(history, "siblings")
    assert "call 2 (put b'k' b'b' as 2:1) is not shown by call 3 at n1" in missing
    assert "shown by the end at n1" in back
    assert "it was gone before" in back


def test_a_value_may_be_shown_before_the_retry_that_was_answered_with_its_outcome() -> None:
    """It happened with the first attempt, whose reply was lost."""
    ideal = Ideal(2)
    ideal.write("n1", put(b"a"), outcome="unknown", request=b"r")
    ideal.read("n1", KEY)
    again = ideal.write("n1", put(b"a"), outcome="unknown", happens=False, request=b"r")
    history = ideal.settle()
    change(history, again, outcome="ok", dots=((1, 1),), repeated=True, vector={1: 1})
    assert everything(history) == []


def test_unread_dots_are_no_part_of_an_explicit_context() -> None:
    """The slip that passes every law: the put removes a sibling that its reader never saw."""
    ideal = Ideal(2)
    ideal.write("n1", put(b"a"))
    read = ideal.read("n1", KEY)
    ideal.write("n2", put(b"b"))
    ideal.pull("n1", "n2")
    ideal.write("n1", put(b"c", read))
    history = ideal.settle()
    assert everything(history) == []
    show_at_end(history, Seen(KEY, {(1, 2): b"c"}))
    (text,) = findings(history, "siblings")
    assert "b'b'" in text


def test_a_blind_put_replaces_nothing() -> None:
    ideal = Ideal(2)
    ideal.write("n1", put(b"a"))
    ideal.write("n1", put(b"b", blind=True))
    history = ideal.settle()
    assert everything(history) == []
    show_at_end(history, Seen(KEY, {(1, 2): b"b"}))
    assert findings(history, "siblings")


@pytest.mark.parametrize("remover", [delete(), put(b"b")])
def test_what_was_deleted_or_replaced_does_not_come_back(remover: Written) -> None:
    ideal = Ideal(2)
    ideal.write("n1", put(b"a"))
    ideal.pull("n2", "n1")
    ideal.write("n2", remover)
    read = ideal.read("n2", KEY)
    history = ideal.settle()
    assert everything(history) == []
    show(history, read, Seen(KEY, {**read.seen[0].siblings, (1, 1): b"a"}))
    (text,) = findings(history, "siblings")
    assert "had seen and replaced it" in text


def test_what_a_context_names_is_gone_where_it_arrives_later() -> None:
    """The replacing write reaches a node before the replaced one, which it must remember."""
    ideal = Ideal(3)
    ideal.write("n1", put(b"a"))
    read = ideal.read("n1", KEY)
    ideal.write("n2", put(b"b", read))
    early = ideal.read("n2", KEY)
    ideal.pull("n2", "n1")
    late = ideal.read("n2", KEY)
    assert early.seen == late.seen
    history = ideal.settle()
    assert everything(history) == []
    show(history, late, Seen(KEY, {(1, 1): b"a", (2, 1): b"b"}))
    assert findings(history, "siblings")


def test_a_write_without_an_answer_may_be_there_or_not() -> None:
    for happens in (True, False):
        ideal = concurrent()
        ideal.write("n1", put(b"c"), outcome="unknown", happens=happens)
        ideal.read("n1", KEY)
        ideal.read("n2", KEY)
        history = ideal.settle()
        assert everything(history) == []
        history.settled = True  # the driver knows of none that happened
        assert bool(everything(history)) is happens


def test_what_a_write_without_an_answer_took_away_stays_away() -> None:
    ideal = concurrent()
    ideal.write("n1", delete(), outcome="unknown")
    gone = ideal.read("n1", KEY)
    later = ideal.read("n1", KEY)
    history = ideal.settle()
    assert not gone.seen[0].siblings
    assert everything(history) == []
    show(history, later, Seen(KEY, {(1, 1): b"a"}))
    # of the two reads at one vector either can be the first
    assert findings(history, "siblings")


def test_a_refused_write_must_not_be_there() -> None:
    ideal = Ideal(2)
    ideal.write("n1", put(b"a"))
    call = ideal.write("n1", put(b"b"))
    history = ideal.settle()
    change(history, call, outcome="refused", dots=(), vector={}, before=None)
    assert any("was refused" in text for text in findings(history, "siblings"))


@pytest.mark.parametrize(
    ("shown", "why"),
    [
        ({(1, 1): b"never"}, "nobody wrote it"),
        ({(1, 2): b"a"}, "wrote it as 1:1"),
        ({(1, 1): b"late"}, "nobody wrote it"),
    ],
)
def test_nothing_is_shown_that_nobody_wrote(shown: dict[tuple[int, int], bytes], why: str) -> None:
    ideal = Ideal(2)
    ideal.write("n1", put(b"a"))
    read = ideal.read("n1", KEY)
    history = ideal.settle()
    show(history, read, Seen(KEY, shown))
    assert any(why in text for text in findings(history, "siblings"))


def test_nothing_is_shown_before_it_was_written_or_before_the_vector_covers_it() -> None:
    ideal = Ideal(2)
    early = ideal.read("n2", KEY)
    ideal.write("n1", put(b"a"))
    read = ideal.read("n2", KEY)
    history = ideal.settle()
    show(history, read, Seen(KEY, {(1, 1): b"a"}))
    show(history, early, Seen(KEY, {(1, 1): b"a"}))
    texts = findings(history, "siblings")
    assert any("had started" in text for text in texts)
    change(history, history.calls[0], seen=(Seen(KEY),), vector={2: 1})
    change(history, history.calls[2], vector={2: 1})
    assert any("does not cover" in text for text in findings(history, "siblings"))


@pytest.mark.parametrize("before", [True, False])
def test_what_the_node_had_applied_bounds_what_a_put_replaces(*, before: bool) -> None:
    """Unknown, what came in with the acknowledgement may be replaced; known, it must not."""
    ideal = concurrent()
    call = ideal.write("n1", put(b"c"))
    history = ideal.settle()
    had: Vector | None = {1: 1} if before else None
    history.calls = [history.calls[0], history.calls[1], call]
    change(history, call, before=had, vector={1: 2, 2: 1})
    assert bool(findings(history, "siblings")) is before
    show_at_end(history, Seen(KEY, {(1, 2): b"c", (2, 1): b"b"}))
    assert not findings(history, "siblings")


def test_buffered_writes_may_be_missing_after_a_kill_only() -> None:
    ideal = Ideal(2)
    call = ideal.write("n1", put(b"a"))
    history = ideal.settle()
    show_at_end(history, Seen(KEY))
    change(history, call, durability="buffered")
    assert findings(history, "siblings")
    history.faults.append(Fault("kill", ("n1",), 12.0, 13.0))
    assert not findings(history, "siblings")


def test_what_was_made_again_may_leave_a_value_of_the_lost_history_beside() -> None:
    """It cannot know whose value its context meant by a number of two histories (seed 800403)."""
    ideal = Ideal(2)
    ideal.write("n1", put(b"a"))
    read = ideal.read("n1", KEY)
    ideal.pull("n2", "n1")
    ideal.write("n2", put(b"c", read), outcome="unknown")
    last = ideal.read("n2", KEY)
    history = ideal.settle()
    show(history, last, Seen(KEY, {(1, 1): b"a", (2, 1): b"c"}))
    (back,) = findings(history, "siblings")
    assert "had seen and replaced it" in back
    history.reissued = frozenset({1})
    assert findings(history, "siblings") == []
    change(history, history.calls[2], outcome="ok", dots=((2, 1),), vector={1: 1, 2: 1})
    assert len(findings(history, "siblings")) == 1, "under its own number it knew"
