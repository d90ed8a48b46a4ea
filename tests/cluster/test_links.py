"""The faulty links do to a TCP connection what they say, and count it.

Plain TCP servers stand in for the nodes. That something did *not* arrive is never shown by
waiting a while: the test waits until the link holds every byte that was sent.
"""

from __future__ import annotations

import asyncio
import random
import socket
from typing import Any

import pytest

from cluster.connections import HELD_BYTES_MAX
from cluster.faults import Counters, Fault, Mode
from tests.cluster.link_rig import Rig, reset, until, with_rig

DROP = Fault(Mode.DROP)
CUT = Fault(Mode.CUT)
RESET = Fault(Mode.RESET)


@with_rig
async def test_pass_carries_every_byte_both_ways(rig: Rig) -> None:
    a, b = await rig.connect()
    there, back = random.Random(1).randbytes(3 << 20), random.Random(2).randbytes(2 << 20)
    a.send(there)
    b.send(back)
    assert await b.receive(len(there)) == there
    assert await a.receive(len(back)) == back
    assert rig.counters("a", "b") == Counters(len(there), connections=1, connections_open=1)
    assert rig.counters("b", "a") == Counters(len(back), connections=1, connections_open=1)


@with_rig
async def test_a_receiver_that_does_not_read_stops_the_sender(rig: Rig) -> None:
    """Without a fault too, the link's memory is bounded; other connections go on meanwhile."""
    (a, b), (other_a, other_b) = await rig.connect(), await rig.connect()
    b.pause()
    data = random.Random(6).randbytes(32 << 20)
    a.send(data)
    for _ in range(500):  # turns enough for the link to have read it all, were it not stopped
        other_a.send(b"?")
        await other_b.receive(1)
    assert rig.counters().bytes_delivered < len(data) // 2
    b.resume()
    assert await b.receive(len(data)) == data


@with_rig
async def test_half_close_and_close_pass(rig: Rig) -> None:
    """A FIN is a message of its own direction: the other direction lives on."""
    a, b = await rig.connect()
    a.send(b"question")
    a.writer.write_eof()
    assert await b.receive_rest() == b"question"
    b.send(b"answer")
    b.writer.write_eof()
    assert await a.receive_rest() == b"answer"
    await until(lambda: rig.counters().connections_open == 0)


@with_rig
async def test_reset_by_a_node_reaches_the_other_as_reset(rig: Rig) -> None:
    """A killed process and one that closes look different to its peer; the link keeps that."""
    a, b = await rig.connect()
    b.send(b"x")
    await a.receive(1)
    reset(a)
    with pytest.raises(ConnectionResetError):
        await b.receive(1)
    await until(lambda: rig.counters().connections_open == 0)


@with_rig
async def test_an_end_that_was_held_finds_a_receiver_that_has_reset(rig: Rig) -> None:
    """The link had stopped reading from it and knows nothing; the change of fault must go on."""
    a, b = await rig.connect()
    rig.links.set_faults([("a", "b"), ("b", "a")], DROP)
    b.send(bytes(2 * HELD_BYTES_MAX))
    await until(lambda: rig.counters("b", "a").bytes_held >= HELD_BYTES_MAX)
    a.writer.write_eof()
    await until(lambda: rig.counters("a", "b").chunks_dropped > 0)
    reset(b)
    await until(lambda: b.writer.transport.get_extra_info("socket").fileno() < 0)
    rig.links.set_fault("a", "b", Fault())
    rig.links.set_fault("b", "a", Fault())
    with pytest.raises(ConnectionResetError):
        await a.receive_rest()
    await until(lambda: rig.counters().connections_open == 0)


@with_rig
async def test_dialing_a_node_that_is_down_is_reset(rig: Rig) -> None:
    rig.servers["b"].close()
    await rig.servers["b"].wait_closed()
    a = await rig.dial()
    with pytest.raises(ConnectionResetError):
        await a.receive(1)
    assert rig.counters().connections == 0


@with_rig
async def test_delay_holds_one_direction_back_in_order(rig: Rig) -> None:
    a, b = await rig.connect()
    clock = asyncio.get_running_loop().time
    rig.links.set_fault("a", "b", Fault(Mode.DELAY, delay_ms=300, jitter_ms=40))
    start = clock()
    sent = b""
    for number in range(20):
        chunk = b"%04d" % number
        a.send(chunk)
        sent += chunk
        b.send(b"!")
        assert await a.receive(1) == b"!"  # the other direction is not delayed
    assert rig.counters().bytes_delivered == 0
    assert await b.receive(len(sent)) == sent
    assert clock() - start >= 0.3
    assert rig.counters().chunks_delayed >= 1
    assert rig.counters("b", "a").faults == 0


