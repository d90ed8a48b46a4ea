"""The calls that end with a node, after it: what an event loop has to wait for before it ends.

gRPC's server has stopped when its core has no call left. The handlers of those that it cancelled
may still be ending then, some steps of the event loop later. A loop that ends meanwhile cancels
what it finds, and for a call whose handler has just ended gRPC prints a traceback.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

ENDING_S = 5.0
"""Some milliseconds are usual; what takes longer is left to the event loop's end."""


async def calls_over() -> None:
    """Return when nothing but the caller runs on this event loop, whose nodes are closed."""
    with suppress(TimeoutError):
        async with asyncio.timeout(ENDING_S):
            while others := asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.wait(others)
