"""What a call's options ask for, and how a node says how far it got."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from kvnode.core.dots import Dot, Vector
from kvnode.core.errors import Reason, Refused
from kvnode.rpc.replication_codec import vector_from_wire
from kvnode.v1 import kv_pb2 as pb

BUFFERED = 0
"""Members that have a write on disk when it is acknowledged from the queue."""
ORIGINS_MAX = 4096
"""In a session: as many as a node knows the names of."""


class Known(Protocol):
    """What a node knows of a member."""

    @property
    def node(self) -> str: ...
    @property
    def age_s(self) -> float | None: ...


class Levels(Protocol):
    """What waits for other members (``node/levels.py``)."""

    @property
    def members(self) -> int: ...
    def majority(self) -> int: ...
    def check(self, replicas: int) -> None: ...
    def stored_by(self, dot: Dot) -> list[str]: ...
    async def stored(self, dot: Dot, replicas: int, until: float) -> bool: ...
    async def covered(self, after: Vector, until: float) -> None: ...
    async def gathered(self, replicas: int, until: float) -> None: ...
    def freshness(self) -> Sequence[Known]: ...


def replicas_of(options: pb.WriteOptions, levels: Levels) -> int:
    """How many members have to have the write on disk; Refused (BAD_REQUEST)."""
    if options.replicas:
        if options.durability:
            raise Refused(Reason.BAD_REQUEST, "either a durability or a number of replicas")
        levels.check(options.replicas)
        return options.replicas
    match options.durability:
        case pb.DURABILITY_UNSPECIFIED | pb.DURABILITY_FSYNC:
            return 1
        case pb.DURABILITY_BUFFERED:
            return BUFFERED
        case pb.DURABILITY_QUORUM:
            return levels.majority()
        case pb.DURABILITY_ALL:
            return levels.members
    raise Refused(Reason.BAD_REQUEST, f"unknown durability {options.durability}")


async def prepare_read(options: pb.ReadOptions, levels: Levels, until: float) -> None:
    """Wait until this node can answer as asked; Refused (BEHIND, BAD_REQUEST)."""
    match options.consistency:
        case pb.CONSISTENCY_UNSPECIFIED | pb.CONSISTENCY_LOCAL:
            pass
        case pb.CONSISTENCY_QUORUM:
            await levels.gathered(levels.majority(), until)
        case pb.CONSISTENCY_ALL:
            await levels.gathered(levels.members, until)
        case _:
            raise Refused(Reason.BAD_REQUEST, f"unknown consistency {options.consistency}")
    if options.HasField("after"):
        await levels.covered(after_of(options), until)


def after_of(options: pb.ReadOptions | pb.WriteOptions) -> Vector:
    """What a call is to come after; Refused (BAD_REQUEST)."""
    named = len(options.after.entries)
    if named > ORIGINS_MAX:
        raise Refused(
            Reason.BAD_REQUEST,
            f"a session names at most {ORIGINS_MAX} origins, this one {named}",
            limit=str(ORIGINS_MAX),
        )
    return vector_from_wire(options.after)


def freshness_of(options: pb.ReadOptions, levels: Levels) -> list[pb.Freshness]:
    """How much of what each member took is here, if that was asked."""
    if not options.freshness:
        return []
    return [
        pb.Freshness(node=known.node, unknown=True)
        if known.age_s is None
        else pb.Freshness(node=known.node, age_ms=round(known.age_s * 1000))
        for known in levels.freshness()
    ]
