"""What waits for the next round: clients' requests, and blocks from elsewhere."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from kvnode.config import Config
from kvnode.core.accepted import Accepted
from kvnode.core.block import Block
from kvnode.core.dots import Vector
from kvnode.core.errors import Reason, Refused
from kvnode.core.receive import Verdict
from kvnode.core.replica import Request, Round

ROOM_LOOK_S = 0.02
"""How often who waits for room looks while no round runs."""

Outcome = tuple[Accepted, Vector]
Pending = asyncio.Future[Outcome] | asyncio.Future[Verdict]


class Arrival(NamedTuple):
    """A block from elsewhere; ``sender`` names the peer, if one brought it."""

    block: Block
    sender: str
    future: asyncio.Future[Verdict]


@dataclass(slots=True)
class Counts:
    """What the engine has done since start."""

    accepted: int = 0
    refused: int = 0
    buffered_lost: int = 0
    """Operations acknowledged from the queue that were refused when their turn came."""
    received: int = 0
    commits: int = 0
    logged_bytes: int = 0

    def add(self, round_: Round) -> None:
        """A round was committed."""
        self.commits += bool(round_.records)
        for block in round_.records:
            self.logged_bytes += len(block.raw)
            if block is round_.own:
                self.accepted += block.count
            else:
                self.received += block.count
        for outcome in round_.outcomes:
            asked = (outcome,) if isinstance(outcome, Refused) else outcome.each
            self.refused += sum(isinstance(one, Refused) for one in asked)


@dataclass(slots=True)
class Queue:
    """Requests, with their sizes and who waits for them."""

    waiting: deque[tuple[Request, int, asyncio.Future[Outcome]]] = field(default_factory=deque)
    operations: int = 0
    bytes: int = 0

    def take(self, config: Config) -> tuple[list[Request], list[asyncio.Future[Outcome]]]:
        """A round's worth, oldest first."""
        requests: list[Request] = []
        futures: list[asyncio.Future[Outcome]] = []
        operations = size = 0
        while (
            self.waiting
            and operations < config.round_operations_max
            and size < config.round_bytes_max
        ):
            request, bytes_, future = self.waiting.popleft()
            self.operations -= len(request.operations)
            self.bytes -= bytes_
            if future.done():  # the caller has gone, and nothing has happened yet
                continue
            operations += len(request.operations)
            size += bytes_
            requests.append(request)
            futures.append(future)
        return requests, futures


@dataclass(slots=True)
class Arrivals:
    """Blocks from elsewhere, with who brought them and who waits for them."""

    waiting: deque[Arrival] = field(default_factory=deque)

    def __bool__(self) -> bool:
        return bool(self.waiting)

    def add(self, blocks: Sequence[Block], sender: str) -> asyncio.Future[list[Verdict]]:
        """More of them; the result is what becomes of each."""
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Verdict]] = [loop.create_future() for _ in blocks]
        self.waiting += map(Arrival, blocks, [sender] * len(blocks), futures)
        return asyncio.gather(*futures)

    def take(self, config: Config) -> list[Arrival]:
        """A round's worth, oldest first."""
        arrivals: list[Arrival] = []
        operations = size = 0
        while (
            self.waiting
            and operations < config.round_operations_max
            and size < config.round_bytes_max
        ):
            arrivals.append(self.waiting.popleft())
            operations += arrivals[-1].block.count
            size += len(arrivals[-1].block.raw)
        return arrivals


class Idle(asyncio.Event):
    """Set while no round runs or is about to; adds up the time when it was not."""

    def __init__(self) -> None:
        super().__init__()
        self._busy_s = self._busy_from = 0.0
        super().set()

    def set(self) -> None:
        """Nothing is to be done."""
        self._busy_s = self.busy_s()
        super().set()

    def clear(self) -> None:
        """There is something to do."""
        if self.is_set():
            self._busy_from = asyncio.get_running_loop().time()
        super().clear()

    def busy_s(self) -> float:
        """Seconds, of all time, that were not idle."""
        if self.is_set():
            return self._busy_s
        return self._busy_s + asyncio.get_running_loop().time() - self._busy_from


class Rounds(Protocol):
    """An engine, for who waits for its queue."""

    @property
    def idle(self) -> asyncio.Event:
        """Set while no round runs or is about to."""
        ...

    @property
    def paused(self) -> asyncio.TimerHandle | None:
        """Set while a round waits for a checkpoint."""
        ...

    async def between_rounds(self) -> None: ...


async def room(engine: Rounds) -> None:
    """Return when the queue may have moved. Where no round will move it soon, a checkpoint that is
    overdue keeps requests out, or rounds wait for one, and that takes longer.
    """
    if engine.idle.is_set() or engine.paused:
        await asyncio.sleep(ROOM_LOOK_S)
    else:
        await engine.between_rounds()
        await asyncio.sleep(0)


def reject(refusal: Exception, futures: Sequence[Pending]) -> None:
    """Tell all who still wait."""
    for future in futures:
        if not future.done():
            future.set_exception(refusal)


def stopping(error: BaseException) -> Refused:
    """What those are told who still wait when the node fails."""
    return Refused(Reason.STOPPING, f"the node failed and stops: {error}")
