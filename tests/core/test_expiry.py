"""Values with a deadline: what shows, what replaces them, and that nobody brings them back."""

from __future__ import annotations

import pytest

from kvnode.core.entry import decode_entry, encode_entry
from kvnode.core.errors import Reason, Refused
from kvnode.core.operations import Delete, Increment, Put
from kvnode.core.reissue import Reissue, part
from kvnode.core.types import LWW_REGISTER, SIBLINGS
from kvnode.storage.digest_reading import range_digests
from tests.core.memory_node import WALL_MS, MemoryNode, converge

A, B, C = 1, 2, 3
SOON, LATER = WALL_MS + 1_000, WALL_MS + 60_000
EVERYTHING = [(b"", b"")]


def nodes() -> tuple[MemoryNode, MemoryNode, MemoryNode]:
    return MemoryNode(A), MemoryNode(B), MemoryNode(C)


def at(wall_ms: int, *nodes: MemoryNode) -> None:
    """Set their clocks."""
    for node in nodes:
        node.wall_ms = wall_ms


def collect(node: MemoryNode, others: tuple[MemoryNode, ...]) -> None:
    """As the collector does: what its clock has passed, and the others have reported to have."""
    node.checkpoint(node.wall_ms)
    for other in others:
        node.hear(other)
    node.collect(node.stability.stable(node.vector, [other.origin for other in others]))
    node.checkpoint()


def check_equal(*nodes: MemoryNode) -> None:
    """Equal vectors, so equal digests, as of any time that all horizons have passed."""
    assert all(node.vector == nodes[0].vector for node in nodes)
    for node in nodes:
        node.checkpoint()
    latest = max(node.replica.durable.horizon for node in nodes)
    for past in (latest, latest + 1, SOON, LATER):
        if past >= latest:
            digests = [range_digests(node.state, EVERYTHING, past).digests for node in nodes]
            assert digests == [digests[0]] * len(nodes), past
            assert all(node.live(past) == nodes[0].live(past) for node in nodes)


def test_a_value_is_gone_at_its_deadline_and_not_before() -> None:
    node = MemoryNode(A)
    node.write(Put(b"r", b"1", LWW_REGISTER, deadline=SOON), Put(b"s", b"1", deadline=SOON))
    at(SOON - 1, node)
    assert (node.shown(b"r"), node.shown(b"s")) == ([b"1"], [b"1"])
    at(SOON, node)
    assert (node.shown(b"r"), node.shown(b"s")) == ([], [])


def test_an_expired_winner_shows_no_older_value() -> None:
    a, b, _ = nodes()
    a.write(Put(b"r", b"older", LWW_REGISTER))
    b.write(Put(b"r", b"winner", LWW_REGISTER, deadline=SOON), wall_ms=WALL_MS + 5)
    a.pull(b)
    assert a.shown(b"r") == [b"winner"]
    at(SOON, a)
    assert a.shown(b"r") == []


def test_each_sibling_has_its_own_deadline() -> None:
    a, b, _ = nodes()
    a.write(Put(b"s", b"short", deadline=SOON))
    b.write(Put(b"s", b"long", deadline=LATER))
    a.write(Put(b"s", b"good", blind=True))
    converge([a, b])
    at(SOON, a)
    assert a.shown(b"s") == [b"good", b"long"]
    at(LATER, a)
    assert a.shown(b"s") == [b"good"]


@pytest.mark.parametrize("kind", [LWW_REGISTER, SIBLINGS])
def test_concurrent_deadlines_do_not_depend_on_who_arrives_first(kind: int) -> None:
    """The longer one may win or lose: it goes with its value, and is never the other's."""
    a, b, c = nodes()
    d = MemoryNode(4)
    a.write(Put(b"k", b"long", kind, deadline=LATER))
    b.write(Put(b"k", b"short", kind, deadline=SOON), wall_ms=WALL_MS + 5)
    c.pull(a)
    c.pull(b)
    d.pull(b)
    d.pull(a)
    assert c.encoded() == d.encoded()
    at(SOON, c, d)
    assert c.shown(b"k") == d.shown(b"k") == ([b"long"] if kind == SIBLINGS else [])
    assert all(decode_entry(encode_entry(n.entry(b"k"))) == n.entry(b"k") for n in (c, d))


