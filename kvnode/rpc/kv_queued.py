"""Requests that have their place in a node's queue, and what becomes of them if nobody waits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from kvnode.core.accepted import Accepted
from kvnode.core.dots import Vector
from kvnode.core.entry import Entry
from kvnode.core.errors import Refused
from kvnode.core.operations import Operation
from kvnode.core.replica import Request
from kvnode.core.requests import Remembered
from kvnode.rpc.levels_codec import BUFFERED, Levels

Answer = asyncio.Future[tuple[Accepted, Vector]]


class Store(Protocol):
    """What writing needs of a node."""

    @property
    def vector(self) -> Vector: ...
    @property
    def levels(self) -> Levels: ...
    @property
    def closing(self) -> asyncio.Event: ...
    def enqueue(self, request: Request, size: int) -> Answer: ...
    def buffered_lost(self, operations: int) -> None:
        """So many operations that were acknowledged from the queue came to nothing."""
        ...

    async def room(self) -> None:
        """Return when the queue has moved."""
        ...

    def read(self, key: bytes) -> Entry: ...
    def now_ms(self) -> int: ...
    def remembered(self, request_id: bytes) -> Remembered | None: ...


@dataclass(slots=True)
class Queued:
    """A request in its place, or some that share one."""

    operations: Sequence[Operation]
    answer: Answer
    replicas: int
    brief: bool = False
    """Whether it is answered without results."""
    quorum: bool = False
    """More than half of the members, however many they are."""
    together: bool = False
    """Whether these are requests of one operation each."""


def to_be_told(error: Exception) -> Exception:
    """A refusal without its frames, which hold the request. A bug's are to be logged."""
    return error.with_traceback(None) if isinstance(error, Refused) else error


def leave(queued: Sequence[Queued | Exception]) -> None:
    """The caller has gone: what is queued is done, and nobody is told."""
    for each in queued:
        if not isinstance(each, Exception):
            each.answer.add_done_callback(lambda answer: answer.cancelled() or answer.exception())


def give_up(queued: Sequence[Queued | Exception]) -> None:
    """What has not begun need not be done, and what failed is nobody's."""
    for each in queued:
        if isinstance(each, Exception) or each.replicas == BUFFERED or each.answer.cancel():
            continue
        if not each.answer.cancelled():
            each.answer.exception()
