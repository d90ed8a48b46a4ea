"""Which dots are stable, and that what is collected then never meets a late write."""

from __future__ import annotations

from kvnode.core.dots import Covered
from kvnode.core.entry import collect_entry, garbage_dots, live_entry, merge_entries
from kvnode.core.operations import Delete, Increment, Put
from kvnode.core.stability import Stability
from kvnode.core.types import LWW_REGISTER, PN_COUNTER
from kvnode.core.types.slots import value as counter_value
from tests.core.memory_node import WALL_MS, MemoryNode, converge

A, B, C = 1, 2, 3


def three() -> tuple[MemoryNode, MemoryNode, MemoryNode]:
    return MemoryNode(A), MemoryNode(B), MemoryNode(C)


def collect(node: MemoryNode) -> None:
    """As the node itself would, all three being members."""
    node.collect(node.stability.stable(node.vector, {A, B, C} - {node.origin}))


def hear_all(*nodes: MemoryNode) -> None:
    for node in nodes:
        for other in nodes:
            if other is not node:
                node.hear(other)


def test_stable_is_the_least_of_all_usable_reports() -> None:
    stability = Stability({})
    own = {A: 9, B: 4, C: 2}
    stability.learn(B, {A: 7, B: 4, C: 1}, own)
    assert stability.stable(own, [B, C]) == {}, "C has not reported"
    stability.learn(C, {A: 8, C: 2}, own)
    assert stability.stable(own, [B, C]) == {A: 7, C: 1}
    assert stability.stable(own, [B]) == {A: 7, B: 4, C: 1}
    assert stability.stable(own, []) == own, "alone, all of it is"
    assert stability.stable(own, None) == {}, "who counts is not known"


def test_a_report_is_usable_only_when_all_its_member_had_issued_is_here() -> None:
    stability = Stability({})
    stability.learn(B, {A: 5, B: 3}, {A: 5, B: 2})
    assert stability.stable({A: 5, B: 2}, [B]) == {}
    assert stability.reports == {}
    assert stability.acknowledged([B]) == {A: 5, B: 3}, "the log may go by it all the same"
    assert stability.stable({A: 5, B: 3}, [B]) == {A: 5, B: 3}


def test_a_member_that_never_stops_writing_does_not_stop_stability() -> None:
    """Its last report is always ahead of what is here; one of those before is not."""
    stability = Stability({})
    for seq in range(1, 50):
        own = {A: seq, B: seq}
        stability.learn(B, {A: seq, B: seq + 3}, own)
    assert stability.stable(own, [B])[A] >= 40


def test_reports_that_cross_do_not_go_back() -> None:
    stability = Stability({})
    own = {A: 9, B: 9}
    stability.learn(B, {A: 5, B: 2}, own)
    stability.learn(B, {A: 4, B: 1}, own)
    assert stability.last(B) == {A: 5, B: 2}
    assert stability.stable(own, [B]) == {A: 5, B: 2}


def test_what_is_acknowledged_is_the_least_of_the_last_reports() -> None:
    stability = Stability({})
    stability.learn(B, {A: 5, B: 9}, {})
    stability.learn(C, {A: 6, B: 8, C: 1}, {})
    assert stability.acknowledged([B, C]) == {A: 5, B: 8}
    assert stability.acknowledged(None) == {}


def test_usable_reports_survive_a_crash_with_the_checkpoint() -> None:
    a, b, c = three()
    a.write(Put(b"r", b"1", LWW_REGISTER), Delete(b"r"))
    converge([a, b, c])
    hear_all(a, b, c)
    a.checkpoint()
    a.restart()
    collect(a)
    assert a.entries() == {}
    assert a.stability.last(B) == b.vector


# ---- the traps


def test_trap_9_no_tombstone_goes_while_a_member_is_away() -> None:
    """A timer would drop it, and the one that comes back would bring the value again."""
    a, b, c = three()
    a.write(Put(b"r", b"old", LWW_REGISTER), Increment(b"c", 5))
    converge([a, b, c])
    hear_all(a, b, c)
    a.write(Delete(b"r"), Delete(b"c"))
    b.pull(a)
    hear_all(a, b)
    for node in (a, b):
        collect(node)
        assert node.entry(b"r")
        assert node.entry(b"c")
    c.write(Put(b"other", b"written while away"))
    converge([a, b, c])
    hear_all(a, b, c)
    for node in (a, b, c):
        collect(node)
        assert node.entries().keys() == {b"other"}


def test_trap_9_a_write_made_before_the_delete_arrived_is_waited_for() -> None:
    """C has acknowledged the delete; what it wrote before has not come, and is older."""
    a, b, c = three()
    a.write(Put(b"r", b"1", LWW_REGISTER), wall_ms=WALL_MS)
    converge([a, b, c])
    c.write(Put(b"r", b"concurrent", LWW_REGISTER), wall_ms=WALL_MS + 1)
    a.write(Delete(b"r"), wall_ms=WALL_MS + 50)
    b.pull(a)
    c.pull(a)
    hear_all(a, b)
    a.hear(c)
    collect(a)
    assert a.entry(b"r"), "C's report covers the delete, but is not usable yet"
    a.pull(c)
    collect(a)
    assert a.entry(b"r") == {}
    converge([a, b, c])
    assert all(not node.live() for node in (a, b, c))


