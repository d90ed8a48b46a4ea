"""An alarm rings when it was not put off for its time, and only then; seconds are virtual."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from kvnode.node.alarm import Alarm
from tests.sim.loop import VirtualLoop, run

AFTER_S = 10.0


def rings(put_off_at_s: Sequence[float], until_s: float) -> list[int]:
    """The seconds at which an alarm rings that is put off then."""
    found: list[int] = []

    async def main(loop: VirtualLoop) -> None:
        began = loop.time()
        alarm = Alarm(AFTER_S, lambda: found.append(round(loop.time() - began)))
        for moment in put_off_at_s:
            await asyncio.sleep(began + moment - loop.time())
            alarm.put_off()
        await asyncio.sleep(began + until_s - loop.time())
        alarm.cancel()
        await asyncio.sleep(10 * AFTER_S)

    run(main)
    return found


def test_left_alone_it_rings_again_and_again_until_it_is_cancelled() -> None:
    """Heartbeats come from it."""
    assert rings([], 35) == [10, 20, 30]


def test_put_off_it_rings_its_time_after_the_last_time() -> None:
    """Not at the next multiple: a peer is given up as late as is configured, no later."""
    assert rings([1, 9, 12.5], 22) == []
    assert rings([1, 9, 12], 35) == [22, 32]


def test_put_off_often_enough_it_never_rings() -> None:
    """Every message puts it off."""
    assert rings(range(9, 900, 9), 900) == []
