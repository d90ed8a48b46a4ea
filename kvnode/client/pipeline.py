"""A loop's calls of one node on one stream: that halves gRPC's share of their cost there.

Requests that come while others are being sent go together in the next message. Each has a number
and a time of its own; its answer comes whenever it is known. The stream begins with the first
request and ends when none came for a while, so a client that does nothing occupies nothing. It also
ends after ``STREAM_S``, and the next request begins another.

A request whose time is over must not be carried out later: the client lets the next write of that
key go, maybe to another node. One that is not sent yet is taken back. One that is sent says when,
and the node counts how long it lay in buffers, if it or the network stood still (``sent_ms``). That
needs an earlier message to compare with; a stream on which nothing ever came back is cancelled
instead, which withdraws all that is on it.

What the end of the stream means for requests without an answer is what gRPC's error says, as for a
call: it never left this process, or the node is stopping and has not taken it, or it is lost
(``status.py``). A node that is about to stop says so beforehand. What comes then is answered here,
in the words of that node, and not sent: a message that is on its way when a stream ends would turn
what the node says into gRPC's INTERNAL, a call that is on its way when the node's server stops is
CANCELLED, and of either nobody could tell what became of it.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import grpc.aio
from google.protobuf.message import DecodeError
from grpc import RpcError, StatusCode

from kvnode.client.channels import FRESH_S, Method
from kvnode.client.rpcs import SERVICE
from kvnode.client.status import CODES_BY_NUMBER, DETAILS_KEY, STOOD_STILL
from kvnode.core.errors import Reason
from kvnode.errors import DOMAIN
from kvnode.v1 import kv_pb2 as pb

PATH: Final = SERVICE + "Pipeline"

REQUEST_BYTES_MAX: Final = 1 << 20
"""A larger one goes by itself: it would hold up those behind it, and could be too much for the
node, which ends all that is on the stream."""

LINGER_S: Final = 10 * FRESH_S
"""Without a request for so long the stream ends."""

TOGETHER_BYTES: Final = 1 << 20
"""A message of requests takes no more once it has so many."""

STREAM_S: Final = 60.0
"""So long a stream takes requests: when they were sent is told by two clocks, which drift."""

STOPPING_S: Final = 1.0
"""A node that said that it stops is asked nothing until its stream has ended, and to write nothing
for so long then, or until its health is well again."""


Answer = asyncio.Future[pb.PipelineReply | RpcError]


class StreamEnded(Exception):
    """Before the answer: with gRPC's ``error``."""

    def __init__(self, error: RpcError) -> None:
        super().__init__(error)
        self.error = error


@dataclass(slots=True)
class Asked:
    """A request that is not sent yet."""

    method: str
    request: bytes
    at: float
    """The event loop's time."""
    until: float

    def message(self, number: int, now: float) -> bytes:
        """To be joined with others."""
        request = pb.PipelineRequest(
            number=number,
            method=self.method,
            request=self.request,
            timeout_ms=max(1, round((self.until - now) * 1000)),
            sent_ms=round(now * 1000),
            waited_ms=round((now - self.at) * 1000),
        )
        return pb.PipelineRequests(requests=[request]).SerializeToString()