def test_a_value_without_a_deadline_is_stored_and_sent_as_ever() -> None:
    """What is on disk and in the logs of clusters stays readable, and bytes do not grow."""
    node = MemoryNode(A)
    node.write(Put(b"r", b"1", LWW_REGISTER), Put(b"s", b"1"))
    assert node.last_block.ops == [[3, b"r", b"1"], [4, b"s", b"1", []]]
    assert len(node.entry(b"r")[LWW_REGISTER]) == 4
    assert [len(value) for value in node.entry(b"s")[SIBLINGS][0].values()] == [2]


# ---- writes over what has expired


def test_another_type_may_be_written_over_what_has_expired() -> None:
    node = MemoryNode(A)
    node.write(Put(b"k", b"1", LWW_REGISTER, deadline=SOON))
    with pytest.raises(Refused):
        node.write(Put(b"k", b"2"))
    with pytest.raises(Refused):
        node.write(Increment(b"k", 1))
    at(SOON, node)
    node.write(Put(b"k", b"2", deadline=LATER))
    at(LATER, node)
    node.write(Increment(b"k", 1))
    assert node.shown(b"k") == []


def test_a_put_replaces_an_expired_sibling_too() -> None:
    """Whether it names what is held or what its client saw gone: a slower clock may show it yet."""
    for token in (False, True):
        a, slow, _ = nodes()
        a.write(Put(b"s", b"expires", deadline=SOON))
        slow.pull(a)
        at(SOON, a)
        assert a.shown(b"s") == []
        a.write(Put(b"s", b"new", context=a.context(b"s") if token else None))
        slow.pull(a)
        assert slow.shown(b"s") == [b"new"]


def test_who_saw_nothing_deletes_nothing() -> None:
    node = MemoryNode(A)
    node.write(Put(b"s", b"1", deadline=SOON), Put(b"r", b"1", LWW_REGISTER, deadline=SOON))
    at(SOON, node)
    assert node.context(b"s").types == node.context(b"r").types == ()
    node.write(Delete(b"s", context=node.context(b"s")), Delete(b"r"), Delete(b"r", LWW_REGISTER))
    assert node.last_block.ops == [0, 0, 0]


def test_a_register_is_written_after_the_expired_one_that_its_client_saw_gone() -> None:
    """Its stamp is in the token, as a deletion's is."""
    ahead, behind, _ = nodes()
    ahead.write(
        Put(b"r", b"expires", LWW_REGISTER, deadline=SOON + 600_000), wall_ms=WALL_MS + 600_000
    )
    at(SOON + 600_000, ahead)
    behind.write(Put(b"r", b"new", LWW_REGISTER, context=ahead.context(b"r")))
    behind.pull(ahead)
    assert behind.shown(b"r") == [b"new"]


def test_expired_siblings_count_until_they_are_gone_and_a_read_resolves_them() -> None:
    """Else a key whose values wait for a dead member would grow without a bound."""
    node = MemoryNode(A, siblings_max=3)
    for _ in range(3):
        node.write(Put(b"s", b"1", blind=True, deadline=SOON))
    at(SOON, node)
    with pytest.raises(Refused, match="3 of them expired") as refusal:
        node.write(Put(b"s", b"2", blind=True))
    assert refusal.value.reason == Reason.TOO_MANY_SIBLINGS
    node.write(Put(b"s", b"2", context=node.context(b"s")))
    assert node.shown(b"s") == [b"2"]


def test_no_deadline_is_given_by_a_clock_that_is_known_to_be_off() -> None:
    """On other nodes the value would be gone at once, or stay too long."""
    node = MemoryNode(A)
    for put in (Put(b"s", b"1", deadline=SOON), Put(b"r", b"1", LWW_REGISTER)):
        with pytest.raises(Refused) as refusal:
            node.write_off(put)
        assert refusal.value.reason == Reason.CLOCK_OFF
    node.write_off(Put(b"s", b"1"))


# ---- clocks and collection


def test_what_is_past_the_horizon_stays_hidden_when_the_clock_steps_back() -> None:
    """It may be collected anywhere by now, and the digests leave it out."""
    node = MemoryNode(A)
    node.write(Put(b"s", b"1", deadline=SOON), Put(b"s2", b"1", deadline=LATER))
    at(LATER - 1, node)
    node.checkpoint(SOON)
    at(WALL_MS, node)
    assert (node.shown(b"s"), node.shown(b"s2")) == ([], [b"1"])
    node.restart()
    assert node.shown(b"s") == []
    node.write(Increment(b"s", 1))


