"""The chaos script's own arithmetic: it finds what is lost, doubled, half done or back again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cluster.ledger import Batch, Fate, Ledger, Verdict
from kvnode import DataType, Delete, Dot, Increment, KeyState, Operation, Put, StoredValue

A, B = 0xA, 0xB
States = dict[str, KeyState]


def stored(value: str) -> StoredValue:
    return StoredValue(value.encode(), Dot(A, 1), 0, "a")


def siblings(key: str, *values: str) -> KeyState:
    return KeyState(key.encode(), b"", siblings=tuple(map(stored, values)))


def batch(number: int, *operations: Operation, origin: int = A, fate: Fate | None = None) -> Batch:
    marker = f"batch/a/{number}"
    whole = [Put(marker, f"a {number}", blind=True), *operations]
    if fate is Fate.UNKNOWN:
        return Batch(marker, "a", whole, fate)
    return Batch(marker, "a", whole, Fate.ACKNOWLEDGED, (origin, 10 * number))


def written() -> Ledger:
    """Two batches of a, one of b without a reply, and one of a that only its disk had."""
    ledger = Ledger()
    ledger.add(
        batch(
            1,
            Increment("balance", 5, DataType.PN_COUNTER),
            Put("kept", "v", lww=True),
            Put("note", "mine", blind=True),
            Put("note", "yours", blind=True),
            Increment("trash", 1, DataType.G_COUNTER),
        )
    )
    resolving = batch(2, Put("note", "both", context=b"c"), Delete("trash"))
    ledger.add(replace(resolving, replaced=[b"mine", b"yours"]))
    ledger.add(batch(3, Increment("balance", 100, DataType.PN_COUNTER), fate=Fate.UNKNOWN))
    ledger.add(batch(4, Increment("balance", 1_000, DataType.PN_COUNTER), origin=B))
    return ledger


def held() -> States:
    return {
        "batch/a/1": siblings("batch/a/1", "a 1"),
        "batch/a/2": siblings("batch/a/2", "a 2"),
        "balance": KeyState(b"balance", b"", pn_counter=5),
        "kept": KeyState(b"kept", b"", register=stored("v")),
        "note": siblings("note", "both"),
    }


VECTOR = {A: 20, B: 39}


def verdict_of(states: States, *, destroyed: bool = True, other: States | None = None) -> Verdict:
    ledger = written()
    if destroyed:
        ledger.destroyed.add(B)
    return ledger.compare({"a": states, "b": states if other is None else other}, VECTOR)


def test_what_was_written_has_no_problem_and_the_wiped_disk_s_writes_are_counted() -> None:
    verdict = verdict_of(held())
    assert verdict.problems == []
    assert (verdict.acknowledged, verdict.lost, verdict.deleted) == (3, 2, 1)
    assert (verdict.unknown_done, verdict.unknown_not_done) == (0, 1)


def test_a_batch_without_reply_that_happened_counts_in_full() -> None:
    states = held() | {"batch/a/3": siblings("batch/a/3", "a 3")}
    (problem,) = verdict_of(states).problems
    assert problem == "counter balance: expected exactly 105, found 5"
    states["balance"] = KeyState(b"balance", b"", pn_counter=105)
    assert verdict_of(states).problems == []


def test_a_lost_write_is_a_problem_unless_its_disk_was_destroyed() -> None:
    (problem,) = verdict_of(held(), destroyed=False).problems
    assert "batch/a/4" in problem
    assert problem.endswith("is lost")


@pytest.mark.parametrize(
    ("key", "state", "complaint"),
    [
        ("batch/a/2", None, "is not there, but the nodes have that origin up to 20"),
        ("batch/a/4", siblings("batch/a/4", "a 4"), "is there, but the nodes have that origin"),
        ("balance", KeyState(b"balance", b"", pn_counter=10), "expected exactly 5, found 10"),
        ("balance", None, "expected exactly 5, found None"),
        ("kept", None, "register kept: expected one of b'v', found None"),
        ("note", siblings("note", "both", "mine"), "missing none, too many b'mine'"),
        ("note", siblings("note", "mine"), "missing b'both', too many b'mine'"),
        ("trash", KeyState(b"trash", b"", g_counter=1), "trash was deleted and is back: (1,)"),
        ("spectre", siblings("spectre", "boo"), "spectre was never written: (b'boo',)"),
    ],
)
def test_what_should_not_be_is_named(key: str, state: KeyState | None, complaint: str) -> None:
    states = held()
    if state is None:
        del states[key]
    else:
        states[key] = state
    assert any(complaint in problem for problem in verdict_of(states).problems)


def test_nodes_that_differ_are_named() -> None:
    other = held() | {"kept": KeyState(b"kept", b"", register=stored("w"))}
    assert verdict_of(held(), other=other).problems == ["kept at a is not kept at b"]


def test_the_writes_that_only_one_disk_has_are_counted_by_their_dots() -> None:
    ledger = written()
    assert ledger.last_seq(A) == 20
    assert ledger.operations_above(A, 10) == 3
    assert ledger.operations_above(B, 40) == 0