def test_trap_10_a_collected_tombstone_does_not_kill_the_key_created_again() -> None:
    """C has kept the tombstone; its whole state meets the new value in both directions."""
    a, b, c = three()
    a.write(Put(b"r", b"old", LWW_REGISTER), Delete(b"r"), wall_ms=WALL_MS + 3_600_000)
    converge([a, b, c])
    hear_all(a, b, c)
    collect(a)
    collect(b)
    stale, stale_vector = c.entry(b"r"), dict(c.vector)
    b.write(Put(b"r", b"new", LWW_REGISTER), wall_ms=WALL_MS)  # its clock is an hour behind
    seen_b, seen_c = Covered(b.vector), Covered(stale_vector)
    assert merge_entries(b.entry(b"r"), stale, seen_b, seen_c) == b.entry(b"r")
    assert merge_entries(stale, b.entry(b"r"), seen_c, seen_b) == b.entry(b"r")
    converge([a, b, c])
    assert a.entry(b"r") == c.entry(b"r") == b.entry(b"r")


def test_trap_10_a_late_delete_of_what_was_collected_spares_a_concurrent_value() -> None:
    """The reader's value was deleted and collected here: deleting it again is nothing at all."""
    a, b, c = three()
    a.write(Put(b"r", b"seen", LWW_REGISTER), Increment(b"c", 3))
    seen_r, seen_c = a.context(b"r"), a.context(b"c")
    a.write(Delete(b"r"), Delete(b"c"))
    converge([a, b, c])
    hear_all(a, b, c)
    collect(a)
    assert a.entries() == {}
    b.write(Put(b"r", b"new", LWW_REGISTER), Increment(b"c", 4))
    a.write(Delete(b"r", context=seen_r), Delete(b"c", context=seen_c), wall_ms=WALL_MS + 99)
    assert a.last_block.deltas() == [None, None], "the operations count, and do nothing"
    converge([a, b, c])
    assert {node.entry(b"r")[LWW_REGISTER][3] for node in (a, b, c)} == {b"new"}
    assert {counter_value(node.entry(b"c")[PN_COUNTER]) for node in (a, b, c)} == {4}


def test_trap_4_a_counter_created_again_never_revives_its_old_value() -> None:
    """Totals and baselines of the old slot come late, from a replica that kept them."""
    a, b, c = three()
    a.write(Increment(b"c", 100))
    converge([a, b, c])
    unspent, unspent_vector = c.entry(b"c"), dict(c.vector)
    b.write(Delete(b"c"))
    converge([a, b, c])
    hear_all(a, b, c)
    collect(a)
    collect(b)
    spent, spent_vector = c.entry(b"c"), dict(c.vector)
    a.write(Increment(b"c", 7))
    assert list(a.entry(b"c")[PN_COUNTER]) == [(A, 2)], "trap 3: a birth is never used again"
    for old, vector in ((unspent, unspent_vector), (spent, spent_vector)):
        for node in (a, b):
            mine, seen = node.entry(b"c"), Covered(node.vector)
            assert merge_entries(mine, old, seen, Covered(vector)) == mine
            assert merge_entries(old, mine, Covered(vector), seen) == mine
    converge([a, b, c])
    assert {counter_value(node.entry(b"c")[PN_COUNTER]) for node in (a, b, c)} == {7}
    assert a.live() == b.live() == c.live()


def test_a_slot_waits_for_the_deletes_of_both_its_halves() -> None:
    a, b = MemoryNode(A), MemoryNode(B)
    a.write(Increment(b"c", 5))
    first = a.context(b"c")
    a.write(Increment(b"c", -2))
    b.pull(a)
    a.write(Delete(b"c", context=first))  # (A, 3): 5 and nothing
    b.write(Delete(b"c"))  # (B, 1): 5 and 2
    converge([a, b])
    assert sorted(garbage_dots(a.entry(b"c"))) == [(B, 1)], "the larger dot of the equal halves"
    entry = a.entry(b"c")
    assert collect_entry(entry, {A: 3}) is entry
    assert collect_entry(entry, {B: 1}) == {}


def test_a_slot_that_a_concurrent_increment_keeps_open_stays() -> None:
    a, b = MemoryNode(A), MemoryNode(B)
    a.write(Increment(b"c", 5))
    b.pull(a)
    b.write(Delete(b"c"))
    a.write(Increment(b"c", 1))
    converge([a, b])
    assert garbage_dots(a.entry(b"c")) == []
    assert collect_entry(a.entry(b"c"), a.vector) == a.entry(b"c")
    assert counter_value(a.entry(b"c")[PN_COUNTER]) == 1
    b.write(Delete(b"c"))
    assert garbage_dots(b.entry(b"c")) == [(B, 2)]
    assert collect_entry(b.entry(b"c"), b.vector) == {}


def test_trap_19_live_forms_do_not_tell_what_was_collected() -> None:
    node = MemoryNode(A)
    node.write(Put(b"r", b"1", LWW_REGISTER), Increment(b"c", 1), Put(b"s", b"1"))
    node.write(Delete(b"r"), Delete(b"c"), Delete(b"s"), Increment(b"c", 2))
    seen = Covered(node.vector)
    for entry in node.entries().values():
        collected = collect_entry(entry, node.vector)
        assert live_entry(collected) == live_entry(entry)
        assert merge_entries(entry, collected, seen, seen) == collected
    assert live_entry(node.entry(b"r")) is None
    assert live_entry(node.entry(b"c")) is not None
