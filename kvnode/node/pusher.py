"""Eager push to one peer: own blocks as they are committed, heartbeats when there are none.

Every message tells what the peer has after it, so a peer that lost its place sees it and pulls.
At most ``push_messages_max`` messages are unanswered; while they are, blocks gather, so messages
grow with the load and a slow peer costs no memory but the shared buffer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from kvnode.core.errors import Refused
from kvnode.core.report import Report
from kvnode.node.alarm import Alarm
from kvnode.node.peers import Peer
from kvnode.rpc.link import Link, LinkError, PushStream

if TYPE_CHECKING:
    from kvnode.node.replicator import Replicator

logger = logging.getLogger(__name__)


class Pusher:
    """The push stream to one peer, reopened for ever."""

    def __init__(self, replicator: Replicator, peer: Peer, link: Link) -> None:
        self._replicator = replicator
        self._engine = replicator.engine
        self._config = replicator.engine.config
        self._ambient = replicator.engine.ambient
        self.peer = peer
        self._link = link
        self._wake = asyncio.Event()
        self._cursor = 0
        self._unanswered: deque[tuple[float, bool]] = deque()
        self._names_sent = 0
        self._origin = 0
        """Who answered when the stream began."""

    @property
    def unanswered(self) -> int:
        """Messages on their way."""
        return len(self._unanswered)

    def notify(self) -> None:
        """There may be something to send."""
        self._wake.set()

    async def run(self) -> None:
        """Push until cancelled; a cancellation may get lost in a stream that is just ending."""
        while not self._replicator.closing:
            stream = self._link.push()
            try:
                await self._serve(stream)
            except LinkError as error:
                self._replicator.turned_away(self.peer, error)
                state = "refused" if error.refused else "unreachable"
                if self.peer.state != state:
                    logger.warning("peer %s %s: %s", self.peer.name, state, error)
                self.peer.state = "refused" if error.refused else "unreachable"
                self.peer.problem = self._problem(error)
            finally:
                stream.close()
            pause_ms = self._config.reconnect_interval_ms
            await asyncio.sleep(pause_ms / 1000 * self._ambient.chance.uniform(0.5, 1.0))

    def _problem(self, error: LinkError) -> str:
        """What is wrong, in words; what another node at the address asks for says nothing here."""
        if error.node not in ("", self.peer.name):
            return f"node {error.node!r} answers there, not {self.peer.name!r}"
        return str(error)

    async def _serve(self, stream: PushStream) -> None:
        self._unanswered.clear()
        self._names_sent = 0
        self._unanswered.append((self._ambient.wall_ms(), True))
        self.peer.relay_due = 0.0  # an old copy has to be found out before it has caught up
        await stream.send(self._report(), 0, [], self._replicator.hello())
        async with self._patience():
            await self._answer(stream)
        self._cursor = self._start()
        if self.peer.state != "connected":
            logger.info("peer %s connected at %s", self.peer.name, self.peer.address)
        self.peer.state, self.peer.problem = "connected", ""
        self._replicator.look_again()
        sender = asyncio.create_task(self._send(stream))
        receiver = asyncio.create_task(self._receive(stream))
        try:
            done, _ = await asyncio.wait((sender, receiver), return_when=asyncio.FIRST_COMPLETED)
            for task in (receiver, sender):  # the one that gave up knows why; a set has no order
                if task in done:
                    task.result()
        finally:
            for task in (sender, receiver):
                task.cancel()
            # not one by one under suppress(): that would swallow this task's own cancellation
            await asyncio.gather(sender, receiver, return_exceptions=True)

    async def _send(self, stream: PushStream) -> None:
        config, buffer = self._config, self._engine.push_buffer
        heartbeat = Alarm(config.heartbeat_interval_ms / 1000, self._wake.set)
        try:
            while True:
                self._wake.clear()
                if len(self._unanswered) < config.push_messages_max:
                    blocks, self._cursor = buffer.since(self._cursor, config.push_message_bytes)
                    idle = not self._unanswered
                    if blocks or idle:
                        self._unanswered.append((self._ambient.wall_ms(), not blocks))
                        await stream.send(self._report(), self._position(), blocks, None)
                    if blocks:
                        continue
                heartbeat.put_off()
                await self._wake.wait()
        finally:
            heartbeat.cancel()

    async def _receive(self, stream: PushStream) -> None:
        async with self._patience() as patience:
            while True:
                await self._answer(stream)
                patience.put_off()
                if self._engine.push_buffer.has(self._cursor):
                    self._wake.set()

    @contextlib.asynccontextmanager
    async def _patience(self) -> AsyncIterator[Alarm]:
        """A peer that answers nothing for as long as the alarm is not put off is gone."""
        silent_ms = self._config.peer_timeout_ms
        try:
            async with asyncio.timeout(None) as scope:
                alarm = Alarm(silent_ms / 1000, lambda: scope.reschedule(0))
                try:
                    yield alarm
                finally:
                    alarm.cancel()
        except TimeoutError as error:
            raise LinkError(f"no answer from {self.peer.address} for {silent_ms} ms") from error

    async def _answer(self, stream: PushStream) -> None:
        report, hello = await stream.receive()
        if hello:
            try:
                self._replicator.meet(self.peer, hello)
            except LinkError as error:
                error.node = hello.name
                raise
            self._origin = hello.origin
        if self.peer.origin != self._origin:
            raise LinkError(f"another node {self.peer.name!r} has taken the place of this one")
        if not self._unanswered:
            raise LinkError(f"{self.peer.address} answered what it was not asked", refused=True)
        sent_ms, empty = self._unanswered.popleft()
        self.peer.measure_clock(report, sent_ms, self._ambient.wall_ms(), at_once=empty)
        try:
            self._replicator.learn(self.peer, self._origin, report)
        except Refused as error:
            raise LinkError(error.message, refused=True, reason=error.reason) from error
        acknowledged = report.vector.get(self._replicator.origin, 0)
        if acknowledged >= self._cursor:
            self._cursor = acknowledged + 1  # it got the rest by pulling

    def _start(self) -> int:
        """Where to begin: with what the peer lacks, or with what comes, if that is too much.

        It is pulling then, from whoever it reached first; both ways at once would double the bytes.
        """
        config, buffer = self._config, self._engine.push_buffer
        first = self.peer.vector.get(self._replicator.origin, 0) + 1
        much = config.push_message_bytes * config.push_messages_max
        return first if buffer.bytes_from(first) <= much else buffer.next_seq

    def _position(self) -> int:
        """The last own write the peer has after this message, as far as this stream brings it."""
        if self._engine.push_buffer.has(self._cursor):
            return self._cursor - 1
        return self._engine.vector.get(self._replicator.origin, 0)

    def _report(self) -> Report:
        """What this node has; names only if there are new ones."""
        report = self._replicator.report(self.peer, self._names_sent)
        self._names_sent = len(report.names) or self._names_sent
        return report
