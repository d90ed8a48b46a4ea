"""Following changes, through any node that is there.

>>> with Watch("127.0.0.1:7080,127.0.0.1:7081", prefix="cart/", since=BEGINNING) as watch:
...     for change in watch:
...         print(change.key, change.state.values)

A watch follows one node and goes on at another one, behind the last token, when that is gone,
silent or has not got there yet. Whatever happens, each write is in exactly one change, and comes
after all that it was made after (``proto/kvnode/v1/watch.proto`` says what a change shows).

Changes are handed out when all that belongs together has arrived, so memory is bounded by the
largest batch and what its keys hold; while the program does not ask for more, nothing more is read
from the node. Read models take ``steps()`` and store each step's token in the transaction that
stores its changes; then every change is applied exactly once, whoever crashes.

It ends with an exception, never in silence: ``WatchBehind`` if no endpoint has kept what comes
next, ``NodeUnavailable`` if none has told of anything for ``patience_s``, or a refusal. ``token``
is where to go on then.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, suppress
from types import TracebackType
from typing import Any, Final, cast

import grpc
import grpc.aio

from kvnode.client.changes import BEGINNING, Change, Course, KeyWrite, Step, WriteKind
from kvnode.client.channels import OPTIONS
from kvnode.client.status import Failure, Fate, failure_of
from kvnode.errors import NodeFailure, NodeUnavailable
from kvnode.v1 import watch_pb2

__all__ = ["BEGINNING", "AsyncWatch", "Change", "KeyWrite", "Step", "Watch", "WriteKind"]

METHOD: Final = "/kvnode.v1.Watches/Watch"
CALL_S: Final = 3_600.0
"""A call's deadline; then the watch makes the next one."""
PATIENCE_S: Final = 30.0
HEARTBEAT_S: Final = 5.0


class Watch:
    """A watch for threads. One thread iterates; any may close it."""

    def __init__(
        self,
        endpoints: str | Sequence[str],
        *,
        prefix: bytes | str = b"",
        since: bytes | None = None,
        patience_s: float = PATIENCE_S,
        heartbeat_s: float = HEARTBEAT_S,
        on_waiting: Callable[[str], None] | None = None,
    ) -> None:
        """Nothing is sent before the first change is asked for.

        Args:
            endpoints: "HOST:PORT,HOST:PORT" or a sequence of such, best first.
            prefix: only keys that begin with it.
            since: the token behind which to go on; BEGINNING: first all keys that are there;
                None: what changes from now on.
            patience_s: how long no endpoint may tell of anything.
            heartbeat_s: how often the node is to give a sign of life, 0.1 to 60.
            on_waiting: called when no endpoint has been well for a second, once until one is,
                with the endpoints and the cause: "10.0.0.1:7080 (connection refused)".
        """
        self._course = Course(
            endpoints, prefix, since, patience_s=patience_s, heartbeat_s=heartbeat_s
        )
        self._on_waiting = on_waiting
        self._closed = threading.Event()
        self._call: Any = None

    def __repr__(self) -> str:
        """As one that goes on from here is made."""
        return f"Watch({self._course.described()})"

    @property
    def token(self) -> bytes:
        """Where to go on: behind the last step that was handed out. Empty: nothing came yet."""
        return self._course.token

    def close(self) -> None:
        """End the watch: iteration stops."""
        self._closed.set()
        call = self._call
        if call is not None:
            call.cancel()

    def __enter__(self) -> Watch:
        """The watch itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End it."""
        self.close()

    def __iter__(self) -> Iterator[Change]:
        """Change by change."""
        for step in self.steps():
            yield from step.changes

    def steps(self) -> Iterator[Step]:
        """Step by step: for who stores the token together with what the changes made."""
        course = self._course
        while not self._closed.is_set():
            try:
                yield from self._follow()
                failure = _ended(course.address)
            except grpc.RpcError as error:
                failure = failure_of(error, course.address)
            if not self._closed.is_set():
                now_s = time.monotonic()
                pause_s = course.failed(failure, now_s)
                complaint = course.complaint(failure, now_s)
                if complaint and self._on_waiting:
                    self._on_waiting(complaint)
                self._closed.wait(pause_s)

    def _follow(self) -> Iterator[Step]:
        """The steps of one call; it should end with ``grpc.RpcError``."""
        course = self._course
        with grpc.insecure_channel(course.address, options=OPTIONS) as channel:
            method = channel.unary_stream(
                METHOD,
                watch_pb2.WatchRequest.SerializeToString,
                watch_pb2.WatchResponse.FromString,
            )
            call: Any = method(course.request(), timeout=CALL_S)
            self._call = call
            with _Silence(call) as silence:
                while not self._closed.is_set():
                    silence.expect(course.silence_s)
                    response = next(call, None)
                    silence.heard()
                    if response is None:
                        return
                    step = course.take(response)
                    if step is not None:
                        yield step


