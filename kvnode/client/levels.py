"""How many nodes a write must be on, and how much a read is sure to show."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from kvnode.client.operations import refuse
from kvnode.core.errors import Reason
from kvnode.v1 import kv_pb2, types_pb2

Durability: TypeAlias = Literal["buffered", "fsync", "quorum", "all"] | int
"""Which disks have a write before it is acknowledged: that of the node that took it ("fsync"),
those of more than half of the members, of all, or of so many. With "buffered" none: it has its
place in the node's queue, a crash loses it, and its receipt has no dot (0:0) and no context."""

Consistency: TypeAlias = Literal["local", "session", "quorum", "all"]
"""What a read shows for certain: what the asked node has; that and what the session has seen; what
more than half of the members had when it came; what any had."""

MEMBERS_MAX: Final = 10_000

DURABILITIES: Final[dict[object, kv_pb2.Durability]] = {
    "buffered": kv_pb2.DURABILITY_BUFFERED,
    "fsync": kv_pb2.DURABILITY_UNSPECIFIED,
    "quorum": kv_pb2.DURABILITY_QUORUM,
    "all": kv_pb2.DURABILITY_ALL,
}

CONSISTENCIES: Final[dict[object, kv_pb2.Consistency]] = {
    "local": kv_pb2.CONSISTENCY_UNSPECIFIED,
    "session": kv_pb2.CONSISTENCY_UNSPECIFIED,
    "quorum": kv_pb2.CONSISTENCY_QUORUM,
    "all": kv_pb2.CONSISTENCY_ALL,
}


def checked_durability(durability: Durability) -> Durability:
    """A level there is."""
    if isinstance(durability, int) and not isinstance(durability, bool):
        if 1 <= durability <= MEMBERS_MAX:
            return durability
    elif durability in DURABILITIES:
        return durability
    raise refuse(
        Reason.BAD_REQUEST,
        f"durability {durability!r} is not 'buffered', 'fsync', 'quorum', 'all' or a number",
    )


def checked_consistency(consistency: Consistency, *, in_session: bool) -> Consistency:
    """A level there is, and that this client can have."""
    if consistency not in CONSISTENCIES:
        raise refuse(
            Reason.BAD_REQUEST,
            f"consistency {consistency!r} is not 'local', 'session', 'quorum' or 'all'",
        )
    if consistency == "session" and not in_session:
        raise refuse(
            Reason.BAD_REQUEST,
            "this client keeps no session: use db.session(), or Client(..., session=True)",
        )
    return consistency


def write_options(
    durability: Durability, after: types_pb2.VersionVector | None
) -> kv_pb2.WriteOptions | None:
    """The options of a write; None if it needs none."""
    if after is None and durability == "fsync":
        return None
    if isinstance(durability, int):
        return kv_pb2.WriteOptions(after=after, replicas=durability)
    return kv_pb2.WriteOptions(after=after, durability=DURABILITIES[durability])


def read_options(
    consistency: Consistency, after: types_pb2.VersionVector | None
) -> kv_pb2.ReadOptions:
    """The options of a read. Every one tells how old what it shows may be."""
    return kv_pb2.ReadOptions(after=after, consistency=CONSISTENCIES[consistency], freshness=True)