def test_an_expired_value_waits_until_all_have_it() -> None:
    """The stability rule; else the loser of a concurrent write would be back."""
    a, b, c = nodes()
    a.write(Put(b"r", b"expires", LWW_REGISTER, deadline=SOON), wall_ms=WALL_MS + 5)
    b.write(Put(b"r", b"loser", LWW_REGISTER))
    at(SOON, a, b, c)
    collect(a, (b, c))
    assert b"r" in a.entries(), "b has not reported it"
    converge([a, b, c])
    for node in (a, b, c):
        assert node.shown(b"r") == []
    collect(a, (b, c))
    assert b"r" not in a.entries()
    check_equal(a, b, c)
    a.merge(b)
    assert a.shown(b"r") == []


def test_trap_11_expiry_as_a_silent_local_delete() -> None:
    """A lets go of an expired value; B was cut off, C has it and a slow clock.

    Nobody brings it back, whatever way states and writes take; nobody loses the value that B put
    without having seen it; and equal vectors have equal digests all the time.
    """
    a, b, c = nodes()
    a.write(
        Put(b"s", b"expires", deadline=SOON),
        Put(b"r", b"expires", LWW_REGISTER, deadline=SOON),
        Put(b"other", b"stays"),
    )
    c.pull(a)
    at(WALL_MS - 5_000, b)  # cut off: it has not seen the others' values
    b.write(Put(b"s", b"concurrent"), Put(b"r", b"loses", LWW_REGISTER))
    at(SOON, a)
    at(SOON - 600_000, c)
    assert a.shown(b"s") == []
    assert c.shown(b"s") == [b"expires"]
    check_equal(a, c)
    collect(a, (b, c))
    assert b"r" in a.entries(), "B may still write without having seen it"
    check_equal(a, c)

    b.pull(a)
    a.pull(b)
    collect(a, (b, c))
    c.pull(a)
    collect(a, (b, c))
    assert [value[1] for value in a.entry(b"s")[SIBLINGS][0].values()] == [b"concurrent"]
    assert b"r" not in a.entries(), "all have reported it: it is collected"
    assert c.shown(b"s") == [b"concurrent", b"expires"], "slow, but that is all"
    assert c.shown(b"r") == [b"expires"], "and not the value that lost"
    check_equal(a, b, c)

    a.merge(c)  # states from those who still have it
    a.merge(b)
    assert a.shown(b"s") == [b"concurrent"]
    assert a.shown(b"r") == []
    check_equal(a, b, c)
    c.merge(a)  # and to them
    assert c.shown(b"s") == [b"concurrent"]
    check_equal(a, b, c)
    c.write(Put(b"r", b"next", LWW_REGISTER))
    converge([a, b, c])
    for node in (a, b, c):
        assert node.shown(b"r") == [b"next"], "later than what it followed, also after collection"
        collect(node, tuple(other for other in (a, b, c) if other is not node))
    check_equal(a, b, c)


def test_a_real_difference_in_a_value_that_expires_shows_until_it_has_expired() -> None:
    a, b, _ = nodes()
    a.write(Put(b"s", b"1", deadline=LATER), Put(b"t", b"1"))
    b.pull(a)
    b.memtable.install({b"s": {}}, 0)  # lost
    a.checkpoint(SOON)
    b.checkpoint(SOON)

    def digests(past: int) -> list[object]:
        return [range_digests(node.state, EVERYTHING, past).digests for node in (a, b)]

    for past in (SOON, LATER - 1):
        one, other = digests(past)
        assert one != other
    one, other = digests(LATER)
    assert one == other


def test_a_write_made_again_keeps_its_deadline() -> None:
    """It is a time: what is left of it has become less."""
    old, new = MemoryNode(A), MemoryNode(9)
    old.write(Put(b"s", b"1", deadline=SOON), Put(b"r", b"1", LWW_REGISTER, deadline=LATER))
    parted = part([old.last_block], lambda _: None, 0)
    assert parted is not None
    work = Reissue(parted, new.entry)
    operations = [operation for again in work.requests() for operation in again.operations]
    deadlines = [(each.key, each.deadline) for each in operations if isinstance(each, Put)]
    assert deadlines == [(b"s", SOON), (b"r", LATER)]


def test_a_lost_value_is_journalled_with_its_deadline() -> None:
    a, b, _ = nodes()
    a.write(Put(b"r", b"lost", LWW_REGISTER, deadline=SOON))
    b.write(Put(b"r", b"wins", LWW_REGISTER), wall_ms=WALL_MS + 5)
    losers = b.commit(blocks=[a.last_block]).losers
    assert [(loser.value, loser.deadline) for loser in losers] == [(b"lost", SOON)]
