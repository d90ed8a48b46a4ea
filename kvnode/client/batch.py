"""An atomic batch, collected in a ``with`` block."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType

from kvnode.client.operations import Delete, Increment, Operation, Put
from kvnode.client.values import BatchReceipt, DataType


class Collected:
    """Operations in the order in which they were asked for."""

    def __init__(self) -> None:
        self._operations: list[Operation] = []
        self._result: BatchReceipt | None = None

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
        self._operations.append(Put(key, value, lww, context, blind, ttl))

    def increment(
        self,
        key: bytes | str,
        amount: int = 1,
        *,
        type: DataType | None = None,  # noqa: A002 - the proto's name
    ) -> None:
        """As ``Client.increment``."""
        self._operations.append(Increment(key, amount, type))

    def delete(
        self,
        key: bytes | str,
        *,
        type: DataType | None = None,  # noqa: A002 - the proto's name
        context: bytes | None = None,
    ) -> None:
        """As ``Client.delete``."""
        self._operations.append(Delete(key, type, context))


class Batch(Collected):
    """Written at the end of the block, all or none; left by an exception, nothing is sent."""

    def __init__(self, write: Callable[[list[Operation]], BatchReceipt]) -> None:
        super().__init__()
        self._write = write

    def __enter__(self) -> Batch:
        """The batch."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Write what was collected."""
        if kind is None and self._operations:
            self._result = self._write(self._operations)


class AsyncBatch(Collected):
    """The same for ``async with``."""

    def __init__(self, write: Callable[[list[Operation]], Awaitable[BatchReceipt]]) -> None:
        super().__init__()
        self._write = write

    async def __aenter__(self) -> AsyncBatch:
        """The batch."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Write what was collected."""
        if kind is None and self._operations:
            self._result = await self._write(self._operations)
