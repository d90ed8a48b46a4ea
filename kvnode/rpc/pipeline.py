"""Many calls on one stream: the Pipeline RPC.

Of a call of its own, gRPC's share costs this node about twice that of a message on an open stream
(bare echoes: 0.34 and 0.18 ms of processor time). And of calls, gRPC's asyncio server takes up one
per turn: what comes faster than the loop turns waits inside gRPC, where nobody can answer it, until
gRPC cancels it. Messages of a stream are joined by their sender while another is on its way, so all
that is offered is seen, and what is too much is refused in words.

Each request is a task. Answers leave in the order in which they are ready; those that become ready
while another is being sent go together in the next message.

=====================================  ============================================================
what happens                           what becomes of a stream
=====================================  ============================================================
its caller half-closes it              all that was read is answered, then it ends
the node stops                         the caller is told (``closing``); requests are answered until
                                       it half-closes, for ``END_S`` at most; then STOPPING
a message that is none, a number       it ends with the error, behind the answers that were ready
used twice
its caller goes                        what has not begun is not done, as with calls
more than ``OPEN_MAX`` are open, or    nothing is read: gRPC's flow control holds the caller
too large ones, for it or for all
a request was long on its way          that counts towards its deadline (``lateness.py``)
all requests come late, and the node   writes are refused before they are parsed (``Standing``);
is at work all the time                reads go on
an answer cannot be sent               the caller has gone; nothing more is read
=====================================  ============================================================
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

import grpc
import grpc.aio
from google.rpc.status_pb2 import Status

from kvnode.core.errors import Reason, Refused
from kvnode.rpc.handlers import (
    WAIT_S_MAX,
    Context,
    RawCall,
    abort,
    failure_of,
    parse,
    time_to_answer,
)
from kvnode.rpc.lateness import Lateness, Standing
from kvnode.v1 import kv_pb2 as pb

OPEN_MAX: Final = 1_000
"""Of one stream, read and not answered. More than the queue holds of usual batches, so that this is
not what holds back a caller who should be refused."""

OPEN_BYTES_MAX: Final = 32 << 20
"""Of one stream, in requests that are not answered and answers that are not sent."""

ALL_BYTES_MAX: Final = 256 << 20
"""Of all together: where there are many, each may have less. A stream that has nothing open may
always begin one request, so that those who do not take their answers hold up nobody else."""

END_S: Final = 0.5
"""How long a stopping node waits for a caller to half-close, once all is answered."""

TOGETHER_BYTES: Final = 1 << 20
"""A message of answers takes no more once it has so many."""


class Pipelines:
    """The streams of all callers of a service."""

    def __init__(
        self,
        reads: Mapping[str, RawCall],
        writes: Mapping[str, RawCall],
        closing: asyncio.Event,
        busy_s: Callable[[], float],
    ) -> None:
        """What streams share.

        Args:
            reads: calls by the method's name.
            writes: the others, which are refused if too many of them wait.
            closing: set when the node begins to stop.
            busy_s: seconds for which the node has been at work.
        """
        self.calls = {**reads, **writes}
        self.writes = frozenset(writes)
        self.closing = closing
        self.busy_s = busy_s
        self.streams = 0
        """That are being served."""

    @property
    def bytes_max(self) -> int:
        """What each may hold now."""
        return min(OPEN_BYTES_MAX, ALL_BYTES_MAX // max(1, self.streams))

    def handler(self) -> grpc.RpcMethodHandler[bytes, bytes]:
        """Of the RPC."""

        async def handle(raws: AsyncIterator[bytes], context: Context) -> None:
            # The caller may be gone, which gRPC would log as an error with a traceback.
            with suppress(grpc.aio.InternalError, grpc.aio.UsageError):
                try:
                    await Stream(self, context).serve(raws)
                except grpc.aio.BaseError:
                    raise
                except Exception as error:
                    ending = abort(context, error)
                    del raws, context
                    await ending

        return grpc.stream_stream_rpc_method_handler(handle)


class Stream:
    """One caller's."""

    def __init__(self, together: Pipelines, context: Context) -> None:
        self._together = together
        self._context = context
        self._lateness = Lateness()
        self._standing = Standing(together.busy_s)
        self._open: set[int] = set()
        """Numbers whose answers are not ready."""
        self._tasks: set[asyncio.Task[None]] = set()
        """Theirs, and that which sends."""
        self._held, self._held_bytes = 0, 0
        """Requests that are not answered and answers that are not sent."""
        self._less_held = asyncio.Event()
        self._ready: list[bytes] = []
        """Serialised answers that are not sent."""
        self._news = b""
        """To be sent before them: that the node stops."""
        self._sending = False
        self._reader: asyncio.Task[None] | None = None
        self._broken: Exception | None = None
        """Why an answer could not be sent."""

    async def serve(self, raws: AsyncIterator[bytes]) -> None:
        """Answer until the caller half-closes or the node stops.

        Raises:
            Refused: what the stream ends with: STOPPING, or the caller broke the rules. All that
                was read is answered.
            grpc.aio.BaseError: the caller has gone.
        """
        self._reader = reader = asyncio.create_task(self._read(raws), name="pipeline")
        stopping = asyncio.create_task(self._together.closing.wait())
        self._together.streams += 1
        try:
            await asyncio.wait((reader, stopping), return_when=asyncio.FIRST_COMPLETED)
            if not reader.done():
                self._news = pb.PipelineReplies(closing=True).SerializeToString()
                await self._send()
                await self._last_calls(reader)
            await self._all_sent()
            if self._broken is not None:
                raise self._broken
            if reader.done():
                reader.result()
            else:
                raise Refused(Reason.STOPPING, "the node is stopping: use another one")
        finally:
            self._together.streams -= 1
            tasks = [reader, stopping, *self._tasks]
            for task in tasks:  # by itself: gRPC logs every task that it has to cancel
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # ---- requests

    async def _read(self, raws: AsyncIterator[bytes]) -> None:
        now = asyncio.get_running_loop().time
        async for raw in raws:
            arrived = now()
            for request in parse(pb.PipelineRequests, raw).requests:
                while self._held >= OPEN_MAX or self._held_bytes >= self._together.bytes_max:
                    self._less_held.clear()
                    await self._less_held.wait()
                late_s = self._lateness.of(request.sent_ms, arrived) + now() - arrived
                self._begin(request, late_s, now())

    def _begin(self, request: pb.PipelineRequest, late_s: float, now: float) -> None:
        number = request.number
        if not number or number in self._open:
            raise Refused(
                Reason.BAD_REQUEST,
                f"request number {number} is 0 or not answered yet: count from 1",
            )
        self._open.add(number)
        self._hold(1, len(request.request))
        timeout_s = min(request.timeout_ms / 1000 or WAIT_S_MAX, WAIT_S_MAX) - late_s
        waited_s = late_s + request.waited_ms / 1000
        refused = self._standing.too_much(waited_s, now) and request.method in self._together.writes
        refused_s = waited_s if refused else 0.0
        task = asyncio.create_task(self._answer(request, timeout_s, refused_s))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(
        self, request: pb.PipelineRequest, timeout_s: float, refused_s: float
    ) -> None:
        """``refused_s``: how long it has waited if that is too long, else 0."""
        number = request.number
        try:
            call = self._together.calls.get(request.method)
            if call is None:
                raise Refused(
                    Reason.BAD_REQUEST, f"no method {request.method!r} of one request and one reply"
                )
            if timeout_s <= 0:
                raise TimeoutError
            if refused_s:
                raise Refused(
                    Reason.QUEUE_FULL,
                    f"writes come faster than the node can take them: this one has waited for "
                    f"{refused_s:.1f} s: try again",
                )
            async with asyncio.timeout(timeout_s):
                raw = await call(request.request, time_to_answer(timeout_s))
            reply = pb.PipelineReply(number=number, reply=raw)
        except TimeoutError:
            code: int = grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
            reply = pb.PipelineReply(number=number, error=Status(code=code))
        except Exception as error:
            reply = pb.PipelineReply(number=number, error=failure_of(error))
            error.__traceback__ = None  # its frames lead back to it, by way of the future
        answer = pb.PipelineReplies(replies=[reply]).SerializeToString()
        self._open.remove(number)
        self._hold(0, len(answer) - len(request.request))
        self._ready.append(answer)
        await self._send()

    def _hold(self, count: int, size: int) -> None:
        self._held += count
        self._held_bytes += size
        self._less_held.set()

    # ---- answers

    async def _send(self) -> None:
        """Send what is ready, and what becomes ready meanwhile, unless another task does."""
        if self._sending or self._broken is not None:
            return
        self._sending = True
        try:
            while self._ready or self._news:
                news, self._news = self._news, b""
                together = first(self._ready, TOGETHER_BYTES)
                await self._context.write(b"".join((news, *together)))
                del self._ready[: len(together)]
                self._hold(-len(together), -sum(map(len, together)))
        except grpc.aio.BaseError as error:
            self._broken = error
            if self._reader is not None:
                self._reader.cancel()
        finally:
            self._sending = False

    async def _all_sent(self) -> None:
        """Return when every request that was read is answered, or nothing can be sent."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _last_calls(self, reader: asyncio.Task[None]) -> None:
        """Go on until the caller half-closes, or has nothing open for a while."""
        while not reader.done():
            await self._all_sent()
            await asyncio.wait((reader,), timeout=END_S)
            if not self._tasks:
                return


def first(ready: Sequence[bytes], size_max: int) -> list[bytes]:
    """As many of the first as fit together; at least one, if there is any."""
    taken: list[bytes] = []
    size = 0
    for each in ready:
        size += len(each)
        if taken and size > size_max:
            break
        taken.append(each)
    return taken
