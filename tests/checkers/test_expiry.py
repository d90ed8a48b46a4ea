"""Values with a deadline: the checkers know when they are to be shown and when not."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest

from tests.checkers.history import Seen, Type, Written
from tests.checkers.ideal import EPOCH_MS, Ideal
from tests.checkers.tampering import change, change_final, everything, findings, show
from tests.checkers.test_checkers import put


@pytest.mark.parametrize("kind", ["LWW", "SIBLINGS"])
def test_where_clocks_are_known_they_say_what_has_expired(kind: Type) -> None:
    """The node's own says what must be hidden, the most that any said what must be shown."""
    deadline = EPOCH_MS + 50
    ideal = Ideal(1)
    ideal.write("n1", put(b"k", b"a", kind, deadline))
    shown = ideal.read("n1", b"k")
    history = ideal.settle()
    history.finals.clear()
    for clock in ((deadline - 1, deadline - 1), (deadline - 1, deadline + 9e9)):
        shown = change(history, shown, clock=clock)
        assert everything(history) == []
    shown = change(history, shown, clock=(deadline + 1, deadline + 1))
    assert len(findings(history, "expiry")) == 1
    hidden = show(history, shown, Seen(b"k"))
    assert everything(history) == []
    hidden = change(history, hidden, clock=(deadline - 1, deadline + 1))
    assert everything(history) == []
    change(history, hidden, clock=(deadline - 2, deadline - 1))
    assert len(everything(history)) == 1


@pytest.mark.parametrize(("kind", "checker"), [("LWW", "registers"), ("SIBLINGS", "siblings")])
def test_a_deletion_that_found_the_value_expired_may_have_done_nothing(
    kind: Type, checker: str
) -> None:
    """Another node, whose clock is behind, may go on showing it."""
    deadline = EPOCH_MS + 50
    ideal = Ideal(1)
    ideal.write("n1", put(b"k", b"a", kind, deadline))
    before = ideal.read("n1", b"k")
    deletion = ideal.write("n1", Written("delete", b"k", kind))
    after = ideal.read("n1", b"k")
    history = ideal.settle()
    history.finals.clear()
    change(history, deletion, clock=(deadline - 9, deadline - 9))
    shown = change(history, after, seen=before.seen, clock=(deadline - 9, deadline - 9))
    assert len(findings(history, checker)) == 1
    change(history, history.calls[2], clock=(deadline + 1, deadline + 1))
    change(history, shown, clock=(deadline - 9, deadline + 1))
    assert findings(history, checker) == []


@pytest.mark.parametrize("mode", ["observed", "context"])
def test_a_put_that_found_the_value_expired_may_not_have_named_it(
    mode: Literal["observed", "context"],
) -> None:
    """It may have been collected there: another node, whose clock is behind, shows both."""
    deadline = EPOCH_MS + 50
    ideal = Ideal(1)
    first = ideal.write("n1", put(b"k", b"a", deadline_ms=deadline))
    before = ideal.read("n1", b"k")
    context = frozenset(first.dots) if mode == "context" else None
    second = ideal.write("n1", replace(put(b"k", b"b"), mode=mode, context=context))
    after = ideal.read("n1", b"k")
    history = ideal.settle()
    history.finals.clear()
    change(history, second, clock=(deadline - 9, deadline - 9))
    both = Seen(b"k", {**before.seen[0].siblings, **after.seen[0].siblings})
    shown = change(history, after, seen=(both,), clock=(deadline - 9, deadline - 9))
    assert len(findings(history, "siblings")) == 1
    change(history, history.calls[2], clock=(deadline + 1, deadline + 1))
    change(history, shown, clock=(deadline - 9, deadline + 1))
    assert findings(history, "siblings") == []


def test_a_value_past_its_deadline_must_be_hidden_and_before_it_must_not() -> None:
    for kind in ("SIBLINGS", "LWW"):
        ideal = Ideal(1)
        ideal.write("n1", put(b"k", b"a", kind, EPOCH_MS + 50))
        ideal.write("n1", put(b"j", b"b", kind, EPOCH_MS + 500))
        for _ in range(8):
            ideal.read("n1", b"k", b"j")
        early, late = ideal.history.calls[2], ideal.history.calls[-1]
        history = ideal.settle()
        assert everything(history) == []
        shown, hidden = early.seen[0], late.seen[0]
        assert shown != hidden == Seen(b"k")
        show(history, late, shown)
        (text,) = findings(history, "expiry")
        assert "past its deadline" in text
        show(history, history.calls[-1], hidden)
        show(history, early, Seen(b"k"))
        assert findings(history, "siblings" if kind == "SIBLINGS" else "registers")


def test_members_that_show_a_value_with_a_deadline_differently_may_be_equal() -> None:
    """Not one without."""
    for deadline, wrong in ((EPOCH_MS + 9_000, 0), (None, 1)):
        ideal = Ideal(2)
        ideal.write("n1", put(b"k", b"a", "SIBLINGS", deadline))
        history = ideal.settle()
        shown = history.finals[0].keys[b"k"]
        change_final(history, 0, keys={b"k": shown})
        change_final(history, 1, keys={})
        assert len(findings(history, "convergence")) == wrong
