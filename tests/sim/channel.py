"""gRPC without gRPC: calls between simulated hosts, through the real stubs, links and services.

The client's side is a channel as ``grpc.aio`` has them, as far as kvnode's stubs, ``Link``,
``VerificationLink`` and ``Pipeline`` use one. What becomes of a call is in ``exchange.py``, and of
its messages in ``network.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio

from tests.sim.exchange import Exchange, Host
from tests.sim.network import Network
from tests.sim.serving import Metadata

EOF = grpc.aio.EOF


class Call:
    """The client's end of a call, with what kvnode uses of ``grpc.aio``'s."""

    def __init__(self, exchange: Exchange, encode: Any, decode: Any) -> None:
        self.exchange = exchange
        self._encode, self._decode = encode or as_it_is, decode or as_it_is

    async def write(self, message: Any) -> None:
        """Send one message."""
        await self.exchange.up.enter()
        if self.exchange.status is not None:
            raise asyncio.InvalidStateError("the call is over")
        self.exchange.ask(self._encode(message))

    async def done_writing(self) -> None:
        """Nothing more will be sent."""
        self.exchange.half_close()

    async def read(self) -> Any:
        """The next message, EOF at the end."""
        raw = None
        if self.exchange.status is None or self.exchange.replies._items:  # noqa: SLF001
            raw = await self.exchange.replies.get()
        if raw is not None:
            self.exchange.down.leave()
            return self._decode(raw)
        assert self.exchange.status is not None
        if self.exchange.status[0] is not grpc.StatusCode.OK:
            raise error_of(self.exchange)
        return EOF

    async def __aiter__(self) -> AsyncIterator[Any]:
        while (message := await self.read()) is not EOF:
            yield message

    def cancel(self) -> bool:
        """Do not want it any more."""
        self.exchange.give_up(grpc.StatusCode.CANCELLED, "cancelled")
        return True

    def done(self) -> bool:
        """Whether its status is known."""
        return self.exchange.status is not None

    async def code(self) -> grpc.StatusCode:
        """Its status."""
        assert self.exchange.status is not None
        return self.exchange.status[0]

    async def details(self) -> str:
        """In words."""
        assert self.exchange.status is not None
        return self.exchange.status[1]

    async def trailing_metadata(self) -> Metadata:
        """With the reason."""
        assert self.exchange.status is not None
        return self.exchange.status[2]


class PlayedChannel:
    """From one host to another."""

    def __init__(self, network: Network, source: str, target: Host, window: int = 0) -> None:
        """``window``: of its streams, see ``Exchange``."""
        self._network = network
        self._window = window
        self._source, self._target = source, target
        self.last: Exchange | None = None
        """The call begun last."""

    def _begin(self, method: str, encode: Any, decode: Any) -> Call:
        self.last = Exchange(self._network, self._source, self._target, method, self._window)
        return Call(self.last, encode, decode)

    def stream_stream(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        **_: Any,
    ) -> Callable[[], Call]:
        """As ``grpc.aio.Channel``."""
        return lambda: self._begin(method, request_serializer, response_deserializer)

    def unary_stream(
        self, method: str, request_serializer: Any, response_deserializer: Any, **_: Any
    ) -> Callable[..., Call]:
        """As ``grpc.aio.Channel``."""

        def begin(request: Any, timeout: float | None = None) -> Call:  # noqa: ARG001
            call = self._begin(method, request_serializer, response_deserializer)
            call.exchange.ask(request_serializer(request))
            return call

        return begin

    def unary_unary(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        **_: Any,
    ) -> Callable[..., Any]:
        """As ``grpc.aio.Channel``. A connection there is at once or not: nobody waits for one."""
        encode = request_serializer or as_it_is

        async def ask(
            request: Any,
            timeout: float | None = None,  # noqa: ASYNC109
            wait_for_ready: bool = False,  # noqa: ARG001, FBT001, FBT002
        ) -> Any:
            call = self._begin(method, request_serializer, response_deserializer)
            call.exchange.limit(timeout)
            call.exchange.ask(encode(request))
            try:
                async with asyncio.timeout(timeout):
                    return await call.read()
            except TimeoutError:
                call.exchange.give_up(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
                raise error_of(call.exchange) from None
            finally:
                call.cancel()

        return ask

    async def close(self, grace: float | None = None) -> None:
        """Nothing is open but calls, which their owners end."""


def as_it_is(message: bytes) -> bytes:
    """Without a serializer messages are bytes."""
    return message


def error_of(exchange: Exchange) -> grpc.aio.AioRpcError:
    """The status as an exception."""
    assert exchange.status is not None
    code, details, metadata = exchange.status
    return grpc.aio.AioRpcError(
        code, grpc.aio.Metadata(), grpc.aio.Metadata(*metadata), details=details
    )
