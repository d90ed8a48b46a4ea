"""What a plan sets in kvnode beside the configuration, for as long as a run lasts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from random import Random
from types import ModuleType

from kvnode.client import failover
from kvnode.client import pipeline as client_pipeline
from kvnode.rpc import pipeline as node_pipeline
from kvnode.storage import snapshot, tail
from tests.sim.plan import Plan

TAIL_PAGES = (1, 3, 12, 256)
"""Of the log: what waits in it goes to LMDB at every second round, or hardly ever."""


@contextmanager
def tuned(plan: Plan) -> Iterator[None]:
    """Sizes so small and times so short that a run reaches them, and chance that is its own."""
    streams = plan.streams
    tail_pages = Random(f"{plan.seed}/tail").choice(TAIL_PAGES)
    with ExitStack() as stack:
        for module, name, value in (
            (snapshot, "CHUNK_BYTES", plan.chunk_bytes),
            (tail, "TAIL_BYTES", tail_pages * tail.PAGE_BYTES),
            (node_pipeline, "OPEN_MAX", streams.open_max),
            (client_pipeline, "LINGER_S", streams.linger_s),
            (client_pipeline, "STREAM_S", streams.stream_s),
            (failover, "random", Random(f"{plan.seed}/pauses")),
        ):
            stack.enter_context(replaced(module, name, value))
        yield


@contextmanager
def replaced(module: ModuleType, name: str, value: object) -> Iterator[None]:
    """A name of a module means something else meanwhile."""
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)
