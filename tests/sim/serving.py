"""What a service's handlers see of a played call."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, NoReturn, Protocol

import grpc

Metadata = Sequence[tuple[str, str | bytes]]


class Answered(Protocol):
    """A call, as a handler's context needs it."""

    def left_s(self) -> float | None:
        """Until the client's deadline."""
        ...

    async def room(self) -> None:
        """Wait until another message of a stream may be sent."""
        ...

    def answer(self, raw: bytes) -> None:
        """Send a message back."""
        ...


class Aborted(Exception):
    """A handler ended the call."""

    def __init__(self, code: grpc.StatusCode, details: str, metadata: Metadata) -> None:
        super().__init__(details)
        self.status = (code, details, metadata)


class Details(grpc.HandlerCallDetails):
    """What a service is asked with for its handler."""

    def __init__(self, method: str) -> None:
        self.method = method
        self.invocation_metadata = ()


class ServerContext:
    """What handlers get."""

    def __init__(self, exchange: Answered) -> None:
        self._exchange = exchange

    def time_remaining(self) -> float | None:
        """Until the client's deadline, seconds."""
        return self._exchange.left_s()

    async def write(self, raw: bytes) -> None:
        """One message of a stream, where the handler does not yield them."""
        await self._exchange.room()
        self._exchange.answer(raw)

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()
    ) -> NoReturn:
        """End the call."""
        raise Aborted(code, details, trailing_metadata)


class Mailbox:
    """Messages in their order, for one reader."""

    def __init__(self) -> None:
        self._items: deque[Any] = deque()
        self._waiting: asyncio.Future[None] | None = None

    def put(self, item: Any) -> None:
        """One more."""
        self._items.append(item)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def get(self) -> Any:
        """The next one."""
        while not self._items:
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None
        return self._items.popleft()


class Window:
    """How much of a stream may be on its way in one direction: gRPC's flow control.

    It counts messages, not bytes: those of a run are all small. One that lies unread at its
    receiver is on its way still, so who does not read holds who sends.
    """

    def __init__(self, most: int) -> None:
        """``most``: messages; 0: any number."""
        self._most = most
        self._open = 0
        self._over = False
        self._waiting: asyncio.Future[None] | None = None

    async def enter(self) -> None:
        """Send one, when there is room for it or no call any more."""
        while self._most and self._open >= self._most and not self._over:
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None
        self._open += 1

    def leave(self) -> None:
        """One was read."""
        self._open -= 1
        self._wake()

    def end(self) -> None:
        """Nobody is to be held any longer."""
        self._over = True
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
