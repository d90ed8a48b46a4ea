"""An engine on a test's own event loop, with its stores and what it told others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from kvnode.config import Config
from kvnode.core.entry import Entry, encode_entry
from kvnode.core.errors import Reason, Refused
from kvnode.core.operations import Operation
from kvnode.core.replica import Request
from kvnode.core.types import PN_COUNTER
from kvnode.core.types.slots import value as counter_value
from kvnode.node.engine import Engine
from kvnode.node.queues import Outcome
from kvnode.storage.interfaces import Log, StateStore
from kvnode.storage.memory import MemoryState
from tests.storage.faulty import GatedLog, until
from tests.storage.stores import ORIGIN

CONFIG = Config(checkpoint_interval_ms=3_600_000)


@dataclass
class Rig:
    """An engine with its stores, and what it told others."""

    engine: Engine
    log: Log
    commits: list[int]
    failures: list[BaseException]

    def submit(self, *operations: Operation, request_id: bytes = b"") -> asyncio.Task[Outcome]:
        submitting = self.engine.submit(Request(operations, request_id), 100)
        return asyncio.ensure_future(submitting)

    def value(self, key: bytes) -> int:
        return counter_value(self.engine.memtable.read(key).get(PN_COUNTER, {}))

    def pushed(self) -> int:
        return len(self.engine.push_buffer.since(1, 1 << 30)[0])


def rig(log: Log | None = None, state: StateStore | None = None, config: Config = CONFIG) -> Rig:
    log = log if log is not None else GatedLog()
    engine = Engine(config, ORIGIN, log, state if state is not None else MemoryState())
    made = Rig(engine, log, [], [])
    engine.on_commit = lambda round_: made.commits.append(len(round_.records))
    engine.on_failure = made.failures.append
    return made


def run(test: Callable[[], Awaitable[Any]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 100))


async def reason(submitted: Awaitable[Any]) -> Reason:
    with pytest.raises(Refused) as refusal:
        await submitted
    return refusal.value.reason


def encoded(engine: Engine) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}

    def take(key: bytes, entry: Entry) -> bool:
        if entry:
            found[key] = encode_entry(entry)
        return True

    assert engine.memtable.scan(b"", b"", take) is None
    return found


async def checkpoint(engine: Engine) -> None:
    engine.checkpoints.start()
    await until(lambda: not engine.checkpoints.running)
