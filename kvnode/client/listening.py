"""One call of a watch: a message of the node is waited for until some moment, and is never lost.

gRPC waits for a message for as long as it takes, and who takes a wait back loses the message, or
in asyncio the whole call. So the wait goes on beside who iterates: in a thread, or in a task. It is
for one message, and only begins when that is asked for: else nothing is read from the node.

A thread that iterates may end anywhere, and the process with it. gRPC closes a channel only when
its own thread has seen the calls end, and that thread is stopped before what the program still
holds is given up: closing it then would wait for ever. So what is open is closed with ``atexit``,
which runs when the program's threads have ended and gRPC's have not.
"""

from __future__ import annotations

import asyncio
import math
import os
import threading
import time
from types import TracebackType
from typing import Any, Final, cast
from weakref import finalize

import grpc
import grpc.aio

from kvnode.client.channels import OPTIONS
from kvnode.client.dialling import Dialler
from kvnode.v1 import watch_pb2

METHOD: Final = "/kvnode.v1.Watches/Watch"
CALL_S: Final = 3_600.0
"""A call's deadline; then the watch makes the next one."""


class Idle:
    """When who iterates is to get something, though nothing came."""

    def __init__(self, idle_s: float | None) -> None:
        self._idle_s = math.inf if idle_s is None else idle_s
        self.due_s = math.inf

    def begin(self) -> None:
        """It waits from now on."""
        self.due_s = time.monotonic() + self._idle_s


class Line:
    """A call to one node, on a channel of its own. One thread asks; any may close it."""

    def __init__(self, address: str, dialler: Dialler, request: watch_pb2.WatchRequest) -> None:
        channel = dialler.channel(address, OPTIONS)
        self._end = finalize(self, _close, channel, os.getpid())
        self._call = _call(channel, request)
        self._changed = threading.Condition()
        self._asked = self._over = False
        self._answers: list[watch_pb2.WatchResponse | BaseException | None] = []
        threading.Thread(target=self._run, name="kvnode-watch", daemon=True).start()

    def __enter__(self) -> Line:
        """The call itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End it."""
        self.close()

    def close(self) -> None:
        """End the call and the connection. Who waits is answered."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
        self._end()

    def ask(self) -> None:
        """Read the next message."""
        with self._changed:
            self._asked = True
            self._changed.notify_all()

    def answered(self, until_s: float) -> bool:
        """Whether it is there, at the latest at that moment."""
        left_s = max(0.0, until_s - time.monotonic())
        with self._changed:
            return bool(self._changed.wait_for(lambda: self._answers or self._over, left_s))

    def answer(self) -> watch_pb2.WatchResponse | None:
        """The message; None if the node or ``close`` ended the call. Raises gRPC's error."""
        with self._changed:
            answer = self._answers.pop() if self._answers else None
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _run(self) -> None:
        while self._wanted():
            answer: watch_pb2.WatchResponse | BaseException | None
            try:
                answer = next(self._call, None)
            except BaseException as error:
                answer = error
            with self._changed:
                self._answers.append(answer)
                self._changed.notify_all()

    def _wanted(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._asked or self._over)
            self._asked = False
            return not self._over


class AsyncLine:
    """``Line`` for asyncio."""

    def __init__(self, address: str, dialler: Dialler, request: watch_pb2.WatchRequest) -> None:
        self._channel = dialler.aio_channel(address, OPTIONS)
        self._call = _call(self._channel, request)
        self._reading: asyncio.Future[Any] | None = None

    async def __aenter__(self) -> AsyncLine:
        """The call itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End it."""
        self.close()
        await self._channel.close()

    def close(self) -> None:
        """End the call. Who waits is answered with ``CancelledError``, gRPC's word for that."""
        self._call.cancel()

    def ask(self) -> None:
        """Read the next message."""
        self._reading = asyncio.ensure_future(self._call.read())
        self._reading.add_done_callback(_look_at)

    async def answered(self, until_s: float) -> bool:
        """Whether it is there, at the latest at that moment."""
        assert self._reading is not None, "who waits has asked"
        left_s = max(0.0, until_s - time.monotonic())
        done, _ = await asyncio.wait([self._reading], timeout=left_s)
        return bool(done)

    def answer(self) -> watch_pb2.WatchResponse | None:
        """The message; None if the node ended the call. Raises gRPC's error."""
        assert self._reading is not None, "who is answered has asked"
        message = self._reading.result()
        return None if message is grpc.aio.EOF else cast("watch_pb2.WatchResponse", message)


def _call(channel: Any, request: watch_pb2.WatchRequest) -> Any:
    method = channel.unary_stream(
        METHOD,
        watch_pb2.WatchRequest.SerializeToString,
        watch_pb2.WatchResponse.FromString,
    )
    return method(request, timeout=CALL_S)


def _close(channel: grpc.Channel, process: int) -> None:
    """Unless it is the parent's, before a fork: the threads that would end its calls are there."""
    if os.getpid() == process:
        channel.close()


def _look_at(reading: asyncio.Future[Any]) -> None:
    """An error that nobody waits for any more is no news."""
    if not reading.cancelled():
        reading.exception()
