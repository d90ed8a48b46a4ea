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
from collections import deque
from collections.abc import (
    AsyncGenerator,
    Callable,
    Generator,
    Iterator,
    Sequence,
)
from contextlib import aclosing, closing, suppress
from types import TracebackType

import grpc

from kvnode.client.changes import BEGINNING, Change, Course, KeyWrite, Readers, Step, WriteKind
from kvnode.client.dialling import Dialler, Folder
from kvnode.client.listening import AsyncLine, Idle, Line
from kvnode.client.settings import HEARTBEAT_S, PATIENCE_S, positive_s
from kvnode.client.status import Failure, Fate, failure_of
from kvnode.errors import NodeFailure, NodeUnavailable

__all__ = ["BEGINNING", "AsyncWatch", "Change", "KeyWrite", "Step", "Watch", "WriteKind"]


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
        tls: Folder | None = None,
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
            tls: as for ``Client``.
        """
        self._course = Course(
            endpoints, prefix, since, patience_s=patience_s, heartbeat_s=heartbeat_s
        )
        self._dialler = Dialler(tls)
        self._on_waiting = on_waiting
        self._rest: deque[Change] = deque()
        self._closed = threading.Event()
        self._line: Line | None = None
        self._readers = Readers()

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
        line = self._line
        if line is not None:
            line.close()

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
        """Change by change; also those of a step that an earlier loop was left in the middle of."""
        yield from popped(self._rest)
        for step in self.steps():
            self._rest.extend(step.changes)
            yield from popped(self._rest)

    def steps(self, *, idle_s: float | None = None) -> Iterator[Step]:
        """Step by step: for who stores the token together with what the changes made.

        With ``idle_s`` there also is a step, without changes and with the token as it was, whenever
        none came for so long, whatever the nodes do: for who has something to do at times. Nothing
        is lost by it. RuntimeError for a second reader, while the first one waits.
        """
        return self._read(Idle(None if idle_s is None else positive_s(idle_s, "idle_s")))

    def _read(self, idle: Idle) -> Iterator[Step]:
        reader = self._readers.begin()
        try:
            idle.begin()
            with closing(self._steps(idle)) as steps:
                for step in steps:
                    self._readers.leave(reader)
                    yield step
                    self._readers.enter(reader)
                    idle.begin()
        finally:
            self._readers.leave(reader)

    def _steps(self, idle: Idle) -> Generator[Step]:
        course = self._course
        if self._line is not None:  # of an iteration that was left
            self._line.close()
        while not self._closed.is_set():
            try:
                yield from self._follow(idle)
                failure = _ended(course.address)
            except TimeoutError:
                failure = _silent(course.silence_s)
            except grpc.RpcError as error:
                failure = failure_of(error, course.address)
            if not self._closed.is_set():
                now_s = time.monotonic()
                pause_s = course.failed(failure, now_s)
                complaint = course.complaint(failure, now_s)
                if complaint and self._on_waiting:
                    self._on_waiting(complaint)
                yield from self._pause(pause_s, idle)

    def _follow(self, idle: Idle) -> Iterator[Step]:
        """The steps of one call; it should end with ``grpc.RpcError``, or TimeoutError."""
        course = self._course
        with Line(course.address, self._dialler, course.request()) as line:
            self._line = line
            while not self._closed.is_set():
                line.ask()
                until_s = time.monotonic() + course.silence_s
                while not line.answered(min(until_s, idle.due_s)):
                    if (now_s := time.monotonic()) >= until_s:
                        raise TimeoutError
                    yield course.still()
                    until_s += time.monotonic() - now_s  # that was the program's time
                response = line.answer()
                if response is None:
                    return
                step = course.take(response)
                if step is not None:
                    yield step

    def _pause(self, pause_s: float, idle: Idle) -> Iterator[Step]:
        """Waits, until the watch is closed; the steps are those of ``idle``."""
        until_s = time.monotonic() + pause_s
        while (now_s := time.monotonic()) < until_s:
            if self._closed.wait(max(0.0, min(until_s, idle.due_s) - now_s)):
                return
            if time.monotonic() >= idle.due_s:
                yield self._course.still()


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
        tls: Folder | None = None,
    ) -> None:
        """As ``Watch``."""
        self._course = Course(
            endpoints, prefix, since, patience_s=patience_s, heartbeat_s=heartbeat_s
        )
        self._dialler = Dialler(tls)
        self._on_waiting = on_waiting
        self._rest: deque[Change] = deque()
        self._closed = asyncio.Event()
        self._line: AsyncLine | None = None
        self._readers = Readers()

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
        if self._line is not None:
            self._line.close()

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

    async def __aiter__(self) -> AsyncGenerator[Change]:
        """Change by change; also those of a step that an earlier loop was left in the middle of."""
        for change in popped(self._rest):
            yield change
        async with aclosing(self.steps()) as steps:
            async for step in steps:
                self._rest.extend(step.changes)
                for change in popped(self._rest):
                    yield change

    def steps(self, *, idle_s: float | None = None) -> AsyncGenerator[Step]:
        """Step by step: for who stores the token together with what the changes made.

        With ``idle_s`` there also is a step, without changes and with the token as it was, whenever
        none came for so long, whatever the nodes do: for who has something to do at times. Nothing
        is lost by it. RuntimeError for a second reader, while the first one waits.
        """
        return self._read(Idle(None if idle_s is None else positive_s(idle_s, "idle_s")))

    async def _read(self, idle: Idle) -> AsyncGenerator[Step]:
        reader = self._readers.begin()
        try:
            idle.begin()
            async with aclosing(self._steps(idle)) as steps:
                async for step in steps:
                    self._readers.leave(reader)
                    yield step
                    self._readers.enter(reader)
                    idle.begin()
        finally:
            self._readers.leave(reader)

    async def _steps(self, idle: Idle) -> AsyncGenerator[Step]:
        course = self._course
        if self._line is not None:  # of an iteration that was left
            self._line.close()
        while not self._closed.is_set():
            try:
                async with aclosing(self._follow(idle)) as steps:
                    async for step in steps:
                        yield step
                failure = _ended(course.address)
            except TimeoutError:
                failure = _silent(course.silence_s)
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
                async with aclosing(self._pause(pause_s, idle)) as steps:
                    async for step in steps:
                        yield step

    async def _follow(self, idle: Idle) -> AsyncGenerator[Step]:
        """The steps of one call; it should end with ``grpc.RpcError``, or TimeoutError."""
        course = self._course
        async with AsyncLine(course.address, self._dialler, course.request()) as line:
            self._line = line
            while not self._closed.is_set():
                line.ask()
                until_s = time.monotonic() + course.silence_s
                while not await line.answered(min(until_s, idle.due_s)):
                    if (now_s := time.monotonic()) >= until_s:
                        raise TimeoutError
                    yield course.still()
                    until_s += time.monotonic() - now_s  # that was the program's time
                response = line.answer()
                if response is None:
                    return
                step = course.take(response)
                if step is not None:
                    yield step

    async def _pause(self, pause_s: float, idle: Idle) -> AsyncGenerator[Step]:
        """Waits, until the watch is closed; the steps are those of ``idle``."""
        until_s = time.monotonic() + pause_s
        while (now_s := time.monotonic()) < until_s:
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, min(until_s, idle.due_s) - now_s)):
                    await self._closed.wait()
                return
            if time.monotonic() >= idle.due_s:
                yield self._course.still()


def popped(changes: deque[Change]) -> Iterator[Change]:
    """Each when it is asked for; the others stay."""
    while changes:
        yield changes.popleft()


def _ended(address: str) -> Failure:
    """What no kvnode does."""
    return Failure(Fate.BROKEN, NodeFailure(f"{address} ended a watch without an error"), None)


def _silent(within_s: float) -> Failure:
    """What a node does that hangs."""
    return Failure(Fate.LOST, NodeUnavailable(f"no answer within {within_s:g} s"), None)
