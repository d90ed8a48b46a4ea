"""Inputs into one decoder, and what came of them.

A *crash* is anything but acceptance or a documented error: another exception, an accepted value
that cannot be used or encodes to other bytes, or no end within ``HANG_S``. Memory is what Python
allocated at most during one input, beyond what was allocated before it.
"""

from __future__ import annotations

import signal
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from .mutations import Mutator
from .targets import Target

HANG_S = 5.0
"""Of processor time: decoders wait for nothing, and a busy machine is no hang."""
ALLOCATED_BYTES = 1 << 20
ALLOCATED_FACTOR = 200
"""An empty list is a byte in msgpack and 64 or more in memory; with it come copies and messages."""
CRASHES_MAX = 20
"""Kept; one bug makes many."""


class Hang(BaseException):
    """No documented error: nothing may take it for one."""


@dataclass(slots=True)
class Crash:
    """An input that must not do that."""

    raw: bytes
    what: str


@dataclass(slots=True)
class Result:
    """What became of one decoder's inputs."""

    name: str
    inputs: int = 0
    accepted: int = 0
    refused: int = 0
    crashed: int = 0
    crashes: list[Crash] = field(default_factory=list)
    seconds: float = 0.0
    slowest_ms: float = 0.0
    allocated_bytes: int = 0
    """The most that one input took."""
    kept_bytes: int = 0
    """Still allocated after all of them."""


def trial(target: Target, inputs: int, seed: int) -> Result:
    """Try the corpus as it is, then so many changed inputs."""
    result = Result(target.name)
    mutator = Mutator(f"{target.name} {seed}", target.corpus, target.envelope)
    for raw in target.corpus:
        attempt(target, raw, result)
    assert result.accepted == len(target.corpus), f"the corpus of {target.name} is out of date"
    with _watched():
        before = tracemalloc.get_traced_memory()[0]
        started = time.perf_counter()
        for _ in range(inputs):
            attempt(target, mutator.next(), result)
        result.seconds = time.perf_counter() - started
        result.kept_bytes = tracemalloc.get_traced_memory()[0] - before
    return result


def attempt(target: Target, raw: bytes, result: Result) -> None:
    """One input."""
    traced = tracemalloc.is_tracing()
    before = 0
    if traced:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        signal.setitimer(signal.ITIMER_PROF, HANG_S)
    started = time.perf_counter()
    crash = ""
    try:
        value = target.decode(raw)
    except target.refusals:
        result.refused += 1
    except (Exception, Hang) as error:
        crash = f"{type(error).__name__}: {error}"
    else:
        result.accepted += 1
        crash = _misuse(target, raw, value)
    spent_ms = (time.perf_counter() - started) * 1000
    if traced:
        signal.setitimer(signal.ITIMER_PROF, 0)
        peak = tracemalloc.get_traced_memory()[1] - before
        result.allocated_bytes = max(result.allocated_bytes, peak)
        if not crash and peak > ALLOCATED_BYTES + ALLOCATED_FACTOR * len(raw):
            crash = f"{len(raw)} bytes made it take {peak}"
    result.inputs += 1
    result.slowest_ms = max(result.slowest_ms, spent_ms)
    if crash:
        result.crashed += 1
        if len(result.crashes) < CRASHES_MAX:
            result.crashes.append(Crash(raw, crash))


def _misuse(target: Target, raw: bytes, value: object) -> str:
    """What is wrong with an accepted value, empty if nothing."""
    try:
        target.use(value)
        if target.encode is not None and (again := target.encode(value)) != raw:
            return f"accepted, but encodes to other bytes: {again.hex()[:200]}"
    except target.refusals as error:
        return "" if target.late else f"accepted, then refused: {error}"
    except (Exception, Hang) as error:
        return f"accepted, then {type(error).__name__}: {error}"
    return ""


@contextmanager
def _watched() -> Iterator[None]:
    def hang(_number: int, _frame: FrameType | None) -> None:
        raise Hang(f"no end within {HANG_S} s")

    before = signal.signal(signal.SIGPROF, hang)
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
