"""Calls that a node cannot take up do not wait for ever where nobody sees them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from kvnode.rpc.server import WAITING_CALLS_MAX, Server

CALLS = 3_000
DEADLINE_S = 60.0


class StandingStill:
    """A server of one call, whose event loop can be made to stand still."""

    def __init__(self) -> None:
        self.port = 0
        self.begun = 0
        """Calls that reached their handler."""
        self.release = threading.Event()
        self._stands = threading.Event()
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._run()))
        self._thread.start()
        assert self._ready.wait(DEADLINE_S)

    async def _run(self) -> None:
        count: Any = grpc.unary_unary_rpc_method_handler(self._count)
        handlers = grpc.method_handlers_generic_handler("test.Test", {"Count": count})
        server = Server("127.0.0.1:0", [handlers])
        await server.start()
        self.port = server.port
        self._ready.set()
        await self._over.wait()
        await server.retire()
        await server.stop(0)

    async def _count(self, request: bytes, _context: Any) -> bytes:
        self.begun += 1
        return request

    def stand_still(self) -> None:
        """Until ``release``."""

        def wait() -> None:
            self._stands.set()
            self.release.wait(DEADLINE_S)

        self._loop.call_soon_threadsafe(wait)
        assert self._stands.wait(DEADLINE_S)

    def close(self) -> None:
        self.release.set()
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(DEADLINE_S)
        self._loop.close()


@pytest.fixture
def server() -> Iterator[StandingStill]:
    made = StandingStill()
    yield made
    made.close()


def test_calls_beyond_what_may_wait_are_cancelled_at_once_and_the_others_answered(
    server: StandingStill,
) -> None:
    """Else all would wait until those in front have given up, and none would be served in time."""
    turned_away, answered, over = [0], [0], threading.Condition()

    def ended(call: Any) -> None:
        with over:
            if call.code() is grpc.StatusCode.CANCELLED:
                turned_away[0] += 1
            elif call.code() is grpc.StatusCode.OK:
                answered[0] += 1
            over.notify()

    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        count: Any = channel.unary_unary("/test.Test/Count")
        count(b"", timeout=DEADLINE_S)
        server.stand_still()
        calls = [count.future(b"", timeout=DEADLINE_S) for _ in range(CALLS)]
        for call in calls:
            call.add_done_callback(ended)
        with over:
            few = CALLS - WAITING_CALLS_MAX - 2
            assert over.wait_for(lambda: turned_away[0] >= few, DEADLINE_S), turned_away
            assert answered == [0]
        server.release.set()
        with over:
            assert over.wait_for(lambda: turned_away[0] + answered[0] == CALLS, DEADLINE_S)
    assert answered[0] > 0
    assert server.begun == 1 + answered[0], "one that was cancelled was begun"
