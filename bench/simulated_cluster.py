"""A full mesh of replicas on a simulated network: the production core, real bytes, no I/O.

Time goes in *rounds* of one anti-entropy interval, which is one heartbeat interval too (200 ms by
default). In a round the writers commit; each node sends each peer what is new of its own, or a
heartbeat, and is answered; then each node pulls what it still lacks. Replicas, push buffers, what
a peer is asked for and the encodings are those of a node. The order of links in a round is chance,
from a seed.

A lost message is what it is over TCP: the end of its stream. The next round opens it again, with a
hello, and goes on behind what the peer says it has. An answer may be lost as well.

Not simulated: several messages of one stream within a round, bandwidth, and the bytes of HTTP/2,
TCP and IP around a message (some 100 to 150).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from kvnode.config import Config
from kvnode.core.block import decode_block
from kvnode.core.dots import Vector
from kvnode.core.operations import Put
from kvnode.core.progress import PushBuffer
from kvnode.core.report import Hello, Report
from kvnode.core.types import LWW_REGISTER
from kvnode.node.peers import Peer
from kvnode.node.repair import ALL, PUSH_FRESH_HEARTBEATS
from kvnode.rpc.replication_codec import hello_to_wire, report_to_wire, vector_to_wire
from kvnode.v1 import replication_pb2 as pb
from tests.core.memory_node import WALL_MS, MemoryNode

KEY_BYTES: Final = 16
VALUE_BYTES: Final = 100
CONFIG: Final = Config()


@dataclass(slots=True)
class Traffic:
    """Messages and their bytes, answers included, whether they arrived or not."""

    messages: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        """One message."""
        self.messages += 1
        self.bytes += size


@dataclass(slots=True)
class Traffics:
    """By what they were sent for."""

    push: Traffic = field(default_factory=Traffic)
    """With blocks, and the answers to those."""
    heartbeat: Traffic = field(default_factory=Traffic)
    """Without blocks: heartbeats and hellos, and the answers."""
    pull: Traffic = field(default_factory=Traffic)
    pushes: int = 0
    """Messages with blocks, without answers."""
    block_bytes: int = 0
    """Of all blocks sent, pushed or pulled."""


@dataclass(slots=True)
class Stream:
    """One node's push stream to one peer."""

    open: bool = True
    cursor: int = 1


class Member:
    """One node: its replica, and what it knows of the others."""

    def __init__(self, number: int, origins: Sequence[int]) -> None:
        self.origin = origins[number]
        self.hello = Hello("simulated", f"node-{number:03}", self.origin, number + 1, b"")
        self.node = MemoryNode(self.origin, hold_bytes_max=CONFIG.hold_bytes_max)
        self.buffer = PushBuffer(CONFIG.push_buffer_bytes, 1)
        others = [other for other in origins if other != self.origin]
        self.peers = {other: Peer(f"{other:016x}", "", origin=other) for other in others}
        self.streams = {other: Stream() for other in others}
        self.urgent: set[int] = set()
        self._known: tuple[Vector, pb.Report] = ({0: 0}, pb.Report())

    @property
    def report(self) -> Report:
        """What it has."""
        return Report(self.node.vector, WALL_MS, roster_hash=bytes(8))

    def wire_report(self) -> pb.Report:
        """The same, as it travels."""
        vector = self.node.vector
        if self._known[0] is not vector:  # never changed in place
            self._known = (vector, report_to_wire(self.report))
        return self._known[1]

    def write(self, operations: int) -> None:
        """Commit one batch. All write the same registers, so that memory stays small."""
        self.node.write(
            *(
                Put(b"%0*x" % (KEY_BYTES, number), b"x" * VALUE_BYTES, LWW_REGISTER)
                for number in range(operations)
            )
        )
        self.buffer.add(self.node.last_block)

    def take_push(self, sender: int, report: Report, raws: Sequence[bytes], round_: int) -> None:
        """``Replicator.pushed``."""
        peer = self.peers[sender]
        gap = False
        if raws:
            gap = decode_block(raws[0]).first_seq > self.node.vector.get(sender, 0) + 1
            self.node.receive(raws)
        peer.learn(report, self.node.vector)
        if self.node.vector.get(sender, 0) >= report.vector.get(sender, 0):
            peer.pushed = round_
        elif gap or not raws:
            peer.pushed = float("-inf")
            self.urgent.add(sender)

    def vector_to_ask_with(self, round_: int) -> Vector:
        """``Replicator.vector_to_ask_with``; nothing is refused here or comes in vain."""
        have = dict(self.node.vector)
        for origin, peer in self.peers.items():
            if peer.pushed > round_ - PUSH_FRESH_HEARTBEATS:
                have[origin] = ALL
        return have


