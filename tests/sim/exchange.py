"""One call between simulated hosts, both sides of it.

The server's side runs a node's own handlers, with the bytes of the messages. Server tasks belong to
the node's process and die with it; what is told to the client's side afterwards is that the
connection is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Protocol

import grpc
import grpc.aio

from kvnode.client.pipeline import PATH as PIPELINE
from kvnode.client.status import NEVER_LEFT
from kvnode.errors import cause_of
from kvnode.v1 import kv_pb2, replication_pb2
from tests.sim.loop import PROCESS, Process
from tests.sim.network import Network, Way
from tests.sim.serving import Aborted, Details, Mailbox, Metadata, ServerContext, Window

PUSH = "/kvnode.v1.Replication/Push"
PULL = "/kvnode.v1.Replication/Pull"
NOBODY = f"{NEVER_LEFT}; last error: connection refused"
"""What gRPC says when a call was never sent, for want of a connection."""
CLOSING = kv_pb2.PipelineReplies(closing=True).SerializeToString()
UNNOTICED_S = 0.3
"""Until a handler hears that its connection broke, at most; its answers fail before that."""


class Host(Protocol):
    """Where calls go."""

    name: str

    def answering(self) -> tuple[Process, Sequence[grpc.GenericRpcHandler]] | None:
        """Its process and services; None if nobody listens."""
        ...


class Exchange:
    """One call, both sides of it."""

    def __init__(
        self, network: Network, source: str, target: Host, method: str, window: int = 0
    ) -> None:
        """``window``: so many messages may be on their way, each way; 0: any number."""
        self.delivered = False
        """Whether a handler was begun."""
        self.broken = False
        """See ``Carried``."""
        self.status: tuple[grpc.StatusCode, str, Metadata] | None = None
        """As the client knows it."""
        self.replies = Mailbox()
        self.up, self.down = Window(window), Window(window)
        """Of what is asked, and of what is answered."""
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
        self._is_pipeline = method == PIPELINE
        self._is_broken = False
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

    def half_close(self) -> None:
        """The client asks nothing more."""
        if self._first is None:
            self._settle((grpc.StatusCode.OK, "", ()))
        else:
            self._up(lambda: self._requests.put(None))

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
            self.up.end()
            if self._is_pipeline:
                why = cause_of(status[1]) or status[0].name
                self._network.counts[f"pipeline ended: {why}"] += 1
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

        self._network.later(self._network.chance.uniform(0.05, 2.0), end)

    def abort(self) -> None:
        """Nothing of it was delivered, and nothing will be."""
        assert not self.delivered
        self._ended = True

    # ---- what the network does to it

    def fail(self, why: str) -> None:
        """See ``Carried``."""
        self._is_broken = True
        self._settle((grpc.StatusCode.UNAVAILABLE, why, ()))
        self._abandon()

    def _abandon(self) -> None:
        if self._ended:
            return
        self._ended = True
        self.down.end()
        if self._is_broken and self._is_pipeline and self._network.chance.random() < 0.5:
            after_s = self._network.chance.uniform(0, UNNOTICED_S)
            self._network.later(after_s, self._cancel)
        else:
            self._cancel()

    def _cancel(self) -> None:
        if self._task is not None and self._process is not None and not self._process.killed:
            self._task.cancel()

    # ---- the server's side

    @property
    def serving(self) -> asyncio.Task[None]:
        """What serves it, once that has begun."""
        assert self._task is not None
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
                self._down(lambda: self.fail(NOBODY))
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
        raw: bytes | None = first
        while raw is not None:
            self.up.leave()
            yield raw
            raw = await self._requests.get()

    async def room(self) -> None:
        """Wait until a message of a stream may be sent back; gRPC's error if nobody is there."""
        await self.down.enter()
        if self._is_pipeline:
            await asyncio.sleep(0)  # what gRPC sends takes a turn of the loop, at least
        if self._ended:
            raise grpc.aio.InternalError("the call is over")

    def answer(self, raw: bytes) -> None:
        """Send a message back."""
        if self._is_pipeline and raw.startswith(CLOSING):
            self._network.counts["path: program told that the node stops"] += 1
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
