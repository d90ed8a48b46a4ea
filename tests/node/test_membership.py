"""Join and forget among nodes that lose touch: who waits for whom, and what is taken from whom."""

from __future__ import annotations

import asyncio

import pytest

from kvnode.core.block import Block, decode_block
from kvnode.core.errors import Reason, Refused
from kvnode.core.operations import Delete, Increment, Put
from kvnode.core.roster import decode_roster
from kvnode.core.types import LWW_REGISTER, PN_COUNTER, pncounter
from kvnode.node.membership import RECORD

from .network import Network, play


def count(network: Network, name: str, key: bytes) -> int:
    """The counter as the node has it."""
    return pncounter.value(network[name].entry(key).get(PN_COUNTER, {}))


def test_founders_know_each_other_by_identity() -> None:
    async def scenario(network: Network) -> None:
        await network.found("abc")
        for node in network.nodes.values():
            assert node.membership.place == "serving"
            assert node.membership.roster.remaining() == [1, 2, 3]
            assert node.membership.counted() == frozenset({1, 2, 3}) - {node.origin}

    play(scenario)


def test_trap_24_a_joining_node_takes_no_call_before_it_has_what_the_members_had() -> None:
    """Trap 24 "joining node answers with low counters as if they were the truth"."""

    async def scenario(network: Network) -> None:
        await network.found("abc")
        await network["a"].write(Increment(b"n", 7))
        newcomer = await network.newcomer("d", 9)
        with pytest.raises(Refused) as refused:
            await newcomer.write(Increment(b"n", 1))
        assert refused.value.reason is Reason.JOINING
        await network.join("a", "d")
        while newcomer.membership.place != "serving":
            assert newcomer.membership.refusal()
            await asyncio.sleep(0)
        assert count(network, "d", b"n") == 7
        await newcomer.write(Increment(b"n", 1))
        await network.until(lambda: all(count(network, name, b"n") == 8 for name in "abcd"))

    play(scenario)


def test_a_newcomer_waits_for_every_member_also_one_that_hears_of_it_through_others() -> None:
    async def scenario(network: Network) -> None:
        await network.found("abc")
        newcomer = await network.newcomer("d", 9)
        network.cut("c", "abd")
        await network.join("a", "d")
        membership = newcomer.membership
        await network.until(lambda: membership.roster.waits_for(9, membership.vector) == [3])
        await network.rounds(5)
        assert newcomer.membership.place == "joining"
        assert "c" in newcomer.membership.waits()
        network.heal()
        network.cut("c", "ad")
        await network.until(lambda: newcomer.membership.place == "serving")

    play(scenario)


def test_members_wait_for_a_newcomer_from_the_moment_they_know_of_it() -> None:
    """What it has not reported is neither collected nor cut."""

    async def scenario(network: Network) -> None:
        await network.found("abc")
        await network["a"].write(Put(b"k", b"v", LWW_REGISTER))
        await network["a"].write(Delete(b"k"))
        replicator = network["a"].replicator
        await network.until(lambda: replicator.stable() == {1: 2})
        await network.newcomer("d", 9)
        network.cut("d", "abc")
        await network.join("a", "d")
        assert replicator.stable() == {}
        assert replicator.acknowledged() == {}
        network.heal()
        await network.until(lambda: replicator.stable() == {1: 2})

    play(scenario)


def test_an_admission_is_given_only_for_a_newcomer_that_is_on_disk() -> None:
    """Else a report could go out that covers more than the admission and does not name it."""

    async def scenario(network: Network) -> None:
        await network.found("ab")
        await network.newcomer("d", 9)
        log = network["b"].log
        seen: list[tuple[bool, bool]] = []
        put = log.put_record

        def spy(name: bytes, value: bytes) -> None:
            if name == RECORD:
                roster = decode_roster(value)
                seen.append((9 in roster.members, 2 in roster.admissions.get(9, {})))
            put(name, value)

        log.put_record = spy  # type: ignore[method-assign]
        await network.join("a", "d")
        await network.until(lambda: network["d"].membership.place == "serving")
        assert (True, False) in seen, "first the newcomer"
        assert seen.index((True, False)) < seen.index((True, True)), "then the admission"

    play(scenario)


def test_a_forget_during_a_join_lets_the_newcomer_go_on() -> None:
    async def scenario(network: Network) -> None:
        await network.found("abc")
        newcomer = await network.newcomer("d", 9)
        network.cut("c", "abd")
        await network.join("a", "d")
        await network.rounds(3)
        assert newcomer.membership.place == "joining"
        await network.forget("b", "c")
        await network.until(lambda: newcomer.membership.place == "serving")
        await network.until(lambda: network["a"].membership.counted() == frozenset({2, 9}))

    play(scenario)


def test_a_forgotten_newcomer_holds_nobody_up() -> None:
    async def scenario(network: Network) -> None:
        await network.found("ab")
        await network.newcomer("d", 9)
        network.cut("d", "ab")
        await network.join("a", "d")
        assert network["a"].membership.counted() == frozenset({2, 9})
        await network.forget("a", "d")
        await network.until(lambda: network["a"].membership.counted() == frozenset({2}))
        assert not network["a"].membership.roster.admissions

    play(scenario)


