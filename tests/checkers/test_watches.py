"""What a watch left out, told twice, too early or at last otherwise is found."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.checkers.history import History, Told, Watched, Written
from tests.checkers.ideal import EPOCH_MS, Ideal
from tests.checkers.tampering import everything, findings


def put(key: bytes, value: bytes, deadline_ms: int | None = None) -> Written:
    return Written("put", key, "SIBLINGS", value, deadline_ms=deadline_ms)


def watched() -> tuple[History, Watched]:
    """Two nodes: a batch and another write at one, a write that has seen them at the other."""
    ideal = Ideal(2)
    ideal.write("n2", put(b"old", b"0"))
    ideal.pull("n1", "n2")
    batch = ideal.write("n1", put(b"a", b"1"), put(b"b", b"2"))
    single = ideal.write("n1", put(b"a", b"3"))
    ideal.pull("n2", "n1")
    after = ideal.write("n2", put(b"b", b"4"))
    history = ideal.settle()
    watch = Watched(0, b"", {2: 1}, finished=True)
    for call in (batch, single, after):
        writes = [(w.key, dot) for w, dot in zip(call.writes, call.dots, strict=True)]
        states = tuple(ideal.look(key, call.vector) for key, _ in writes)
        watch.told.append(Told(call.node, 0.0, tuple(writes), states))
    old = ideal.look(b"old", {2: 1})
    watch.told.insert(0, Told("n1", 0.0, (), (old,)))
    history.watches.append(watch)
    return history, watch


def test_a_watch_that_was_told_all_is_right() -> None:
    history, _ = watched()
    assert everything(history) == []


@pytest.mark.parametrize("step", [1, 2])
def test_a_write_that_is_left_out_is_found_with_the_next_one_that_had_seen_it(step: int) -> None:
    history, watch = watched()
    del watch.told[step]
    (text, *_) = findings(history, "watches")
    assert "but not call" in text


def test_the_last_write_left_out_is_found_at_the_end_only() -> None:
    history, watch = watched()
    del watch.told[3]
    assert "came to an end without" in findings(history, "watches")[0]
    watch.finished = False
    assert findings(history, "watches") == []


def test_a_write_that_is_told_twice_or_was_there_is_found() -> None:
    history, watch = watched()
    watch.told.append(watch.told[2])
    assert "twice" in findings(history, "watches")[0]
    history, watch = watched()
    watch.told.append(Told("n1", 0.0, ((b"old", (2, 1)),), ()))
    assert "which was there" in findings(history, "watches")[0]


def test_half_a_batch_is_found() -> None:
    history, watch = watched()
    whole = watch.told[1]
    watch.told[1:2] = [
        replace(whole, writes=whole.writes[:1]),
        replace(whole, writes=whole.writes[1:]),
    ]
    assert len(findings(history, "watches")) == 1


def test_effects_before_their_cause_are_found() -> None:
    history, watch = watched()
    watch.told.append(watch.told.pop(2))
    assert "but not" in findings(history, "watches")[0]


def test_a_watch_of_a_prefix_is_told_of_no_other_keys() -> None:
    history, watch = watched()
    watch.prefix = b"a"
    for index, told in enumerate(watch.told):
        writes = tuple(write for write in told.writes if write[0] == b"a")
        states = tuple(seen for seen in told.states if seen.key == b"a")
        watch.told[index] = replace(told, writes=writes, states=states)
    assert findings(history, "watches") == []


def test_a_key_that_was_last_shown_otherwise_is_found_unless_it_expires() -> None:
    history, watch = watched()
    last = watch.told[3]
    (seen,) = last.states
    watch.told[3] = replace(last, states=(replace(seen, siblings={}),))
    assert "last, and the members show" in findings(history, "watches")[0]
    call = history.calls[3]
    expiring = replace(call.writes[0], deadline_ms=EPOCH_MS + 1_000_000)
    history.calls[3] = replace(call, writes=(expiring,))
    assert findings(history, "watches") == []
