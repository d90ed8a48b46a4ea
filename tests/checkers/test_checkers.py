"""Durability, batches, causality, sessions, expiry and convergence find what is wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.checkers.facts import Facts
from tests.checkers.history import Call, Fault, Seen, Type, Vector, Written
from tests.checkers.ideal import Ideal, Wanderer
from tests.checkers.judge import clean, judge, table
from tests.checkers.sessions import sessions
from tests.checkers.tampering import change, change_final, everything, findings, show, show_at_end


def put(
    key: bytes, value: bytes, kind: Type = "SIBLINGS", deadline_ms: int | None = None
) -> Written:
    return Written("put", key, kind, value, deadline_ms=deadline_ms)


# ---- durability


def written_once() -> tuple[Ideal, Call]:
    ideal = Ideal(2)
    call = ideal.write("n1", put(b"k", b"a"))
    return ideal, call


def test_an_acknowledged_write_that_no_vector_covers_at_the_end_is_lost() -> None:
    ideal, _ = written_once()
    history = ideal.settle()
    assert everything(history) == []
    change_final(history, 1, vector={})
    (text,) = findings(history, "durability")
    assert "acknowledged (fsync) by n1, is missing at n2" in text


def test_of_a_lost_disk_what_had_reached_nobody_may_be_missing() -> None:
    ideal = Ideal(2)
    for value in (b"a", b"b", b"c"):
        ideal.write("n1", put(b"k" + value, value))
    history = ideal.settle()
    for index in (0, 1):
        keys = {b"ka": history.finals[0].keys[b"ka"]}
        change_final(history, index, vector={1: 1}, keys=keys, digest="")
    assert len(findings(history, "durability")) == 2
    history.lost_origins[1] = 2
    (text,) = findings(history, "durability")
    assert "call 2" in text
    history.lost_origins[1] = 1
    assert everything(history) == []
    change(history, history.calls[2], durability="quorum")
    (text,) = findings(history, "durability")
    assert "call 3" in text


def test_a_number_of_members_outlives_fewer_lost_disks() -> None:
    ideal, call = written_once()
    history = ideal.settle()
    for index in (0, 1):
        change_final(history, index, vector={}, keys={}, digest="")
    history.lost_origins[1] = 0
    change(history, call, durability="2")
    history.faults.append(Fault("wipe", ("n1", "n2"), 0, 0))
    (text,) = findings(history, "durability")
    assert "acknowledged (2)" in text
    history.faults.append(Fault("forget", ("n2",), 0, 0))
    assert findings(history, "durability") == []


def test_what_only_a_retry_was_told_is_acknowledged_too() -> None:
    ideal = Ideal(2)
    ideal.write("n1", put(b"k", b"a"), request=b"r", outcome="unknown")
    history = ideal.settle()
    first = change(history, history.calls[0], dots=((1, 1),))
    for index in (0, 1):
        change_final(history, index, vector={}, keys={}, digest="")
    assert findings(history, "durability") == []
    history.calls.append(replace(first, number=2, outcome="ok", repeated=True))
    (text,) = findings(history, "durability")
    assert "is missing at n1, n2" in text


def test_one_dot_for_two_writes_is_found() -> None:
    ideal, call = written_once()
    other = ideal.write("n1", put(b"j", b"b"))
    history = ideal.settle()
    change(history, other, dots=call.dots)
    assert any("under one dot" in text for text in findings(history, "durability"))


def test_dots_that_are_not_in_a_row_are_found() -> None:
    ideal = Ideal(2)
    call = ideal.write("n1", put(b"k", b"a"), put(b"j", b"b"))
    history = ideal.settle()
    change(history, call, dots=((1, 1), (1, 3)))
    assert any("not in a row" in text for text in findings(history, "durability"))


def test_an_unknown_write_that_is_there_is_counted_as_recovered() -> None:
    ideal = Ideal(2)
    ideal.write("n1", put(b"k", b"a"), put(b"j", b"b"), outcome="unknown")
    ideal.write("n2", put(b"i", b"c"), outcome="unknown", happens=False)
    verdicts = {verdict.checker: verdict for verdict in judge(ideal.settle())}
    assert clean(verdicts.values())
    assert verdicts["durability"].recovered == 2
    assert verdicts["siblings"].recovered == 2


# ---- batches


@pytest.mark.parametrize("kind", ["SIBLINGS", "LWW"])
def test_half_a_batch_is_found_by_its_values(kind: Type) -> None:
    ideal = Ideal(2)
    ideal.write("n1", put(b"k", b"a", kind), put(b"j", b"b", kind))
    read = ideal.read("n1", b"k", b"j")
    history = ideal.settle()
    assert everything(history) == []
    show(history, read, Seen(b"j"))
    (text,) = findings(history, "batches")
    assert "but not call 1 (put b'j' b'b' as 1:2)" in text


def test_a_batch_of_which_a_value_was_replaced_is_whole() -> None:
    for kind in ("SIBLINGS", "LWW"):
        ideal = Ideal(2)
        ideal.write("n1", put(b"k", b"a", kind), put(b"j", b"b", kind))
        ideal.write("n1", put(b"j", b"c", kind))
        ideal.read("n1", b"k", b"j")
        assert everything(ideal.settle()) == []


def test_a_vector_that_ends_within_a_batch_is_found() -> None:
    ideal = Ideal(2)
    ideal.write("n1", put(b"k", b"a"), put(b"j", b"b"))
    read = ideal.read("n1", b"k")
    history = ideal.settle()
    change(history, read, vector={1: 1})
    (text,) = findings(history, "batches")
    assert "only half of the batch" in text


# ---- causality


def chain() -> tuple[Ideal, Call]:
    """n2 writes after it has seen n1's write; n3 reads both."""
    ideal = Ideal(3)
    ideal.write("n1", put(b"cause", b"a"))
    ideal.pull("n2", "n1")
    ideal.write("n2", put(b"effect", b"b"))
    ideal.pull("n3", "n2")
    return ideal, ideal.read("n3", b"effect", b"cause")


