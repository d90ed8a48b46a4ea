"""A checkpoint that ends after any of its steps: the process is killed there, by itself."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from kvnode.core.operations import Increment, Put
from kvnode.node.engine import Engine
from kvnode.storage.environment import Environment
from kvnode.storage.tail import RECORD_BYTES_MAX

from .specimen import opened, write

STEPS = ("put", "delete", "drop", "stat", "get")
"""Of a write transaction."""
CURSOR_STEPS = ("replace", "pop", "putmulti", "delete")
"""Of its cursors."""


class Counted:
    """A transaction that kills its process after a number of steps."""

    def __init__(self, txn: Any, left: list[int]) -> None:
        self._txn, self._left = txn, left

    def __enter__(self) -> Counted:
        self._txn.__enter__()
        return self

    def __exit__(self, *error: object) -> Any:
        self._step()
        return self._txn.__exit__(*error)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._txn, name)
        if name == "cursor":
            return lambda table: CountedCursor(found(table), self._step)
        if name in STEPS:
            self._step()
        return found

    def _step(self) -> None:
        self._left[0] -= 1
        if self._left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class CountedCursor:
    """A cursor of such a transaction."""

    def __init__(self, cursor: Any, step: Callable[[], None]) -> None:
        self._cursor, self._step = cursor, step

    def __enter__(self) -> CountedCursor:
        return self

    def __exit__(self, *error: object) -> None:
        self._cursor.close()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._cursor)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._cursor, name)
        if name not in CURSOR_STEPS:
            return found

        def counted(*arguments: Any) -> Any:  # each call: one method may be bound for many
            self._step()
            return found(*arguments)

        return counted


def checkpoint(path: Path, steps: int) -> int:
    """Write a checkpoint, which is killed at this step of its transaction; how many it has."""
    left = [steps]
    real = Environment._begin  # noqa: SLF001 - where every transaction begins

    def begin(self: Environment, **options: Any) -> Any:
        txn = real(self, **options)
        return Counted(txn, left) if options.get("write") and self.path.name == "state" else txn

    async def run() -> None:
        _, engine, _ = opened(path)
        Environment._begin = begin  # type: ignore[method-assign] # noqa: SLF001
        await engine.checkpoints.flush()

    asyncio.run(run())
    return steps - left[0]


def one_more_block(path: Path) -> bytes:
    """Append a block; the block."""

    async def run() -> bytes:
        _, engine, _ = opened(path)
        await write(engine, Put(b"the last", b"block " * 20), Increment(b"c/0", 1))
        return last_block(engine)

    return asyncio.run(run())


def one_large_block(path: Path) -> bytes:
    """Append a block that the log's tail does not take; the block."""

    async def run() -> bytes:
        _, engine, _ = opened(path)
        await write(engine, Put(b"the largest", bytes(range(256)) * (RECORD_BYTES_MAX // 256)))
        return last_block(engine)

    return asyncio.run(run())


def last_block(engine: Engine) -> bytes:
    """Of its log."""
    return next(engine.log.replay(engine.log.last_arrival - 1))[1]


def one_checkpoint(path: Path) -> None:
    """Write what only the log has."""
    checkpoint(path, 0)
