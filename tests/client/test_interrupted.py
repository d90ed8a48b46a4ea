"""Callers that a signal takes away while others count on them."""

from __future__ import annotations

import signal
import threading

import pytest

from kvnode import Client
from kvnode.client.failover import Failover
from kvnode.client.lanes import Entry
from kvnode.client.threads import ThreadDriver
from tests.client.scripted import ScriptedNode
from tests.client.test_lane_policy import entry, lane
from tests.client.test_lanes import away, waiting


def test_a_caller_that_a_signal_takes_away_leaves_the_others_their_call(
    node: ScriptedNode,
) -> None:
    """Ctrl-C, an alarm: it would have made the next call for all who wait, as the most patient."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def later() -> None:
        waiting(client, 1)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    gate = threading.Event()
    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with Client(node.address, timeout_s=60) as client, away(node, client, gate) as pool:
            pool.submit(later)
            with pytest.raises(KeyboardInterrupt):
                client.put("interrupted", "v", timeout_s=60)
            others = [pool.submit(client.put, f"k{number}", "v") for number in range(3)]
            waiting(client, 4)
            gate.set()
            for other in others:
                assert other.result(60).dot
            assert client.put("last", "v").dot
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert b"interrupted" not in [each.put.key for each in node.operations]


def test_a_leader_that_a_signal_takes_away_hands_its_call_on() -> None:
    """The signal comes when the caller was chosen, and before it went."""
    driver = ThreadDriver(Failover(["127.0.0.1:1"], lambda: 0.0))
    mine, other = entry(b"a"), entry(b"b")
    told: list[str] = []
    other.wake = lambda: told.append("other")
    found = lane(mine, other)
    flight = found.begin()
    mine.flight = flight
    driver._leave(found, mine)  # noqa: SLF001 - a moment no test can hit from outside
    assert (mine.settled, other.flight, told) == (True, flight, ["other"])
    driver._leave(found, other)  # noqa: SLF001
    assert other.settled
    assert found.flights == []


class Startled(Entry):
    """A signal comes while it is being settled."""

    @property
    def reply(self) -> object:
        """There is none."""
        return None

    @reply.setter
    def reply(self, reply: object) -> None:
        if reply is not None:
            raise KeyboardInterrupt


def test_a_leader_that_a_signal_takes_away_leaves_none_that_cannot_be_settled() -> None:
    """Its caller would wait for ever, beyond its deadline."""
    found = Startled("", (b"k",), 1, "put", 9.0, is_write=True)
    with pytest.raises(KeyboardInterrupt):
        found.settle("done")
    found.give_up()
    assert found.settled