@pytest.mark.parametrize("before", [True, False])
def test_an_effect_without_its_cause_is_found(*, before: bool) -> None:
    ideal, read = chain()
    history = ideal.settle()
    assert everything(history) == []
    if not before:  # that the session had seen the cause is known from its token then
        change(history, history.calls[1], before=None, token={1: 1})
    look = Seen(b"effect", {(2, 1): b"b"})
    change(history, read, vector={2: 1}, seen=(look, Seen(b"cause")))
    (text,) = findings(history, "causality")
    assert "but not 1:1, which its writer had seen" in text


def test_what_an_origin_acknowledged_before_counts_as_seen() -> None:
    ideal = Ideal(2)
    ideal.write("n1", put(b"cause", b"a"))
    ideal.pull("n2", "n1")
    ideal.write("n2", put(b"other", b"o"))
    effect = ideal.write("n2", put(b"effect", b"b"))
    read = ideal.read("n1", b"effect")
    history = ideal.settle()
    for call in (history.calls[1], effect):
        change(history, call, before=None)
    assert everything(history) == []
    change(history, read, vector={2: 2})
    assert findings(history, "causality")


def test_a_vector_that_moves_back_is_found_unless_the_node_was_made_to_start_over() -> None:
    ideal, _ = chain()
    late = ideal.read("n3", b"cause")
    history = ideal.settle()
    change(history, late, vector={1: 1})
    (text,) = findings(history, "causality")
    assert "which n3 had shown before" in text
    history.faults.append(Fault("kill", ("n3",), 36.0, 37.0))
    assert findings(history, "causality")
    history.faults.append(Fault("resync", ("n3",), 36.0, 37.0))
    assert not findings(history, "causality")


@pytest.mark.parametrize("kind", ["join", "wipe"])
def test_a_newcomer_that_answers_before_it_has_what_the_members_had_is_found(kind: str) -> None:
    ideal = Ideal(3)
    ideal.write("n1", put(b"k", b"a"))
    ideal.history.faults.append(Fault(kind, ("n3", "n1"), 16.0, None))
    ideal.write("n3", put(b"j", b"b"))
    history = ideal.settle()
    (text,) = findings(history, "causality")
    assert "came in at 16 ms and answered without 1:1" in text
    history.faults.append(Fault("forget", ("n1",), 30.0, None))
    assert not findings(history, "causality")


def test_a_newcomer_need_not_have_what_was_written_after_it_came() -> None:
    ideal = Ideal(3)
    ideal.history.faults.append(Fault("join", ("n3", "n1"), 5.0, None))
    ideal.write("n1", put(b"k", b"a"))
    ideal.read("n3", b"k")
    assert everything(ideal.settle()) == []


# ---- sessions


def roam(token: bool) -> Ideal:  # noqa: FBT001
    """One client writes at one node and goes on at another, which lags."""
    ideal = Ideal(2)
    told = ideal.write("n1", put(b"k", b"a"), token={} if token else None).vector
    ideal.read("n2", b"k", token=told if token else None)
    return ideal


def test_a_read_that_lacks_the_own_write_is_found_if_it_brought_a_token() -> None:
    (text,) = findings(roam(token=True).settle(), "sessions")
    assert text.startswith("read your writes: call 2 of client 0 was answered by n2")
    assert not findings(roam(token=False).settle(), "sessions")


def test_the_four_guarantees_are_told_apart() -> None:
    for first, then, name in (
        ("write", "read", "read your writes"),
        ("read", "read", "monotonic reads"),
        ("write", "write", "monotonic writes"),
        ("read", "write", "writes follow reads"),
    ):
        ideal = Ideal(2)
        ideal.write("n1", put(b"k", b"a"), client=7)
        if first == "write":
            told = ideal.write("n1", put(b"k", b"b"), token={}).vector
        else:
            told = ideal.read("n1", b"k", token={}).vector
        if then == "write":
            ideal.write("n2", put(b"k", b"c"), token=told)
        else:
            ideal.read("n2", b"k", token=told)
        (text,) = findings(ideal.settle(), "sessions")
        assert text.startswith(f"{name}: call 3")


