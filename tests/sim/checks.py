"""What must hold at every step of a run, seen from inside the nodes.

The checkers (``tests/checkers``) judge what clients were told; this judges the nodes themselves:
vectors never move back, also over a restart; a block comes after all it depends on; equal vectors
mean equal data, whenever two nodes have them; every queue is within its bound; no write of a
program is begun long after that has given it up; the replica's own invariants hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING

import msgpack

from kvnode.core.block import Block
from kvnode.core.dots import Vector, covers
from kvnode.core.entry import Entry, live_entry
from kvnode.core.receive import Verdict
from kvnode.core.replica import Request, Round
from kvnode.node.node import Node

if TYPE_CHECKING:
    from tests.sim.hosts import Host
    from tests.sim.world import World

NEVER = 1 << 62
"""Unix ms behind all deadlines."""
LATE_S = 1.2
"""A node counts how much longer a request was on its way than the quickest of its stream, which may
have taken a second (``schedule.programs_away``), and programs wait a little beyond a deadline."""
VERDICTS = {
    Verdict.SEEN: "path: block came again",
    Verdict.HELD: "path: block held for others before it",
    Verdict.DROPPED: "path: hold buffer full",
    Verdict.FORK: "path: fork found",
    Verdict.FORGOTTEN: "path: block of a forgotten member refused",
    Verdict.MALFORMED: "path: malformed block refused",
    Verdict.AHEAD: "path: own writes met that are unknown here",
}


class Checks:
    """Of one run."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._digests: dict[frozenset[tuple[int, int, bytes]], tuple[str, str]] = {}
        """Vector and chains -> digest, and who had it first."""
        self._seen: dict[Node, Vector] = {}

    def begun(self, host: Host, node: Node) -> None:
        """A node was opened: nothing may be missing that its disk had."""
        vector = node.vector
        if not covers(vector, host.keeps_vector):
            self._find(host, f"restarted with {vector} and had synced {host.keeps_vector}")
        host.keeps_vector = dict(vector)
        self._seen[node] = dict(vector)
        if node.engine.replayed:
            self._world.counts["path: log replayed at start"] += 1

    def queued(self, host: Host, request: Request) -> None:
        """A node takes a write: not one of a program that has given it up long ago, and may have
        written the same key since.
        """
        now_s, deadlines = self._world.loop.time(), self._world.deadlines
        for request_id in (request.request_id, *request.each):
            late_s = now_s - deadlines.get(request_id, now_s)
            if late_s > LATE_S:
                self._find(host, f"takes {request_id!r}, given up {late_s:.1f} s ago")

    def committed(self, host: Host, node: Node, round_: Round) -> None:
        """A round has become visible."""
        before, after = self._seen[node], node.vector
        self._advance(host, node)
        have = dict(before)
        for block in round_.records:
            self._follows(host, have, block, before)
            have[block.origin] = block.last_seq
        if have != dict(after):
            self._find(host, f"is at {after} after a round that leads to {have}")
        for judgement in round_.judgements:
            path = VERDICTS.get(judgement.verdict)
            if path is not None:
                self._world.counts[path] += 1

    def reloaded(self, host: Host, node: Node) -> None:
        """A snapshot was merged."""
        self._advance(host, node)

    def _advance(self, host: Host, node: Node) -> None:
        if not covers(node.vector, self._seen[node]):
            self._find(host, f"its vector moved back: {self._seen[node]} -> {node.vector}")
        self._seen[node] = dict(node.vector)
        host.keeps_vector = dict(node.vector)

    def _follows(self, host: Host, have: Vector, block: Block, before: Vector) -> None:
        own = block.origin == host.origin
        if block.first_seq != have.get(block.origin, 0) + 1:
            self._find(host, f"took {block.end} over a gap, having {have}")
        if not covers(before if own else have, block.deps):
            self._find(host, f"took {block.end} before {block.deps}, having {have}")

    def observe(self) -> None:
        """All nodes that run, as they are now."""
        for host in self._world.hosts.values():
            node = host.node
            if node is None or host.process is None:
                continue
            if node.engine.vector != self._seen.get(node):
                self.reloaded(host, node)
            self._compare(host, node)
            self._bounds(host, node)
            self._forgotten(host, node)
            node.engine.replica.check_invariants()
            if node.verification.diverged:
                self._find(host, node.verification.problem())

    def _forgotten(self, host: Host, node: Node) -> None:
        """Of a member that all others have forgotten nothing is here that none of them had then."""
        roster = node.membership.roster
        if host.origin in roster.forgets or roster.unacknowledged():
            return
        for origin in roster.forgets:
            if node.vector.get(origin, 0) > roster.limit(origin):
                self._find(
                    host,
                    f"has {node.vector[origin]} writes of {origin:016x}, which was forgotten when "
                    f"members had {roster.limit(origin)}",
                )

    def _compare(self, host: Host, node: Node) -> None:
        # One dot names two writes where a copy of a directory has written before anybody noticed.
        # What follows from them is told apart by the chains, and by who noticed in the end.
        chains = node.engine.replica.durable.chains
        history = frozenset((origin, seq, chains[origin]) for origin, seq in node.vector.items())
        digest = live_digest(node)
        first, who = self._digests.setdefault(history, (digest, host.name))
        if first != digest:
            self._find(host, f"has other data than {who} had under the vector {node.vector}")

    def _bounds(self, host: Host, node: Node) -> None:
        engine, config = node.engine, node.config
        buffer = engine.push_buffer
        bounds: Mapping[str, tuple[int, int]] = {
            "queued operations": (engine.queue.operations, config.queue_operations_max),
            "queued bytes": (engine.queue.bytes, config.queue_bytes_max),
            "held bytes": (engine.replica.held.bytes_held, config.hold_bytes_max),
            "journal rows": (len(engine.journal), config.journal_rows_max),
            "quarantined blocks": (len(engine.quarantine), config.quarantine_rows_max),
            "request ids": (len(engine.replica.durable.requests), config.requests_remembered),
            "push buffer": (
                buffer.bytes_held if len(buffer) > 1 else 0,
                config.push_buffer_bytes,
            ),
        }
        for what, (amount, most) in bounds.items():
            if amount > most:
                self._find(host, f"{what}: {amount} of at most {most}")
        for peer in node.replicator.peers.values():
            unanswered = node.replicator.connections.unanswered(peer)
            if unanswered > config.push_messages_max + 1:  # and the first one, with the hello
                self._find(host, f"{unanswered} messages to {peer.name} are unanswered")

    def _find(self, host: Host, text: str) -> None:
        self._world.finding("inside", f"{host.name}: {text}")


def live_digest(node: Node) -> str:
    """Of all that is visible for good: without what expires, at other times on other clocks, and
    without what only waits for collection.
    """
    digest = blake2b(digest_size=8)

    def accept(key: bytes, entry: Entry) -> bool:
        live = live_entry(entry, NEVER)
        if live is not None:
            digest.update(msgpack.packb([key, live], default=sorted))
        return True

    node.engine.memtable.scan(b"", b"", accept)
    return digest.hexdigest()
