"""An event loop whose time is a number, and processes that can be killed in the middle of anything.

Nothing waits: when no callback is ready, time jumps to the next timer. Every callback runs in a
context, and a context may belong to a ``Process``. What belongs to a killed process is simply never
run again: no ``finally``, no cancellation, no last word, as with kill -9. What belongs to a stopped
one (SIGSTOP) is kept until it goes on.
"""

from __future__ import annotations

import asyncio
import heapq
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeVar
from weakref import WeakSet

T = TypeVar("T")

RESOLUTION_S = 1e-9


class Stuck(Exception):
    """Nothing is ready and no timer is set: somebody waits for what will never come."""


class Process:
    """Whose callbacks and tasks belong together."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.killed = False
        self.stopped = False
        self.kept: list[Callback] = []
        """What would have run while it was stopped."""
        self.tasks: WeakSet[asyncio.Task[Any]] = WeakSet()
        self.served: dict[Any, None] = {}
        """Calls it answers now, in the order they came."""
        self.dialled: dict[Any, None] = {}
        """Calls of its own that run now."""
        self.context: Context = copy_context()
        self.context.run(PROCESS.set, self)

    def run(self, call: Callable[..., T], *arguments: Any) -> T:
        """Call something as this process; what it starts belongs to the process."""
        return self.context.copy().run(call, *arguments)

    def __repr__(self) -> str:
        return f"<process {self.name}>"


PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)


class Callback(asyncio.TimerHandle):
    """To be called once. Thousands are made in every run, so it keeps only what calling needs."""

    __slots__ = ()

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: Context | None,
    ) -> None:
        self._when = when
        self._callback: Callable[..., object] | None = callback
        self._args = args
        self._context = copy_context() if context is None else context
        self._cancelled = False

    def cancel(self) -> None:
        """Never call it."""
        self._cancelled = True
        self._callback, self._args = None, ()

    def __repr__(self) -> str:
        return f"<callback {self._callback} at {self._when}>"


class VirtualLoop(asyncio.BaseEventLoop):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self._now_s = 0.0
        self._clock_resolution = RESOLUTION_S
        self.steps = 0
        """Callbacks run so far."""
        self._ready: deque[Callback]
        self._timers: list[tuple[float, int, Callback]] = []
        """A heap; the second makes its order total, and comparing cheap."""
        self._number = 0

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now_s

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, T], **options: Any
    ) -> asyncio.Task[T]:
        """Also remember whose it is."""
        task = asyncio.Task(coro, loop=self, **options)
        context = options.get("context")
        process = PROCESS.get() if context is None else context.get(PROCESS)
        if process is not None:
            process.tasks.add(task)
        return task

    get_debug = staticmethod(bool)
    """Never. Every future asks, so it is a call of nothing."""

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """In the order of the calls."""
        handle = Callback(self._now_s, callback, args, context)
        self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """See ``call_at``."""
        when = self._now_s + delay
        timer = Callback(when, callback, args, context)
        self._number += 1
        heapq.heappush(self._timers, (when, self._number, timer))
        return timer

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Of two for one moment the one that was set first runs first."""
        timer = Callback(when, callback, args, context)
        self._number += 1
        heapq.heappush(self._timers, (when, self._number, timer))
        return timer

    def resume(self, process: Process) -> None:
        """Let a stopped process go on."""
        process.stopped = False
        kept, process.kept = process.kept, []
        self._ready.extend(kept)

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """There are no threads."""
        return self.call_soon(callback, *args, context=context)

    def _run_once(self) -> None:
        """Not once, but until the loop is stopped."""
        ready, timers = self._ready, self._timers
        while not self._stopping:  # type: ignore[attr-defined]
            if not ready or (timers and timers[0][0] < self._now_s + RESOLUTION_S):
                self._let_time_pass()
            for _ in range(len(ready)):
                handle = ready.popleft()
                callback = handle._callback  # noqa: SLF001
                if callback is None:
                    continue
                context = handle._context  # noqa: SLF001
                process = context.get(PROCESS)
                if process is not None:
                    if process.killed:
                        continue
                    if process.stopped:
                        process.kept.append(handle)
                        continue
                self.steps += 1
                try:
                    context.run(callback, *handle._args)  # noqa: SLF001
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as error:
                    message = f"Exception in callback {handle}"
                    self.call_exception_handler({"message": message, "exception": error})

    def _let_time_pass(self) -> None:
        """Until there is something to call, and that is all that is due then."""
        ready, timers = self._ready, self._timers
        if not ready:
            while timers and timers[0][2]._callback is None:  # noqa: SLF001
                heapq.heappop(timers)
            if not timers:
                raise Stuck
            self._now_s = max(self._now_s, timers[0][0])
        due = self._now_s + RESOLUTION_S
        while timers and timers[0][0] < due:
            ready.append(heapq.heappop(timers)[2])

    def _process_events(self, event_list: list[Any]) -> None:  # noqa: ARG002 - its name
        raise AssertionError("a virtual loop has no files")

    def _write_to_self(self) -> None:
        """Nobody sleeps."""


def run(main: Callable[[VirtualLoop], Coroutine[Any, Any, T]]) -> T:
    """Run ``main`` to its end on a loop of its own."""
    loop = VirtualLoop()
    events.set_event_loop(loop)
    try:
        return loop.run_until_complete(main(loop))
    finally:
        events.set_event_loop(None)
        loop.close()