def test_a_token_that_lacks_the_sessions_own_writes_is_found() -> None:
    ideal = Ideal(2)
    ideal.write("n1", put(b"k", b"a"), token={})
    ideal.read("n1", b"k", token={})
    (text,) = findings(ideal.settle(), "sessions")
    assert "which lacks its own writes" in text


def test_without_tokens_the_guarantees_do_not_hold_and_the_strict_variant_says_so() -> None:
    history = roam(token=False).settle()
    assert everything(history) == []
    assert sessions(Facts(history), every=True).lost == 1


# ---- expiry


def test_a_token_may_name_what_was_lost_with_a_disk() -> None:
    ideal = Ideal(2)
    ideal.read("n1", b"k", client=1, token={2: 3})
    history = ideal.settle()
    assert len(findings(history, "sessions")) == 1
    history.lost_origins[2] = 0
    assert findings(history, "sessions") == []
    history.lost_origins[2] = 1
    assert len(findings(history, "sessions")) == 1
    history.reissued = frozenset({2})
    assert findings(history, "sessions") == []


def test_of_a_dot_that_two_branches_wrote_it_is_not_known_what_came_before() -> None:
    """The node may tell of the other block (seed 205066)."""
    ideal = Ideal(2)
    ideal.write("n2", put(b"j", b"b"), client=1)
    ideal.pull("n1", "n2")
    ideal.write("n1", put(b"k", b"a"), client=1, token={2: 1})
    history = ideal.settle()
    change(history, history.calls[1], before={})
    assert len(findings(history, "sessions")) == 1
    history.reissued = frozenset({1})
    assert findings(history, "sessions") == []


# ---- convergence


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"vector": {}}, "ended at"),
        ({"digest": "other"}, "have equal vectors, and the digests"),
        ({"keys": {b"k": Seen(b"k", {(1, 1): b"x"})}}, "show the key b'k' differently"),
    ],
)
def test_ends_that_differ_are_found(changes: dict[str, object], why: str) -> None:
    ideal, _ = written_once()
    history = ideal.settle()
    change_final(history, 1, **changes)
    (text,) = findings(history, "convergence")
    assert why in text


# ---- all of them


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("inside", [True, False])
def test_right_histories_are_clean(seed: int, *, inside: bool) -> None:
    """Whether the driver can look into the nodes or not."""
    history = Wanderer(seed, nodes=2 + seed % 4).run(300)
    if not inside:
        for call in list(history.calls):
            if call.before is not None:
                change(history, call, before=None)
    verdicts = judge(history, skew_ms=10)
    assert clean(verdicts), table(verdicts)


@pytest.mark.parametrize("seed", range(3))
def test_any_value_that_is_hidden_or_made_up_in_a_read_is_found(seed: int) -> None:
    """One at a time, in every read of a random history; deadlines aside, all are needed."""
    wanderer = Wanderer(seed)
    wanderer.lossless = True
    history = wanderer.run(80)
    tampered = 0
    for index, call in enumerate(history.calls):
        for seen in call.seen:
            for wrong in _wrong(seen):
                show(history, call, wrong)
                assert everything(history), f"call {call.number}: {seen} as {wrong}"
                history.calls[index] = call
                tampered += 1
    assert tampered > 50


def _wrong(seen: Seen) -> list[Seen]:
    out = [
        Seen(seen.key, {d: v for d, v in seen.siblings.items() if d != dot}, seen.lww)
        for dot in seen.siblings
    ]
    out += [
        Seen(seen.key, counters={kind: value + by})
        for kind, value in seen.counters.items()
        for by in (-1, 1)
    ]
    if seen.siblings or seen.lww:
        out.append(Seen(seen.key, {**seen.siblings, (1, 10_000): b"v1"}, seen.lww))
    return out


def test_the_table_shows_counts_and_the_first_findings() -> None:
    ideal = Ideal(1)
    for number in range(30):
        ideal.write("n1", put(b"k%d" % number, b"v%d" % number))
    history = ideal.settle()
    change_final(history, 0, keys={})
    lines = table(judge(history)).splitlines()
    assert lines[0].split() == ["checker", "ok", "lost", "unexpected", "recovered"]
    assert ["siblings", "0", "30", "0", "0"] in [line.split() for line in lines]
    assert lines[-1] == "siblings: and 10 more"


def test_a_history_without_vectors_is_judged_by_its_values_alone() -> None:
    ideal, _ = written_once()
    read = ideal.read("n1", b"k")
    history = ideal.settle()
    none: Vector = {}
    change(history, read, vector=none, seen=(Seen(b"k"),))
    assert everything(history) == []
    show(history, history.calls[1], Seen(b"k", {(1, 1): b"never"}))
    show_at_end(history, Seen(b"k", {(1, 1): b"a"}))
    assert everything(history)