@with_rig
async def test_ending_a_delay_delivers_at_once(rig: Rig) -> None:
    a, b = await rig.connect()
    rig.links.set_fault("a", "b", Fault(Mode.DELAY, delay_ms=3_600_000))
    a.send(b"late")
    await until(lambda: rig.counters().bytes_held == 4)
    rig.links.heal()
    assert await b.receive(4) == b"late"


@with_rig
async def test_a_shorter_delay_holds_for_what_waits_already(rig: Rig) -> None:
    a, b = await rig.connect()
    rig.links.set_fault("a", "b", Fault(Mode.DELAY, delay_ms=3_600_000))
    a.send(b"late")
    await until(lambda: rig.counters().bytes_held == 4)
    rig.links.set_fault("a", "b", Fault(Mode.DELAY, delay_ms=1))
    assert await b.receive(4) == b"late"


@with_rig
async def test_rate_limits_the_direction(rig: Rig) -> None:
    """Two connections share the rate; both arrive whole."""
    (a1, b1), (a2, b2) = await rig.connect(), await rig.connect()
    clock = asyncio.get_running_loop().time
    rig.links.set_fault("a", "b", Fault(rate_bytes_s=200_000))
    start = clock()
    data = random.Random(3).randbytes(20_000)
    a1.send(data)
    a2.send(data)
    assert await b1.receive(len(data)) == data
    assert await b2.receive(len(data)) == data
    assert clock() - start >= 2 * len(data) / 200_000 * 0.95
    assert rig.counters().chunks_delayed >= 2


@with_rig
async def test_drop_holds_everything_and_heal_delivers_it(rig: Rig) -> None:
    a, b = await rig.connect()
    rig.links.set_faults(rig.links.directions, DROP)
    a.send(b"from a")
    b.send(b"from b!")
    await until(lambda: (rig.counters().bytes_held, rig.counters("b", "a").bytes_held) == (6, 7))
    assert rig.counters().bytes_delivered == rig.counters("b", "a").bytes_delivered == 0
    assert rig.counters().connections_open == 1
    assert rig.counters().chunks_dropped >= 1
    rig.links.heal()
    assert await b.receive(6) == b"from a"
    assert await a.receive(7) == b"from b!"
    assert rig.counters().bytes_held == 0


@pytest.mark.parametrize("dialer", ["a", "b"])
def test_drop_one_way_lets_the_other_way_through_whoever_dialed(dialer: str) -> None:
    @with_rig
    async def one_way(rig: Rig) -> None:
        if dialer == "a":
            a, b = await rig.connect("a", "b")
        else:
            b, a = await rig.connect("b", "a")
        rig.links.set_fault("a", "b", DROP)
        a.send(b"lost for now")
        await until(lambda: rig.counters().bytes_held == 12)
        b.send(b"heard")
        assert await a.receive(5) == b"heard"
        assert rig.counters("a", "b").bytes_delivered == 0
        rig.links.set_fault("a", "b", Fault())
        assert await b.receive(12) == b"lost for now"

    one_way()


@with_rig
async def test_drop_leaves_new_connections_hanging_until_healed(rig: Rig) -> None:
    """One dropped direction is enough: a handshake needs both."""
    rig.links.set_fault("b", "a", DROP)
    a = await rig.dial()
    a.send(b"hello")
    await until(lambda: rig.counters("a", "b").bytes_held == 5)
    assert rig.counters("b", "a").chunks_dropped == 1
    assert rig.accepted["b"] == []
    rig.links.heal()
    await until(lambda: len(rig.accepted["b"]) == 1)
    assert await rig.accepted["b"][0].receive(5) == b"hello"


@with_rig
async def test_a_hanging_connection_that_was_given_up_is_never_dialed_on(rig: Rig) -> None:
    """Retries during a long drop must not pile up in the link nor burst out of it when it ends."""
    rig.links.set_fault("a", "b", DROP)
    first = await rig.dial()
    first.send(b"given up")
    await until(lambda: rig.counters().bytes_held == 8)
    first.writer.close()
    await until(lambda: rig.counters().bytes_held == 0)
    rig.links.heal()
    await rig.connect()
    assert len(rig.accepted["b"]) == 1


@with_rig
async def test_drop_holds_the_end_of_a_connection_too(rig: Rig) -> None:
    """The peer of a node killed behind a drop hears nothing of it until the drop ends."""
    a, b = await rig.connect()
    rig.links.set_fault("a", "b", DROP)
    a.send(b"last words")
    await until(lambda: rig.counters().bytes_held == 10)
    held = rig.counters().chunks_dropped
    reset(a)
    await until(lambda: rig.counters().chunks_dropped > held)
    assert not b.reader.at_eof()
    assert b.reader.exception() is None
    rig.links.heal()
    with pytest.raises(ConnectionResetError):
        await b.receive_rest()


