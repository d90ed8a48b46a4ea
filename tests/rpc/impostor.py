"""A peer played by the test: blocks of an origin of its own, pushed like a node's.

What two regions wrote while out of touch arrives here from one process, at once.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from kvnode.core.block import GENESIS, Block, encode_block
from kvnode.core.report import PROTOCOL
from kvnode.core.roster import roster_hash
from kvnode.v1 import replication_pb2, types_pb2
from tests.node.acquaintance import with_member

from .api import CALL_S, Api
from .conftest import CLUSTER


class Impostor:
    """One origin, its blocks and its push streams."""

    def __init__(self, origin: int, name: str = "impostor", cluster: str = CLUSTER) -> None:
        self.hello = replication_pb2.Hello(
            cluster=cluster, name=name, origin=origin, protocol=PROTOCOL, incarnation=origin
        )
        self.origin = origin
        self.seq = 0
        self.chain = GENESIS

    def block(self, *operations: Any, hlc: int | None = None) -> bytes:
        """Its next block, well formed around these operations."""
        block = self._encode(operations, hlc or now_ms() << 16)
        self.seq, self.chain = block.last_seq, block.chain
        return block.raw

    def _encode(self, operations: Sequence[Any], hlc: int) -> Block:
        return encode_block(
            origin=self.origin,
            first_seq=self.seq + 1,
            hlc=hlc,
            wall_ms=now_ms(),
            deps={},
            ops=list(operations),
            requests=[],
            previous=self.chain,
            dep_chains=[],
        )

    def acquaint(self, api: Api) -> None:
        """Let its hello show the node's own roster with the impostor as one more member."""
        if not self.hello.roster:
            asker = replication_pb2.Hello()
            asker.CopyFrom(self.hello)
            asker.cluster, asker.protocol = CLUSTER, PROTOCOL
            request = replication_pb2.MeetRequest(hello=asker)
            known = api.replication.Meet(request, timeout=CALL_S).hello.roster
            self.hello.roster = with_member(known, self.hello.name, self.origin)

    def push(self, api: Api, *blocks: bytes, has: Mapping[int, int] | None = None) -> Any:
        """Push them in one message, saying that it ``has`` these; returns the node's report."""
        self.acquaint(api)
        request = replication_pb2.PushRequest(
            hello=self.hello, report=report(has or {}, self.hello.roster), blocks=blocks
        )
        (reply,) = api.replication.Push(iter([request]), timeout=CALL_S)
        return reply.report


def report(vector: Mapping[int, int], roster: bytes = b"") -> replication_pb2.Report:
    """A peer's report."""
    entries = [types_pb2.Dot(origin=origin, seq=seq) for origin, seq in sorted(vector.items())]
    return replication_pb2.Report(
        vector=types_pb2.VersionVector(entries=entries),
        wall_ms=now_ms(),
        roster=roster,
        roster_hash=roster_hash(roster) if roster else b"",
    )


def now_ms() -> int:
    """Unix ms."""
    return time.time_ns() // 1_000_000