class SimulatedCluster:
    """``nodes`` replicas, all connected, each message lost with probability ``loss``."""

    def __init__(self, nodes: int, *, loss: float, seed: int = 1) -> None:
        self._random = random.Random(seed)  # a simulation, not a secret
        self._loss = loss
        origins = [self._random.getrandbits(64) for _ in range(nodes)]
        self.members = {origin: Member(number, origins) for number, origin in enumerate(origins)}
        self._pairs = [(a, b) for a in origins for b in origins if a != b]
        self.traffic = Traffics()
        self.round = 0

    def advance(self, writers: int, batch: int) -> None:
        """One round, in which the first ``writers`` nodes commit ``batch`` operations each."""
        self.round += 1
        for member in list(self.members.values())[:writers]:
            member.write(batch)
        self._random.shuffle(self._pairs)
        for sender, receiver in self._pairs:
            self._push(self.members[sender], self.members[receiver])
        for member in self.members.values():
            for origin in member.peers:
                self._repair(member, self.members[origin])

    def converged(self) -> bool:
        """All have the same."""
        first, *others = (member.node.vector for member in self.members.values())
        return all(vector == first for vector in others)

    def written_bytes(self) -> int:
        """Size of all blocks, each counted once."""
        first = next(iter(self.members.values()))
        return sum(len(raw) for _, raw in first.node.log.replay(0))

    def report_bytes(self) -> float:
        """Mean size of a report now."""
        sizes = [member.wire_report().ByteSize() for member in self.members.values()]
        return sum(sizes) / len(sizes)

    def _lost(self) -> bool:
        return self._loss > 0 and self._random.random() < self._loss

    def _push(self, sender: Member, receiver: Member) -> None:
        stream = sender.streams[receiver.origin]
        if not stream.open:
            stream.open = self._exchange(sender, receiver, [], hello=True)
            known = sender.peers[receiver.origin].vector.get(sender.origin, 0)
            stream.cursor = known + 1
        if stream.open:
            blocks, stream.cursor = sender.buffer.since(stream.cursor, CONFIG.push_message_bytes)
            stream.open = self._exchange(sender, receiver, blocks, hello=False)

    def _exchange(
        self, sender: Member, receiver: Member, blocks: list[bytes], *, hello: bool
    ) -> bool:
        """A pushed message and its answer; whether the stream lives on."""
        kind = self.traffic.push if blocks else self.traffic.heartbeat
        request = pb.PushRequest(
            hello=hello_to_wire(sender.hello) if hello else None,
            report=sender.wire_report(),
            blocks=blocks,
        )
        kind.add(request.ByteSize())
        self.traffic.pushes += bool(blocks)
        self.traffic.block_bytes += sum(map(len, blocks))
        if self._lost():
            return False
        receiver.take_push(sender.origin, sender.report, blocks, self.round)
        answer = pb.PushReply(
            hello=hello_to_wire(receiver.hello) if hello else None, report=receiver.wire_report()
        )
        kind.add(answer.ByteSize())
        if self._lost():
            return False
        sender.peers[receiver.origin].learn(receiver.report, sender.node.vector)
        return True

    def _repair(self, member: Member, other: Member) -> None:
        peer = member.peers[other.origin]
        now = other.origin in member.urgent
        member.urgent.discard(other.origin)
        have = member.vector_to_ask_with(self.round)
        missing = peer.missing(have, now=now)
        peer.wanted = dict(peer.vector)
        if missing:
            self._pull(member, other, have)

    def _pull(self, member: Member, other: Member, have: Vector) -> None:
        request = pb.PullRequest(
            hello=hello_to_wire(member.hello),
            report=member.wire_report(),
            have=vector_to_wire(have),
            bytes_max=CONFIG.pull_bytes,
        )
        self.traffic.pull.add(request.ByteSize())
        if self._lost():
            return
        blocks, complete = other.node.log.lacking(have, CONFIG.pull_bytes)
        reply = pb.PullReply(
            hello=hello_to_wire(other.hello),
            report=other.wire_report(),
            blocks=blocks,
            complete=complete,
        )
        self.traffic.pull.add(reply.ByteSize())
        self.traffic.block_bytes += sum(map(len, blocks))
        if not self._lost():
            member.node.receive(blocks)
            member.peers[other.origin].learn(other.report, member.node.vector)