@with_rig
async def test_an_end_behind_held_bytes_is_delivered_once(rig: Rig) -> None:
    """More than the receiver takes at once flows on, then the FIN, and the way back stays open."""
    # Inherited by what is accepted: what was held must be more than the kernel takes.
    rig.servers["b"].sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
    a, b = await rig.connect()
    rig.links.set_fault("a", "b", DROP)
    data = random.Random(5).randbytes(HELD_BYTES_MAX - 1)
    a.send(data)
    await until(lambda: rig.counters().bytes_held == len(data))
    held = rig.counters().chunks_dropped
    a.writer.write_eof()
    await until(lambda: rig.counters().chunks_dropped > held)
    b.pause()
    rig.links.heal()
    b.resume()
    assert await b.receive_rest() == data
    b.send(b"answer")
    assert await a.receive(6) == b"answer"


@with_rig
async def test_drop_keeps_memory_bounded(rig: Rig) -> None:
    a, b = await rig.connect()
    rig.links.set_fault("a", "b", DROP)
    data = random.Random(4).randbytes(4 * HELD_BYTES_MAX)
    a.send(data)
    await until(lambda: rig.counters().bytes_held >= HELD_BYTES_MAX)
    assert rig.counters().bytes_held < HELD_BYTES_MAX + (1 << 18) + 1
    assert rig.counters().bytes_delivered == 0
    rig.links.heal()
    assert await b.receive(len(data)) == data
    assert rig.counters().bytes_held == 0


@pytest.mark.parametrize("direction", [("a", "b"), ("b", "a")])
def test_cut_of_either_direction_closes_and_refuses(direction: tuple[str, str]) -> None:
    @with_rig
    async def cut(rig: Rig) -> None:
        a, b = await rig.connect()
        rig.links.set_fault(*direction, CUT)
        for peer in (a, b):
            with pytest.raises(ConnectionResetError):
                await peer.receive(1)
        for pair in rig.links.directions:
            refused = await rig.dial(*pair)
            with pytest.raises(ConnectionResetError):
                await refused.receive(1)
        assert rig.counters(*direction).connections_cut == 3
        assert len(rig.accepted["b"]) == 1
        assert rig.accepted["a"] == []
        rig.links.heal()
        a, b = await rig.connect()
        a.send(b"again")
        assert await b.receive(5) == b"again"

    cut()


@with_rig
async def test_cut_ends_what_a_drop_held(rig: Rig) -> None:
    a, _ = await rig.connect()
    hanging = await rig.dial()
    rig.links.set_fault("a", "b", DROP)
    a.send(b"never")
    await until(lambda: rig.counters().bytes_held == 5)
    rig.links.set_fault("a", "b", CUT)
    for peer in (a, hanging):
        with pytest.raises(ConnectionResetError):
            await peer.receive(1)
    assert rig.counters().bytes_held == 0
    assert rig.counters().bytes_delivered == 0
    assert rig.counters().connections_open == 0


@with_rig
async def test_directions_set_together_each_count_their_hit(rig: Rig) -> None:
    """A test that asks either direction whether its cut happened gets the same answer."""
    for fault in (CUT, RESET):
        a, _ = await rig.connect()
        rig.links.set_faults(rig.links.directions, fault)
        with pytest.raises(ConnectionResetError):
            await a.receive(1)
        rig.links.heal()
    for pair in rig.links.directions:
        assert rig.counters(*pair).connections_cut == 1
        assert rig.counters(*pair).connections_reset == 1


@with_rig
async def test_reset_hits_open_connections_once(rig: Rig) -> None:
    a, b = await rig.connect()
    rig.links.set_fault("a", "b", RESET)
    for peer in (a, b):
        with pytest.raises(ConnectionResetError):
            await peer.receive(1)
    assert rig.counters().connections_reset == 1
    assert rig.links.fault("a", "b") == Fault()
    a, b = await rig.connect()
    a.send(b"again")
    assert await b.receive(5) == b"again"
    assert rig.counters().connections_reset == 1


@pytest.mark.parametrize(
    "fault", [Fault(), DROP, CUT, RESET, Fault(Mode.DELAY, 5, 2.5, 1000), Fault(rate_bytes_s=7)]
)
def test_a_fault_survives_the_control_protocol(fault: Fault) -> None:
    assert Fault.from_json(fault.to_json()) == fault


@pytest.mark.parametrize(
    "measures",
    [
        {"mode": Mode.CUT, "delay_ms": 1},
        {"mode": Mode.DROP, "rate_bytes_s": 1},
        {"mode": Mode.DELAY, "delay_ms": -1},
    ],
)
def test_a_fault_refuses_measures_its_mode_has_not(measures: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"mode|negative"):
        Fault(**measures)
