"""The register checker knows who can win."""

from __future__ import annotations

from tests.checkers.history import Call, Seen, Written
from tests.checkers.ideal import Ideal
from tests.checkers.tampering import change, change_final, everything, findings, show, show_at_end

KEY = b"k"


def put(value: bytes, read: Call | None = None) -> Written:
    if read is None:
        return Written("put", KEY, "LWW", value)
    return Written("put", KEY, "LWW", value, mode="context", seen=read.vector)


def delete(read: Call | None = None) -> Written:
    if read is None:
        return Written("delete", KEY, "LWW")
    return Written("delete", KEY, "LWW", mode="context", seen=read.vector)


def wins(origin: int, seq: int, value: bytes) -> Seen:
    return Seen(KEY, lww=((origin, seq), value))


def concurrent() -> Ideal:
    """n2's value wins."""
    ideal = Ideal(2)
    ideal.write("n1", put(b"a"))
    ideal.write("n2", put(b"b"))
    return ideal


def test_of_concurrent_values_either_can_win_but_everywhere_the_same() -> None:
    history = concurrent().settle()
    assert everything(history) == []
    show_at_end(history, wins(1, 1, b"a"))
    assert not findings(history, "registers")
    change_final(history, 0, keys={KEY: wins(2, 1, b"b")})
    assert findings(history, "registers")
    assert findings(history, "convergence")


def test_the_winner_does_not_change_while_nobody_writes() -> None:
    ideal = concurrent()
    ideal.pull("n1", "n2")
    read = ideal.read("n1", KEY)
    ideal.write("n1", Written("put", b"other", "LWW", b"x"))
    history = ideal.settle()
    show(history, read, wins(1, 1, b"a"))
    (text,) = findings(history, "registers")
    assert "has it the other way round" in text


def test_who_has_seen_a_value_beats_it() -> None:
    ideal = concurrent()
    ideal.pull("n1", "n2")
    ideal.write("n1", put(b"c"))
    history = ideal.settle()
    assert everything(history) == []
    show_at_end(history, wins(2, 1, b"b"))
    (text,) = findings(history, "registers")
    assert "had seen and overwritten it" in text


def test_who_has_read_a_value_beats_it_also_where_it_has_not_arrived() -> None:
    ideal = concurrent()
    read = ideal.read("n2", KEY)
    ideal.write("n1", put(b"c", read))
    history = ideal.settle()
    assert everything(history) == []
    show_at_end(history, wins(2, 1, b"b"))
    assert findings(history, "registers")


def test_a_register_must_not_be_empty_unless_somebody_deleted_it() -> None:
    history = concurrent().settle()
    show_at_end(history, Seen(KEY))
    (text,) = findings(history, "registers")
    assert "shows no register" in text


def test_a_deletion_beats_what_it_saw_and_may_lose_to_what_it_did_not() -> None:
    ideal = concurrent()
    ideal.write("n1", delete())
    history = ideal.settle()
    assert everything(history) == []
    show_at_end(history, Seen(KEY))
    assert not findings(history, "registers")
    show_at_end(history, wins(1, 1, b"a"))
    assert findings(history, "registers")


def test_a_deletion_by_context_leaves_a_newer_value() -> None:
    ideal = Ideal(2)
    ideal.write("n1", put(b"a"))
    read = ideal.read("n1", KEY)
    ideal.write("n1", put(b"b"))
    ideal.write("n1", delete(read))
    history = ideal.settle()
    assert everything(history) == []
    show_at_end(history, wins(1, 1, b"a"))
    assert findings(history, "registers")


def test_a_deletion_by_context_takes_what_its_reader_saw() -> None:
    ideal = Ideal(2)
    ideal.write("n1", put(b"a"))
    read = ideal.read("n1", KEY)
    ideal.write("n1", delete(read))
    history = ideal.settle()
    assert everything(history) == []
    show_at_end(history, wins(1, 1, b"a"))
    assert findings(history, "registers")


def test_an_unknown_write_may_have_won() -> None:
    for happens in (True, False):
        ideal = concurrent()
        ideal.write("n2", put(b"c"), outcome="unknown", happens=happens)
        history = ideal.settle()
        assert everything(history) == []
        show_at_end(history, wins(2, 7, b"never"))
        assert findings(history, "registers")


def test_a_refused_value_never_wins() -> None:
    ideal = concurrent()
    call = ideal.write("n2", put(b"c"))
    history = ideal.settle()
    change(history, call, outcome="refused", dots=(), vector={}, before=None)
    assert any("was refused" in text for text in findings(history, "registers"))


def test_what_lost_against_a_concurrent_write_is_journalled() -> None:
    history = concurrent().settle()
    for index in (0, 1):
        change_final(history, index, journal=frozenset())
    (text,) = findings(history, "registers")
    assert "b'a'" in text
    assert "is in no journal" in text
    change_final(history, 0, journal=frozenset({(1, 1)}))
    assert not findings(history, "registers")


def test_what_was_overwritten_knowingly_needs_no_journal() -> None:
    ideal = Ideal(2)
    ideal.write("n1", put(b"a"))
    ideal.pull("n2", "n1")
    ideal.write("n2", put(b"b"))
    history = ideal.settle()
    for index in (0, 1):
        change_final(history, index, journal=frozenset())
    assert everything(history) == []
