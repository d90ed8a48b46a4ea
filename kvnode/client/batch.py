"""An atomic batch, collected in a ``with`` block."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final

from kvnode.client.operations import Delete, Increment, Operation, Put
from kvnode.client.values import BatchReceipt, DataType

ENDED: Final = (
    "a batch collects in its with block only, and is written once, at the end of that:"
    " take a new one, client.batch()"
)


class Collected:
    """Operations in the order in which they were asked for."""

    def __init__(self) -> None:
        self._operations: list[Operation] = []
        self._entered = False
        self._open = False
        self._result: BatchReceipt | None = None

    def __repr__(self) -> str:
        """What was collected."""
        return f"{type(self).__name__}({self._operations!r})"

    @property
    def result(self) -> BatchReceipt | None:
        """The receipt, after the block; None if the block collected nothing."""
        return self._result

    def put(
        self,
        key: bytes | str,
        value: bytes | str,
        *,
        lww: bool = False,
        context: bytes | None = None,
        blind: bool = False,
        ttl: float | None = None,
    ) -> None:
        """As ``Client.put``."""
        self._take(Put(key, value, lww, context, blind, ttl))

    def increment(
        self,
        key: bytes | str,
        amount: int = 1,
        *,
        type: DataType | None = None,  # noqa: A002 - the proto's name
    ) -> None:
        """As ``Client.increment``."""
        self._take(Increment(key, amount, type))

    def delete(
        self,
        key: bytes | str,
        *,
        type: DataType | None = None,  # noqa: A002 - the proto's name
        context: bytes | None = None,
    ) -> None:
        """As ``Client.delete``."""
        self._take(Delete(key, type, context))

    def _enter(self) -> None:
        """The block begins; a second time it would write all once more."""
        if self._entered:
            raise RuntimeError(ENDED)
        self._entered = self._open = True

    def _take(self, operation: Operation) -> None:
        """One more, while somebody is going to write it."""
        if not self._open:
            raise RuntimeError(ENDED)
        self._operations.append(operation)


class Batch(Collected):
    """Written at the end of the block, all or none; left by an exception, nothing is sent."""

    def __init__(self, write: Callable[[list[Operation]], BatchReceipt]) -> None:
        super().__init__()
        self._write = write

    def __enter__(self) -> Batch:
        """The batch. RuntimeError a second time."""
        self._enter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Write what was collected."""
        self._open = False
        if kind is None and self._operations:
            self._result = self._write(self._operations)


class AsyncBatch(Collected):
    """The same for ``async with``."""

    def __init__(self, write: Callable[[list[Operation]], Awaitable[BatchReceipt]]) -> None:
        super().__init__()
        self._write = write

    async def __aenter__(self) -> AsyncBatch:
        """The batch. RuntimeError a second time."""
        self._enter()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Write what was collected."""
        self._open = False
        if kind is None and self._operations:
            self._result = await self._write(self._operations)
