"""What waits for the next round: clients' requests, and blocks from elsewhere."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from kvnode.core.block import Block
from kvnode.core.dots import Vector
from kvnode.core.receive import Verdict
from kvnode.core.replica import Request
from kvnode.core.writer import Accepted

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
    received: int = 0
    commits: int = 0
    logged_bytes: int = 0


@dataclass(slots=True)
class Queue:
    """Requests, with their sizes and who waits for them."""

    waiting: deque[tuple[Request, int, asyncio.Future[Outcome]]] = field(default_factory=deque)
    operations: int = 0
    bytes: int = 0
