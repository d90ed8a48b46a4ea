"""What waits for the engine, and what it has done."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

from kvnode.core.dots import Vector
from kvnode.core.receive import Verdict
from kvnode.core.replica import Request
from kvnode.core.writer import Accepted

Outcome = tuple[Accepted, Vector]
Pending = asyncio.Future[Outcome] | asyncio.Future[Verdict]


@dataclass(slots=True)
class Counts:
    """Since start."""

    accepted: int = 0
    refused: int = 0
    received: int = 0
    commits: int = 0
    logged_bytes: int = 0


@dataclass(slots=True)
class Queue:
    """Requests that wait for the next round."""

    waiting: deque[tuple[Request, int, asyncio.Future[Outcome]]] = field(default_factory=deque)
    operations: int = 0
    bytes: int = 0
