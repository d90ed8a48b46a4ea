"""Replication messages to core values and back.

Protobuf has many encodings of one message: what was read is encoded to an equal message, not to
the same bytes. Nothing is compared or hashed in that form; rosters and blocks travel as bytes.
"""

from __future__ import annotations

from collections.abc import Mapping

from kvnode.core.report import Contradiction, Hello, Report
from kvnode.v1 import replication_pb2 as pb
from kvnode.v1 import types_pb2


def vector_to_wire(vector: Mapping[int, int]) -> types_pb2.VersionVector:
    """Sorted by origin."""
    return types_pb2.VersionVector(
        entries=[types_pb2.Dot(origin=origin, seq=vector[origin]) for origin in sorted(vector)]
    )


def vector_from_wire(message: types_pb2.VersionVector) -> dict[int, int]:
    """origin -> seq."""
    return {entry.origin: entry.seq for entry in message.entries}


def hello_to_wire(hello: Hello) -> pb.Hello:
    """Who speaks."""
    return pb.Hello(
        cluster=hello.cluster,
        name=hello.name,
        origin=hello.origin,
        protocol=hello.protocol,
        incarnation=hello.incarnation,
        roster=hello.roster,
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
    )


def report_to_wire(report: Report) -> pb.Report:
    """What a node has."""
    return pb.Report(
        vector=vector_to_wire(report.vector),
        wall_ms=report.wall_ms,
        members=[pb.Member(name=name, origin=origin) for origin, name in report.names.items()],
        contradictions=[
            pb.Contradiction(origin=origin, reason=fork.reason, seq=fork.seq, chain=fork.chain)
            for origin, fork in sorted(report.forks.items())
        ],
        roster=report.roster,
        yours=vector_to_wire(report.yours),
        your_origin=report.your_origin,
        relayed=[
            pb.Relayed(origin=origin, vector=vector_to_wire(vector))
            for origin, vector in report.relayed.items()
        ],
        roster_hash=report.roster_hash,
    )


def report_from_wire(message: pb.Report) -> Report:
    """What a node has."""
    return Report(
        vector_from_wire(message.vector),
        message.wall_ms,
        {member.origin: member.name for member in message.members},
        {
            fork.origin: Contradiction(fork.reason, fork.seq, fork.chain)
            for fork in message.contradictions
        },
        message.roster,
        message.roster_hash,
        vector_from_wire(message.yours),
        {relayed.origin: vector_from_wire(relayed.vector) for relayed in message.relayed},
        message.your_origin,
    )
