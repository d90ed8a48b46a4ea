"""Durability and consistency levels and sessions, among nodes that lose touch."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest

from kvnode.core.errors import Reason, Refused
from kvnode.core.operations import Increment
from kvnode.core.types import PN_COUNTER, pncounter

from .network import Network, play

PATIENCE_S = 15.0
"""For what has to come."""
IMPATIENCE_S = 0.2
"""For what can not."""


def soon(seconds: float) -> float:
    """A deadline."""
    return asyncio.get_running_loop().time() + seconds


def count(network: Network, name: str) -> int:
    return pncounter.value(network[name].entry(b"n").get(PN_COUNTER, {}))


async def refused(call: Awaitable[object], reason: Reason) -> Refused:
    with pytest.raises(Refused) as found:
        await call
    assert found.value.reason is reason
    return found.value


def test_a_write_is_stored_by_as_many_as_can_be_reached() -> None:
    async def scenario(network: Network) -> None:
        await network.found("abc")
        network.cut("ab", "c")
        levels = network["a"].levels
        assert (levels.members, levels.majority()) == (3, 2)
        dot = await network["a"].write(Increment(b"n", 1))
        assert await levels.stored(dot, 1, soon(PATIENCE_S))
        assert await levels.stored(dot, 2, soon(PATIENCE_S))
        assert levels.stored_by(dot) == ["a", "b"]
        assert not await levels.stored(dot, 3, soon(IMPATIENCE_S))
        assert levels.stored_by(dot) == ["a", "b"]
        waits = asyncio.create_task(levels.stored(dot, 3, soon(PATIENCE_S)))
        network.heal()
        assert await waits
        assert levels.stored_by(dot) == ["a", "b", "c"]
        with pytest.raises(Refused):
            levels.check(4)

    play(scenario)


def test_what_a_peer_reports_through_a_third_counts_too() -> None:
    async def scenario(network: Network) -> None:
        await network.found("abc")
        network.cut("a", "c")
        dot = await network["a"].write(Increment(b"n", 1))
        assert await network["a"].levels.stored(dot, 3, soon(PATIENCE_S))

    play(scenario)


def test_what_others_have_of_another_history_is_on_no_other_disk() -> None:
    """An old copy of the directory was put back and wrote under the same numbers once more."""

    async def scenario(network: Network) -> None:
        await network.found("ab")
        a = network["a"]
        dot = await a.write(Increment(b"n", 1))
        assert await a.levels.stored(dot, 2, soon(PATIENCE_S))
        a.membership.lose("b has another history")
        assert a.levels.stored_by(dot) == ["a"]
        assert not await a.levels.stored(dot, 2, soon(IMPATIENCE_S))

    play(scenario)


def test_a_founder_that_was_never_met_is_one_of_the_disks() -> None:
    async def scenario(network: Network) -> None:
        await network.found("ab", absent="z")
        levels = network["a"].levels
        assert (levels.members, levels.majority()) == (3, 2)
        dot = await network["a"].write(Increment(b"n", 1))
        assert not await levels.stored(dot, 3, soon(IMPATIENCE_S))

    play(scenario)


def test_a_session_sees_what_it_wrote_at_another_node_or_is_told_what_is_missing() -> None:
    async def scenario(network: Network) -> None:
        await network.found("abc")
        network.cut("c", "ab")
        await network["a"].write(Increment(b"n", 5))
        session = dict(network["a"].engine.vector)
        behind = await refused(
            network["c"].levels.covered(session, soon(IMPATIENCE_S)), Reason.BEHIND
        )
        assert behind.facts["missing"] == "a:1-1"
        assert count(network, "c") == 0
        waits = asyncio.create_task(network["c"].levels.covered(session, soon(PATIENCE_S)))
        network.heal()
        await waits
        assert count(network, "c") == 5

    play(scenario)


def test_a_quorum_read_shows_every_write_that_was_acknowledged_at_quorum() -> None:
    """c has heard nothing of the write, and asks a or b."""

    async def scenario(network: Network) -> None:
        await network.found("abc")
        network.cut("c", "ab")
        dot = await network["a"].write(Increment(b"n", 5))
        assert await network["a"].levels.stored(dot, 2, soon(PATIENCE_S))
        silent = await refused(network["c"].levels.gathered(2, soon(IMPATIENCE_S)), Reason.BEHIND)
        assert silent.facts["silent"] == "a,b"
        network.heal()
        network.cut("c", "a")
        assert count(network, "c") == 0
        await network["c"].levels.gathered(2, soon(PATIENCE_S))
        assert count(network, "c") == 5
        await refused(network["c"].levels.gathered(3, soon(IMPATIENCE_S)), Reason.BEHIND)

    play(scenario)


def test_members_that_are_joining_do_not_answer_for_a_quorum_read() -> None:
    """Two of three have the write; three of five, two of them new and empty, do not know of it."""

    async def scenario(network: Network) -> None:
        await network.found("abc")
        network.cut("c", "ab")
        dot = await network["a"].write(Increment(b"n", 5))
        assert await network["a"].levels.stored(dot, network["a"].levels.majority(), soon(2))
        network.cut("de", "ab")
        for origin, name in enumerate("de", 4):
            await network.newcomer(name, origin)
            await network.join("c", name)
        reader = network["c"].levels
        assert reader.majority() == 3
        await network.until(lambda: len(network["e"].membership.roster.members) == 5)
        silent = await refused(reader.gathered(3, soon(1)), Reason.BEHIND)
        assert silent.facts["silent"] == "a,b,d,e"
        network.heal()
        await reader.gathered(3, soon(PATIENCE_S))
        assert count(network, "c") == 5

    play(scenario)


def test_a_session_does_not_wait_for_what_a_forgotten_node_took_with_it() -> None:
    async def scenario(network: Network) -> None:
        await network.found("abc")
        await network["c"].write(Increment(b"n", 1))
        await network.until(lambda: count(network, "a") == count(network, "b") == 1)
        network.cut("c", "ab")
        await network["c"].write(Increment(b"n", 10))
        session = dict(network["c"].engine.vector)
        await refused(network["a"].levels.covered(session, soon(IMPATIENCE_S)), Reason.BEHIND)
        await network.forget("a", "c")
        await network.until(
            lambda: not network["a"].membership.roster.pending(network["a"].engine.vector)
        )
        await network["a"].levels.covered(session, soon(PATIENCE_S))

    play(scenario)


def test_freshness_tells_what_is_not_heard_of_from_what_is() -> None:
    async def scenario(network: Network) -> None:
        await network.found("ab", absent="z")
        await network.until(lambda: network["a"].levels.freshness()[1].age_s is not None)
        known = {fresh.node: fresh.age_s for fresh in network["a"].levels.freshness()}
        assert known["a"] == 0.0
        assert known["z"] is None
        network.cut("a", "b")
        age = known["b"]
        assert age is not None
        await network.until(lambda: (network["a"].levels.freshness()[1].age_s or 0.0) > age + 0.05)

    play(scenario)


def test_those_who_gave_up_on_a_node_that_is_cut_off_are_not_kept() -> None:
    """Nobody reports to it and nobody writes, for weeks maybe, and clients go on asking."""

    async def scenario(network: Network) -> None:
        await network.found("abc")
        network.cut("c", "ab")
        levels = network["c"].levels
        for _ in range(500):
            await refused(levels.covered({1: 10}, soon(0)), Reason.BEHIND)
        assert levels.kept < 100

    play(scenario)


def test_those_who_gave_up_are_not_kept_behind_one_who_waits_for_long() -> None:
    """A caller may wait for a day; those after it, of later writes, gave up within seconds."""

    async def scenario(network: Network) -> None:
        await network.found("abc")
        network.cut("c", "ab")
        node = network["c"]
        first = await node.write(Increment(b"n", 1))
        patient = asyncio.create_task(node.levels.stored(first, 2, soon(PATIENCE_S)))
        await asyncio.sleep(0)
        for _ in range(500):
            dot = await node.write(Increment(b"n", 1))
            assert not await node.levels.stored(dot, 2, soon(0))
        assert node.levels.kept < 100
        network.heal()
        assert await patient

    play(scenario)
