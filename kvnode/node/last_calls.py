"""The last calls of a node: those that come while it stops, and those that end after it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Protocol

ENDING_S = 5.0
"""Some milliseconds are usual; what takes longer is left to the event loop's end."""

QUIET_S = 0.1
"""Without a request for so long, who wrote a moment ago has heard that the node stops."""

QUIET_S_MAX = 2.0
"""A node stops even if somebody does not hear it."""


class Asked(Protocol):
    """What is asked by callers."""

    asked_at: float


async def callers_gone(node: Asked) -> None:
    """Return when no more requests come to a node that refuses them all.

    gRPC's server, told to stop, cancels calls that it has not taken up yet, and a caller cannot
    tell these from calls that were begun: of a write it could not say what became of it. So it is
    not told before those who are at work have been refused in words, and have gone elsewhere.
    """
    now = asyncio.get_running_loop().time
    until = now() + QUIET_S_MAX
    while (left_s := min(node.asked_at + QUIET_S, until) - now()) > 0:  # noqa: ASYNC110 - of silence
        await asyncio.sleep(left_s)


async def calls_over() -> None:
    """Return when nothing but the caller runs on this event loop, whose nodes are closed.

    gRPC's server has stopped when its core has no call left. The handlers of those that it
    cancelled may still be ending then, some steps of the event loop later. A loop that ends
    meanwhile cancels what it finds, and for a call whose handler has just ended gRPC prints a
    traceback.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(ENDING_S):
            while others := asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.wait(others)
