"""How late requests of a stream are, and when that is too much: by a clock of the test's own."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo

from kvnode.core.errors import Reason
from kvnode.node.queues import Idle
from kvnode.rpc import lateness
from kvnode.rpc.lateness import LATE_S, SILENCE_S, STANDING_S, Lateness, Standing
from tests.storage.rig import run

from .pipelined import Played

STEP_S = STANDING_S / 8


class Node:
    """One that works for a share of the time."""

    def __init__(self) -> None:
        self.now = self.busy_s = 0.0
        self.standing = Standing(lambda: self.busy_s)

    def asks(self, seconds: float, waited_s: float, share: float = 1.0) -> list[bool]:
        """Requests for so long that have waited; which of them are too much."""
        found = []
        for _ in range(round(seconds / STEP_S)):
            self.now += STEP_S
            self.busy_s += STEP_S * share
            found.append(self.standing.too_much(waited_s, self.now))
        return found


def test_how_late_a_message_is_is_told_by_the_quickest_one() -> None:
    lateness = Lateness()
    assert lateness.of(1_000, 7.0) == 0.0
    assert lateness.of(2_000, 8.5) == pytest.approx(0.5)
    assert lateness.of(3_000, 8.75) == 0.0, "quicker than all before"
    assert lateness.of(4_000, 10.0) == pytest.approx(0.25)
    assert lateness.of(0, 1_000.0) == 0.0, "a caller that does not say"


def test_what_waits_for_longer_than_a_stall_lasts_is_too_much_until_one_is_in_time() -> None:
    node = Node()
    first = node.asks(STANDING_S, LATE_S)
    assert not any(first), "they may stand behind a stall"
    assert all(node.asks(10 * STANDING_S, LATE_S)), "they do not get fewer"
    assert not any(node.asks(STEP_S, LATE_S / 2))
    assert not any(node.asks(STANDING_S, LATE_S)), "it begins anew"


def test_what_comes_in_time_now_and_then_stands_behind_nothing() -> None:
    node = Node()
    for _ in range(10):
        assert not any(node.asks(STANDING_S, LATE_S))
        assert not any(node.asks(STEP_S, 0.0))


def test_what_a_slow_network_makes_late_is_taken() -> None:
    node = Node()
    assert not any(node.asks(20 * STANDING_S, 100.0, share=lateness.BUSY_SHARE / 2))
    assert any(node.asks(20 * STANDING_S, 100.0))
    assert not any(node.asks(20 * STANDING_S, 100.0, share=0.0)[20:]), "it is idle again"


def test_two_late_ones_with_nothing_between_them_do_not_tell_of_a_queue() -> None:
    node = Node()
    for _ in range(10):
        node.now += SILENCE_S
        node.busy_s += SILENCE_S
        assert not any(node.asks(STEP_S, LATE_S))


@pytest.mark.parametrize("busy", [True, False])
def test_a_stream_refuses_in_words_what_stands_behind_too_much(
    monkeypatch: pytest.MonkeyPatch, *, busy: bool
) -> None:
    monkeypatch.setattr(lateness, "STANDING_S", 0.0)

    async def test() -> None:
        played = Played()
        played.busy = busy
        played.caller.ask(1, waited_ms=round(LATE_S * 1000))
        await played.caller.heard(1)
        played.caller.ask(2, waited_ms=1_200)
        reply = (await played.caller.heard(2))[1]
        if busy:
            told, retry = ErrorInfo(), RetryInfo()
            assert reply.error.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
            assert reply.error.details[0].Unpack(told)
            assert reply.error.details[1].Unpack(retry)
            assert told.reason == Reason.QUEUE_FULL
            assert "1.2 s" in reply.error.message
        played.caller.ask(3, method="Look", waited_ms=1_200)
        assert (await played.caller.heard(3))[2].reply == b"3", "reads go on"
        assert played.calls.begun == (2 if busy else 3)
        played.caller.half_close()
        await played.served

    run(test)


def test_the_time_that_an_engine_is_not_idle_adds_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        now = 100.0
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
        idle = Idle()
        assert idle.is_set()
        for done in (0.0, 3.0, 6.0):
            assert idle.busy_s() == done
            now += 50.0
            assert idle.busy_s() == done, "not while it is idle"
            idle.clear()
            now += 1.0
            idle.clear()
            assert idle.busy_s() == done + 1, "while it works"
            now += 2.0
            idle.set()
            now += 1.0
            idle.set()

    run(test)