class _Silence:
    """Cancels a call at its end, or when its node says nothing for too long: gRPC would wait."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._changed = threading.Condition()
        self._until: float | None = None
        self._over = False
        self._thread = threading.Thread(target=self._run, name="kvnode-watch", daemon=True)

    def __enter__(self) -> _Silence:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._over = True
            self._changed.notify()
        self._call.cancel()

    def expect(self, within_s: float) -> None:
        """Something has to be heard within so long."""
        with self._changed:
            self._until = time.monotonic() + within_s
            self._changed.notify()

    def heard(self) -> None:
        """It was; the program may take its time now."""
        with self._changed:
            self._until = None

    def _run(self) -> None:
        with self._changed:
            while not self._over:
                left_s = None if self._until is None else self._until - time.monotonic()
                if left_s is not None and left_s <= 0:
                    self._call.cancel()
                    return
                self._changed.wait(left_s)


class AsyncWatch:
    """A watch for asyncio: as ``Watch``, with ``async for``. One task iterates."""

    def __init__(
        self,
        endpoints: str | Sequence[str],
        *,
        prefix: bytes | str = b"",
        since: bytes | None = None,
        patience_s: float = PATIENCE_S,
        heartbeat_s: float = HEARTBEAT_S,
        on_waiting: Callable[[str], None] | None = None,
    ) -> None:
        """As ``Watch``."""
        self._course = Course(
            endpoints, prefix, since, patience_s=patience_s, heartbeat_s=heartbeat_s
        )
        self._on_waiting = on_waiting
        self._closed = asyncio.Event()
        self._call: Any = None

    def __repr__(self) -> str:
        """As one that goes on from here is made."""
        return f"AsyncWatch({self._course.described()})"

    @property
    def token(self) -> bytes:
        """Where to go on: behind the last step that was handed out. Empty: nothing came yet."""
        return self._course.token

    def close(self) -> None:
        """End the watch: iteration stops."""
        self._closed.set()
        if self._call is not None:
            self._call.cancel()

    async def __aenter__(self) -> AsyncWatch:
        """The watch itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End it."""
        self.close()

    async def __aiter__(self) -> AsyncIterator[Change]:
        """Change by change."""
        async with aclosing(self.steps()) as steps:
            async for step in steps:
                for change in step.changes:
                    yield change

    async def steps(self) -> AsyncGenerator[Step]:
        """Step by step: for who stores the token together with what the changes made."""
        course = self._course
        while not self._closed.is_set():
            try:
                async with aclosing(self._follow()) as steps:
                    async for step in steps:
                        yield step
                failure = _ended(course.address)
            except TimeoutError:
                failure = _silent(course.address, course.silence_s)
            except grpc.RpcError as error:
                failure = failure_of(error, course.address)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if not self._closed.is_set() or (task and task.cancelling()):
                    raise
                return  # gRPC's word for the end that ``close`` made
            if not self._closed.is_set():
                now_s = time.monotonic()
                pause_s = course.failed(failure, now_s)
                complaint = course.complaint(failure, now_s)
                if complaint and self._on_waiting:
                    self._on_waiting(complaint)
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await self._closed.wait()

    async def _follow(self) -> AsyncGenerator[Step]:
        """The steps of one call; it should end with ``grpc.RpcError``."""
        course = self._course
        async with grpc.aio.insecure_channel(course.address, options=OPTIONS) as channel:
            method = channel.unary_stream(
                METHOD,
                watch_pb2.WatchRequest.SerializeToString,
                watch_pb2.WatchResponse.FromString,
            )
            call = self._call = method(course.request(), timeout=CALL_S)
            while not self._closed.is_set():
                async with asyncio.timeout(course.silence_s):
                    response = await call.read()
                if response is grpc.aio.EOF:
                    return
                step = course.take(cast("watch_pb2.WatchResponse", response))
                if step is not None:
                    yield step


def _ended(address: str) -> Failure:
    """What no kvnode does."""
    return Failure(Fate.BROKEN, NodeFailure(f"{address} ended a watch without an error"), None)


def _silent(address: str, within_s: float) -> Failure:
    said = f"{address} has said nothing for {within_s:g} s"
    return Failure(Fate.LOST, NodeUnavailable(said), None)
