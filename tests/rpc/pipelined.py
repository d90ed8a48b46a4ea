"""One caller's stream of calls with both ends in the test's hands, without gRPC between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

from kvnode.core.errors import Reason, Refused
from kvnode.rpc.pipeline import Pipelines, Stream
from kvnode.v1 import kv_pb2


class Caller:
    """Sends requests, and keeps what comes back; ``sending`` holds the node's answers."""

    def __init__(self) -> None:
        self.sending = asyncio.Event()
        self.sending.set()
        self.messages: list[kv_pb2.PipelineReplies] = []
        self._requests: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._news = asyncio.Event()

    def ask(
        self,
        *numbers: int,
        method: str = "Echo",
        timeout_ms: int = 0,
        sent_ms: int = 0,
        waited_ms: int = 0,
    ) -> None:
        """All in one message."""
        requests = [
            kv_pb2.PipelineRequest(
                number=number,
                method=method,
                request=b"%d" % number,
                timeout_ms=timeout_ms,
                sent_ms=sent_ms,
                waited_ms=waited_ms,
            )
            for number in numbers
        ]
        self.send(kv_pb2.PipelineRequests(requests=requests).SerializeToString())

    def send(self, raw: bytes) -> None:
        """A message."""
        self._requests.put_nowait(raw)

    def half_close(self) -> None:
        """No more of them."""
        self._requests.put_nowait(None)

    async def requests(self) -> AsyncIterator[bytes]:
        """As the node reads them."""
        while (raw := await self._requests.get()) is not None:
            yield raw

    async def write(self, raw: bytes) -> None:
        """As the node answers."""
        await self.sending.wait()
        self.messages.append(kv_pb2.PipelineReplies.FromString(raw))
        self._news.set()

    @property
    def replies(self) -> list[kv_pb2.PipelineReply]:
        """All that came."""
        return [reply for message in self.messages for reply in message.replies]

    async def heard(self, count: int) -> list[kv_pb2.PipelineReply]:
        """So many replies."""
        while len(self.replies) < count:
            self._news.clear()
            await self._news.wait()
        return self.replies


class Calls:
    """A service; its calls "Echo", and "Wait" which end when they are told to."""

    def __init__(self) -> None:
        self.waiting: dict[bytes, asyncio.Future[None]] = {}
        self.given_up: list[bytes] = []
        self.begun = 0

    async def echo(self, raw: bytes, _until: float) -> bytes:
        """The request."""
        self.begun += 1
        return raw

    async def wait(self, raw: bytes, _until: float) -> bytes:
        """The request, later."""
        self.begun += 1
        self.waiting[raw] = asyncio.get_running_loop().create_future()
        try:
            await self.waiting[raw]
        except asyncio.CancelledError:
            self.given_up.append(raw)
            raise
        return raw

    async def refuse(self, _raw: bytes, _until: float) -> bytes:
        """No."""
        raise Refused(Reason.QUEUE_FULL, "too much", limit="3")

    async def break_(self, _raw: bytes, _until: float) -> bytes:
        """A bug."""
        raise ZeroDivisionError

    async def has_waiting(self, count: int) -> None:
        """Return when so many wait."""
        while len(self.waiting) < count:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0)


class Played:
    """A stream that is being served."""

    def __init__(self) -> None:
        self.caller, self.calls, self.closing = Caller(), Calls(), asyncio.Event()
        self.busy = True
        calls = self.calls
        reads = {"Look": calls.echo}
        writes = {
            "Echo": calls.echo,
            "Wait": calls.wait,
            "Refuse": calls.refuse,
            "Break": calls.break_,
        }
        self.together = Pipelines(reads, writes, self.closing, self.busy_s)
        stream = Stream(self.together, cast("Any", self.caller))
        self.served = asyncio.create_task(stream.serve(self.caller.requests()))

    def busy_s(self) -> float:
        """Since ever, or never at all."""
        return asyncio.get_running_loop().time() if self.busy else 0.0
