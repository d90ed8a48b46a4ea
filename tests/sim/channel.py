"""gRPC without gRPC: calls between simulated hosts, through the real stubs, links and services.

The client's side is a channel as ``grpc.aio`` has them, as far as kvnode's stubs, ``Link`` and
``VerificationLink`` use one. The server's side runs a node's own handlers, with the bytes of the
messages. In between is ``network.py``. Server tasks belong to the node's process and die with it;
what is told to the client's side afterwards is that the connection is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Protocol

import grpc
import grpc.aio

from kvnode.v1 import replication_pb2
from tests.sim.loop import PROCESS, Process
from tests.sim.network import Network, Way
from tests.sim.serving import Aborted, Details, Mailbox, Metadata, ServerContext

EOF = grpc.aio.EOF
PUSH = "/kvnode.v1.Replication/Push"
PULL = "/kvnode.v1.Replication/Pull"


class Host(Protocol):
    """Where calls go."""

    name: str

    def answering(self) -> tuple[Process, Sequence[grpc.GenericRpcHandler]] | None:
        """Its process and services; None if nobody listens."""
        ...


class Exchange:
    """One call, both sides of it."""

    def __init__(self, network: Network, source: str, target: Host, method: str) -> None:
        self.delivered = False
        """Whether a handler was begun."""
        self.broken = False
        """See ``Carried``."""
        self.status: tuple[grpc.StatusCode, str, Metadata] | None = None
        """As the client knows it."""
        self.replies = Mailbox()
        self._network = network
        self._source, self._target, self._method = source, target, method
        self._requests = Mailbox()
        self._caller = PROCESS.get()
        if self._caller is not None:
            self._caller.dialled[self] = None
        self._task: asyncio.Task[None] | None = None
        self._process: Process | None = None
        self._first: bytes | None = None
        self._up_s = self._down_s = 0.0
        self._begun = False
        self._ended = False
        self._deadline_s: float | None = None

    def limit(self, timeout_s: float | None) -> None:
        """The client waits no longer."""
        if timeout_s is not None:
            self._deadline_s = self._network.loop.time() + timeout_s

    def left_s(self) -> float | None:
        """How long the client still waits; None: for ever."""
        if self._deadline_s is None:
            return None
        return max(0.0, self._deadline_s - self._network.loop.time())

    @property
    def over(self) -> bool:
        """See ``Carried``."""
        return self.status is not None and (self._task is None or self._task.done())

    # ---- the client's side

    def ask(self, raw: bytes) -> None:
        """Send a message."""
        way = self._network.way(self._source, self._target.name)
        if self._first is None:
            self._first = raw
        elif way.repeat and self._method == PUSH and self._network.chance.random() < way.repeat:
            self._repeat(self._first, raw)
        if way.corrupt and self._method == PUSH:
            raw = _flipped(way, self._network, replication_pb2.PushRequest, raw)
        self._up(lambda: self._received(raw))

    def give_up(self, code: grpc.StatusCode, details: str) -> None:
        """The client does not want it any more."""
        if self.status is None:
            self._settle((code, details, ()))
            self._up(self._abandon)

    def _up(self, act: Callable[[], None]) -> None:
        self._up_s = self._network.carry(self._source, self._target.name, self, self._up_s, act)

    def _settle(self, status: tuple[grpc.StatusCode, str, Metadata]) -> None:
        if self.status is None:
            self.status = status
            self.replies.put(None)
            if self._caller is not None:
                self._caller.dialled.pop(self, None)

    def _repeat(self, first: bytes, raw: bytes) -> None:
        """Bring a message twice: on a stream of its own, whose answers nobody reads."""
        self._network.counts["fault: push message repeated"] += 1
        ghost = Exchange(self._network, self._source, self._target, self._method)
        ghost.ask(first)
        ghost.ask(raw)

        def end() -> None:
            ghost.give_up(grpc.StatusCode.CANCELLED, "")

        self._network._later(self._network.chance.uniform(0.05, 2.0), end)  # noqa: SLF001

    def abort(self) -> None:
        """Nothing of it was delivered, and nothing will be."""
        assert not self.delivered
        self._ended = True

    # ---- what the network does to it

    def fail(self, why: str) -> None:
        """See ``Carried``."""
        self._settle((grpc.StatusCode.UNAVAILABLE, why, ()))
        self._abandon()

    def _abandon(self) -> None:
        self._ended = True
        if self._task is not None and self._process is not None and not self._process.killed:
            self._task.cancel()

    # ---- the server's side

    def end(self) -> asyncio.Task[None]:
        """Its server stops: cancel what serves it."""
        assert self._task is not None
        self._task.cancel()
        return self._task

    def lose_server(self) -> None:
        """Its process has died."""
        self._down(lambda: self.fail("connection reset by peer"))

    def _received(self, raw: bytes) -> None:
        if self._ended:
            return
        if not self._begun:
            self._begun = True
            answering = self._target.answering()
            handler = None
            if answering is not None:
                handler = self._handler(answering[1])
            if answering is None or handler is None:
                self._down(lambda: self.fail("connection refused"))
                return
            self.delivered = True
            process = self._process = answering[0]
            process.served[self] = None
            loop = self._network.loop
            self._task = process.run(loop.create_task, self._serve(process, handler, raw))
            return
        if self._process is not None and self._process.killed:
            self._down(lambda: self.fail("connection reset by peer"))
            return
        self._requests.put(raw)

    def _handler(self, services: Sequence[grpc.GenericRpcHandler]) -> Any:
        details = Details(self._method)
        return next((found for each in services if (found := each.service(details))), None)

    async def _serve(self, process: Process, handler: Any, raw: bytes) -> None:
        context = ServerContext(self)
        status: tuple[grpc.StatusCode, str, Metadata] = (grpc.StatusCode.OK, "", ())
        try:
            if handler.request_streaming:
                await handler.stream_stream(self._asked(raw), context)
            elif handler.response_streaming:
                await handler.unary_stream(raw, context)
            else:
                self.answer(await handler.unary_unary(raw, context))
        except Aborted as aborted:
            status = aborted.status
        except asyncio.CancelledError:
            status = (grpc.StatusCode.CANCELLED, "the call was cancelled", ())
        finally:
            process.served.pop(self, None)
        self._down(lambda: self._settle(status))

    async def _asked(self, first: bytes) -> AsyncIterator[bytes]:
        yield first
        while True:
            yield await self._requests.get()

    def answer(self, raw: bytes) -> None:
        """Send a message back."""
        way = self._network.way(self._target.name, self._source)
        if way.corrupt and self._method == PULL:
            raw = _flipped(way, self._network, replication_pb2.PullReply, raw)
        self._down(lambda: self.replies.put(raw))

    def _down(self, act: Callable[[], None]) -> None:
        self._down_s = self._network.carry(self._target.name, self._source, self, self._down_s, act)


def hang_up(process: Process) -> None:
    """The process has died: whom it answered and whom it asked find out, in time."""
    for exchange in list(process.served):
        exchange.lose_server()
    for exchange in list(process.dialled):
        exchange.give_up(grpc.StatusCode.CANCELLED, "")
    process.served.clear()


def _flipped(way: Way, network: Network, kind: Any, raw: bytes) -> bytes:
    """The message with one bit of one of its blocks flipped, if it has any."""
    message = kind.FromString(raw)
    if not message.blocks:
        return raw
    way.corrupt -= 1
    network.counts["fault: bit flipped in a block on its way"] += 1
    number = network.chance.randrange(len(message.blocks))
    block = bytearray(message.blocks[number])
    position = network.chance.randrange(len(block))
    block[position] ^= 1 << network.chance.randrange(8)
    message.blocks[number] = bytes(block)
    flipped: bytes = message.SerializeToString()
    return flipped


class Call:
    """The client's end of a call, with what kvnode uses of ``grpc.aio``'s."""

    def __init__(self, exchange: Exchange, encode: Any, decode: Any) -> None:
        self.exchange = exchange
        self._encode, self._decode = encode, decode

    async def write(self, message: Any) -> None:
        """Send one message."""
        if self.exchange.status is not None:
            raise asyncio.InvalidStateError("the call is over")
        self.exchange.ask(self._encode(message))

    async def read(self) -> Any:
        """The next message, EOF at the end."""
        raw = None
        if self.exchange.status is None or self.exchange.replies._items:  # noqa: SLF001
            raw = await self.exchange.replies.get()
        if raw is not None:
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

    def __init__(self, network: Network, source: str, target: Host) -> None:
        self._network = network
        self._source, self._target = source, target
        self.last: Exchange | None = None
        """The call begun last."""

    def _begin(self, method: str, encode: Any, decode: Any) -> Call:
        self.last = Exchange(self._network, self._source, self._target, method)
        return Call(self.last, encode, decode)

    def stream_stream(
        self, method: str, request_serializer: Any, response_deserializer: Any, **_: Any
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
        self, method: str, request_serializer: Any, response_deserializer: Any, **_: Any
    ) -> Callable[..., Any]:
        """As ``grpc.aio.Channel``."""

        async def ask(request: Any, timeout: float | None = None) -> Any:  # noqa: ASYNC109
            call = self._begin(method, request_serializer, response_deserializer)
            call.exchange.limit(timeout)
            call.exchange.ask(request_serializer(request))
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


def error_of(exchange: Exchange) -> grpc.aio.AioRpcError:
    """The status as an exception."""
    assert exchange.status is not None
    code, details, metadata = exchange.status
    return grpc.aio.AioRpcError(
        code, grpc.aio.Metadata(), grpc.aio.Metadata(*metadata), details=details
    )