def test_trap_26_a_forgotten_members_late_writes_are_taken_from_nobody() -> None:
    """Trap 26 "forgotten member's late message merged", also when a third one relays it."""

    async def scenario(network: Network) -> None:
        await network.found("abcd")
        await network["d"].write(Increment(b"n", 1))
        await network.until(lambda: all(count(network, name, b"n") == 1 for name in "abcd"))
        network.cut("d", "abc")
        await network.forget("a", "d")
        await network.until(lambda: network["c"].membership.counted() == frozenset({1, 2}))
        await network["d"].write(Increment(b"n", 10))  # it cannot know yet
        network.heal()
        await network.until(lambda: network["d"].membership.place == "forgotten")
        await network.rounds(5)
        assert [count(network, name, b"n") for name in "abc"] == [1, 1, 1]
        (raw,) = [raw for _, raw in network["d"].log.replay(1)]
        verdicts = await network["b"].engine.receive([decode(raw)])
        assert [verdict.value for verdict in verdicts] == ["forgotten"]
        with pytest.raises(Refused) as refused:
            await network["d"].write(Increment(b"n", 100))
        assert refused.value.reason is Reason.FORGOTTEN

    play(scenario)


def decode(raw: bytes) -> Block:
    """A block."""

    return decode_block(raw)


def test_what_one_member_has_of_a_forgotten_one_reaches_all_members() -> None:
    """Its last writes reached one member only: they are acknowledged, so nobody may lose them."""

    async def scenario(network: Network) -> None:
        await network.found("abcd")
        network.cut("d", "ab")
        network.cut("c", "ab")
        await network["d"].write(Increment(b"n", 5))
        await network.until(lambda: count(network, "c", b"n") == 5)
        await network.forget("a", "d")
        await network.rounds(3)
        assert 4 in (network["a"].membership.counted() or ()), "c has not acknowledged"
        network.heal()
        await network.until(lambda: all(count(network, name, b"n") == 5 for name in "abc"))
        await network.until(
            lambda: all(4 not in (network[name].membership.counted() or {4}) for name in "abc")
        )

    play(scenario)


def test_two_forgets_at_once_become_one() -> None:
    async def scenario(network: Network) -> None:
        await network.found("abcde")
        await network["d"].write(Increment(b"n", 1))
        await network["e"].write(Increment(b"n", 2))
        await network.until(lambda: all(count(network, name, b"n") == 3 for name in "abcde"))
        network.cut("a", "bc")
        network.cut("de", "abc")
        await network.forget("a", "d")
        await network.forget("b", "e")
        await network.rounds(3)
        assert network["b"].membership.roster.unacknowledged(), "a has not heard of it"
        network.heal()
        network.cut("de", "abc")
        await network.until(
            lambda: all(
                network[name].membership.roster.pending(network[name].engine.vector) == []
                and set(network[name].membership.roster.forgets) == {4, 5}
                for name in "abc"
            )
        )
        assert {name: network[name].membership.counted() for name in "abc"} == {
            "a": frozenset({2, 3}),
            "b": frozenset({1, 3}),
            "c": frozenset({1, 2}),
        }
        assert len({network[name].membership.raw for name in "abc"}) == 1

    play(scenario)


def test_two_that_forget_each_other_are_both_forgotten() -> None:
    async def scenario(network: Network) -> None:
        await network.found("abcd")
        network.cut("c", "d")
        await network.forget("c", "d")
        await network.forget("d", "c")
        await network.until(lambda: network["a"].membership.counted() == frozenset({2}))
        await network.until(
            lambda: (
                [network[name].membership.place for name in "abcd"]
                == ["serving", "serving", "forgotten", "forgotten"]
            )
        )

    play(scenario)


def test_the_roster_survives_a_restart() -> None:
    async def scenario(network: Network) -> None:
        await network.found("abc")
        await network.forget("a", "c")
        await network.until(lambda: network["b"].membership.counted() == frozenset({1}))
        nodes = [network[name] for name in "ab"]

        def recorded() -> bool:
            return all(node.log.get_record(RECORD) == node.membership.raw for node in nodes)

        await network.until(recorded)  # the record comes first: one may be between the two just now
        for node in nodes:
            assert decode_roster(node.membership.raw) == node.membership.roster

    play(scenario)


def test_what_a_forgotten_node_reported_is_not_kept_for_ever() -> None:
    """It is a vector of all origins there ever were, in memory and in every checkpoint: with every
    identity that is given up one more, and all of them longer.
    """

    async def scenario(network: Network) -> None:
        await network.found("abc")
        a = network["a"]
        await network["c"].write(Increment(b"n", 1))
        await network.until(lambda: 3 in a.engine.replica.durable.reports)
        await network.forget("a", "c")
        await network.until(lambda: a.membership.counted() == frozenset({2}))
        await network.until(lambda: a.replicator.stable().get(3) == 1)
        assert a.engine.replica.durable.reports.keys() == {2}
        assert a.engine.stability.last(3) is None

    play(scenario)
