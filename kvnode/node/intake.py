"""What a peer's push stream brings: queued as it comes, answered in its order.

A message's blocks wait for the next round from when they are read, also while the round before is
on its way to disk. So what comes meanwhile shares one sync; committed message by message, each
would wait for the syncs of all before it, which is most of a write's way to a busy replica. What a
message says besides (its report, and what its sender thinks is here) counts when its blocks and
all those before it are synced: only then does it follow what it builds on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from kvnode.core.errors import Reason, Refused
from kvnode.core.receive import Verdict
from kvnode.core.report import Hello, Report
from kvnode.node.peers import Peer
from kvnode.node.quarantine import decode_sent

if TYPE_CHECKING:
    from kvnode.node.replicator import Replicator


class Begun(NamedTuple):
    """A message whose blocks are queued."""

    report: Report
    position: int
    verdicts: asyncio.Future[list[Verdict]] | None
    """None if there are no blocks to wait for."""
    begins_at: int
    """Where its blocks go on; behind its position if it has none; 0 if they cannot be read."""


class Intake:
    """The messages of one push stream that is served."""

    def __init__(self, replicator: Replicator, peer: Peer, hello: Hello) -> None:
        """``hello``: who began the stream: another process may take its name meanwhile."""
        self._replicator = replicator
        self._engine = replicator.engine
        self._peer = peer
        self._hello = hello
        self._unfinished: deque[asyncio.Future[list[Verdict]]] = deque()
        peer.stream_opened(hello.incarnation, self._now())
        peer.relay_due = 0.0  # as when a stream is opened from here

    def begin(self, report: Report, position: int, raws: Sequence[bytes]) -> Begun:
        """Queue what a message brought.

        Args:
            report: what its sender has.
            position: the last of its own writes that is here if none was lost on the way.
            raws: its own blocks.
        """
        peer = self._peer
        if peer.origin != self._hello.origin:
            raise Refused(
                Reason.NAME_TAKEN,
                f"another node {self._hello.name!r} has taken the place of this one",
            )
        if not raws or self._is_forgotten():
            return Begun(report, position, None, position + 1)
        self._engine.check_open()  # what is damaged cannot be kept any more either
        blocks = decode_sent(self._engine, peer, report, raws)
        verdicts = self._engine.take(blocks, peer.name)
        self._unfinished.append(verdicts)
        return Begun(report, position, verdicts, blocks[0].first_seq if blocks else 0)

    async def finish(self, begun: Begun) -> None:
        """Return when all of it is synced, and heed what it says. In the order they began."""
        if begun.verdicts is not None:
            await begun.verdicts
            self._unfinished.popleft()
        peer, replicator = self._peer, self._replicator
        if self._is_forgotten():
            if begun.report.roster:
                replicator.membership.merge(begun.report.roster)
            return
        if self._hello.incarnation in peer.streams:  # not closed meanwhile
            peer.streams[self._hello.incarnation] = self._now()
        replicator.learn(peer, self._hello.origin, begun.report)
        have = self._engine.vector.get(peer.origin, 0)
        if have >= begun.position:
            peer.pushed = self._now()
        elif begun.begins_at > have + 1:
            peer.pushed = float("-inf")
            replicator.repair.hurry(peer)

    def close(self) -> None:
        """The stream has ended: nobody is told what becomes of the rest."""
        for verdicts in self._unfinished:
            verdicts.add_done_callback(_leave)
        self._unfinished.clear()
        self._peer.stream_closed(self._hello.incarnation)

    def _is_forgotten(self) -> bool:
        return self._peer.origin in self._replicator.membership.roster.forgets

    def _now(self) -> float:
        return self._engine.ambient.monotonic()


def _leave(verdicts: asyncio.Future[list[Verdict]]) -> None:
    """A refusal that nobody reads is no bug, and asyncio need not tell of it."""
    if not verdicts.cancelled():
        verdicts.exception()