class Pipeline:
    """One stream, of which the tasks that are asked to send and receive belong to the loop."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        loop = asyncio.get_running_loop()
        self.over = False
        """It takes no more requests."""
        self._stopping_until = -math.inf
        self._call: Any = channel.stream_stream(PATH)()
        self._waiting: dict[int, Answer] = {}
        self._numbers = count(1)
        self._ready: dict[int, Asked] = {}
        """Not sent yet."""
        self._to_send = asyncio.Event()
        self._was_answered = False
        self._asked_at = loop.time()
        self._until = self._asked_at + STREAM_S
        self._writer = loop.create_task(self._write())
        self._reader = loop.create_task(self._read())
        self._look = loop.call_later(LINGER_S, self._consider_end)

    @property
    def node_stops(self) -> bool:
        """The node has said so."""
        return asyncio.get_running_loop().time() < self._stopping_until

    @property
    def ended(self) -> bool:
        """All is answered or lost."""
        return self._reader.done()

    async def ask(self, method: Method[Any, Any], request: bytes, timeout_s: float) -> object:
        """The reply, or gRPC's error where the node or its silence is the answer.

        Raises:
            StreamEnded: nobody has answered, and nobody will.
        """
        if self.over:
            raise StreamEnded(error_of(StatusCode.UNAVAILABLE, STOOD_STILL))
        loop = asyncio.get_running_loop()
        number = next(self._numbers)
        name = method.path.rpartition("/")[2]
        answer: Answer = loop.create_future()
        self._waiting[number] = answer
        self._asked_at = now = loop.time()
        self._ready[number] = Asked(name, request, now, now + timeout_s)
        self._to_send.set()
        overdue = loop.call_later(timeout_s, self._expire, number)
        try:
            reply = await answer
        finally:
            overdue.cancel()
            self._waiting.pop(number, None)
            self._ready.pop(number, None)
            self._consider_half_close()
        if isinstance(reply, RpcError):
            return reply
        if reply.HasField("error"):
            status = reply.error
            code = CODES_BY_NUMBER.get(status.code, StatusCode.UNKNOWN)
            return error_of(code, status.message, status.SerializeToString())
        if method.reply is None:
            return reply.reply
        try:
            return method.reply.FromString(reply.reply)
        except DecodeError as error:
            return error_of(StatusCode.INTERNAL, f"not a {name} reply: {error}")

    async def close(self) -> None:
        """End it; who waits for an answer gets none."""
        self._call.cancel()
        self._reader.cancel()
        await asyncio.gather(self._writer, self._reader, return_exceptions=True)
        self._settle(error_of(StatusCode.CANCELLED, "the stream was closed"))

    def _expire(self, number: int) -> None:
        """Its time is over."""
        answer = self._waiting.get(number)
        if answer is None or answer.done():
            return
        if self._ready.pop(number, None) is not None:
            answer.set_result(error_of(StatusCode.UNAVAILABLE, STOOD_STILL))
            return
        answer.set_result(error_of(StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"))
        if not self._was_answered:
            self.over = True
            self._call.cancel()

    async def _write(self) -> None:
        """Send what is ready, together, until the stream is over and all is answered."""
        now = asyncio.get_running_loop().time
        # what becomes of the stream, the reader is told
        with suppress(RpcError, asyncio.InvalidStateError):
            while not (self.over and not self._waiting):
                await self._to_send.wait()
                self._to_send.clear()
                while self._ready:
                    parts: list[bytes] = []
                    size = 0
                    while self._ready and size < TOGETHER_BYTES:
                        number = next(iter(self._ready))
                        parts.append(self._ready.pop(number).message(number, now()))
                        size += len(parts[-1])
                    await self._call.write(b"".join(parts))
            await self._call.done_writing()

    async def _read(self) -> None:
        """Hand out the answers until the stream ends."""
        error = error_of(StatusCode.CANCELLED, "the stream was cancelled here")
        try:
            while (raw := await self._call.read()) is not grpc.aio.EOF:
                self._take(pb.PipelineReplies.FromString(raw))
            error = error_of(StatusCode.UNKNOWN, "the stream ended before the answer")
        except RpcError as ended:
            error = ended
        except DecodeError as broken:
            self._call.cancel()
            error = error_of(StatusCode.INTERNAL, f"no PipelineReplies: {broken}")
        finally:
            self._settle(error)

    def _take(self, replies: pb.PipelineReplies) -> None:
        self._was_answered = True
        for reply in replies.replies:
            answer = self._waiting.pop(reply.number, None)
            if answer is not None and not answer.done():
                answer.set_result(reply)
        if replies.closing:
            self.over = True
            self._stopping_until = math.inf
        self._consider_half_close()

    def _settle(self, error: RpcError) -> None:
        """It has ended: nobody else is answered."""
        self.over = True
        self._look.cancel()
        self._writer.cancel()
        if self._stopping_until == math.inf:
            self._stopping_until = asyncio.get_running_loop().time() + STOPPING_S
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(StreamEnded(error))

    def _consider_end(self) -> None:
        """End it if nobody has asked for a while, or after its time."""
        loop = asyncio.get_running_loop()
        idle = not self._waiting and loop.time() >= self._asked_at + LINGER_S
        if idle or loop.time() >= self._until:
            self.over = True
            self._consider_half_close()
        else:
            self._look = loop.call_later(LINGER_S, self._consider_end)

    def _consider_half_close(self) -> None:
        if self.over and not self._waiting:
            self._to_send.set()


def stopping_error() -> RpcError:
    """What a node that stops answers."""
    from google.rpc.error_details_pb2 import ErrorInfo
    from google.rpc.status_pb2 import Status

    code, message = StatusCode.UNAVAILABLE, "the node is stopping: use another one"
    status = Status(code=code.value[0], message=message)
    status.details.add().Pack(ErrorInfo(reason=str(Reason.STOPPING), domain=DOMAIN))
    return error_of(code, message, status.SerializeToString())


def error_of(code: StatusCode, message: str, details: bytes = b"") -> RpcError:
    """What a call of its own would have ended with."""
    trailing = grpc.aio.Metadata(*([(DETAILS_KEY, details)] if details else []))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, details=message)
