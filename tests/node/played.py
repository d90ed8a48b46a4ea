"""A peer's side of a push stream, played by a test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from kvnode.core.dots import Vector
from kvnode.core.report import Hello, Report
from kvnode.rpc.link import LinkError

from .acquaintance import hello_of

OWN = 0xA
"""The origin of the node under test."""
PEER = hello_of("b", 0xB, "ab")
HEARTBEAT_MS = 20


class PlayedStream:
    """A peer that has ``has`` of the node's writes and takes, or does not take, what is pushed."""

    def __init__(
        self, *, has: int = 0, takes: bool = True, peer: Hello = PEER, others: Vector | None = None
    ) -> None:
        self.peer = peer
        self.others = others or {}
        """What it has of other origins."""
        self.has = has
        self.takes = takes
        self.sent: list[tuple[Report, int, int]] = []
        self.answers = 1
        self._questions: asyncio.Queue[int] = asyncio.Queue()

    async def send(
        self, report: Report, position: int, blocks: Sequence[bytes], hello: Hello | None
    ) -> None:
        self.sent.append((report, position, len(blocks)))
        if blocks and self.takes:
            self.has = position
        for _ in range(self.answers):
            self.answer(first=hello is not None)

    def answer(self, *, first: bool = False) -> None:
        """Answer one message."""
        self._questions.put_nowait(int(first))

    def fail(self) -> None:
        """End the stream; opened again, it goes on."""
        while not self._questions.empty():
            self._questions.get_nowait()
        self._questions.put_nowait(-1)

    async def receive(self) -> tuple[Report, Hello | None]:
        first = await self._questions.get()
        if first < 0:
            raise LinkError("cut")
        own = {OWN: self.has} if self.has else {}
        return Report(self.others | own, 0), self.peer if first else None

    def close(self) -> None:
        """Nothing is open."""


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until the condition holds; the caller's deadline bounds it."""
    while not condition():  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(HEARTBEAT_MS / 4000)
