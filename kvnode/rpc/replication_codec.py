"""Replication messages to core values and back.

Protobuf has many encodings of one message: what was read is encoded to an equal message, not to
the same bytes. Nothing is compared or hashed in that form; rosters and blocks travel as bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from kvnode.core.dots import Dot
from kvnode.core.hlc import TIME_MS_MAX
from kvnode.core.report import (
    ORIGINS_MAX,
    RELAYED_MAX,
    Contradiction,
    Hello,
    Report,
    too_many,
)
from kvnode.v1 import replication_pb2 as pb
from kvnode.v1 import types_pb2

VECTORS_KEPT = 64
"""The last ones, by what they say: most messages carry a vector that others carried just before."""
KEPT_LENGTH_MAX = 256
"""Origins in a vector that is kept, so that they stay within a few megabytes."""


def vector_to_wire(vector: Mapping[int, int]) -> types_pb2.VersionVector:
    """Sorted by origin. The message may be shared: it goes into others, and nobody changes it."""
    dots = tuple(vector.items())
    return _encoded(dots) if len(dots) <= KEPT_LENGTH_MAX else _encoded.__wrapped__(dots)


@lru_cache(VECTORS_KEPT)
def _encoded(dots: tuple[Dot, ...]) -> types_pb2.VersionVector:
    return types_pb2.VersionVector(
        entries=[types_pb2.Dot(origin=origin, seq=seq) for origin, seq in sorted(dots)]
    )


def forget_vectors() -> None:
    """Keep none of the last ones."""
    _encoded.cache_clear()
    _decoded.cache_clear()


def vector_from_wire(message: types_pb2.VersionVector) -> dict[int, int]:
    """origin -> seq."""
    if not message.entries:  # most reports have one such
        return {}
    if len(message.entries) > KEPT_LENGTH_MAX:
        return {entry.origin: entry.seq for entry in message.entries}
    return dict(_decoded(message.SerializeToString()))


@lru_cache(VECTORS_KEPT)
def _decoded(raw: bytes) -> tuple[Dot, ...]:
    message = types_pb2.VersionVector.FromString(raw)
    return tuple((entry.origin, entry.seq) for entry in message.entries)


def hello_to_wire(hello: Hello) -> pb.Hello:
    """Who speaks."""
    return pb.Hello(
        cluster=hello.cluster,
        name=hello.name,
        origin=hello.origin,
        protocol=hello.protocol,
        incarnation=hello.incarnation,
        roster=hello.roster,
        secret_check=hello.secret_check,
    )


def hello_from_wire(message: pb.Hello) -> Hello:
    """Who speaks."""
    return Hello(
        message.cluster,
        message.name,
        message.origin,
        message.incarnation,
        message.roster,
        message.protocol,
        message.secret_check,
    )


def report_to_wire(report: Report) -> pb.Report:
    """What a node has."""
    message = pb.Report(
        vector=vector_to_wire(report.vector),
        wall_ms=report.wall_ms,
        roster=report.roster,
        your_origin=report.your_origin,
        roster_hash=report.roster_hash,
        yours=vector_to_wire(report.yours),
    )
    for origin, name in report.names.items():
        message.members.add(name=name, origin=origin)
    for origin, fork in sorted(report.forks.items()):
        message.contradictions.add(
            origin=origin, reason=fork.reason, seq=fork.seq, chain=fork.chain
        )
    for origin, vector in report.relayed.items():
        message.relayed.add(origin=origin, vector=vector_to_wire(vector))
    return message


def report_from_wire(message: pb.Report) -> Report:
    """What a node has; Refused (BAD_REQUEST) if it names more origins than any cluster has."""
    named = max(len(message.vector.entries), len(message.yours.entries))
    if named > ORIGINS_MAX:
        raise too_many()
    relayed: Sequence[pb.Relayed] = message.relayed
    if sum(len(each.vector.entries) for each in relayed) > RELAYED_MAX:
        relayed = ()  # others said that, not who passes it on; and they say it here too
    return Report(
        vector_from_wire(message.vector),
        min(message.wall_ms, TIME_MS_MAX),
        {member.origin: member.name for member in message.members},
        {
            fork.origin: Contradiction(fork.reason, fork.seq, fork.chain)
            for fork in message.contradictions
        },
        message.roster,
        message.roster_hash,
        vector_from_wire(message.yours),
        {each.origin: vector_from_wire(each.vector) for each in relayed},
        message.your_origin,
    )
