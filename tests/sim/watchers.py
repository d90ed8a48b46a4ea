"""Simulated readers of changes: each goes on with its token, at another node now and then.

What comes without a token behind it is thrown away when the stream breaks, as a reader would that
stores changes and token in one transaction. Who has fallen behind all logs begins anew, with the
keys that are there.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING, Any

import grpc

from kvnode.core.dots import covers
from kvnode.core.watch import decode_cursor
from kvnode.rpc.link import link_error
from kvnode.v1 import watch_pb2 as pb
from kvnode.v1.watch_pb2_grpc import WatchesStub
from tests.checkers.history import Dot, Seen, Told, Vector, Watched
from tests.sim.channel import EOF, PlayedChannel
from tests.sim.clients import seen_of

if TYPE_CHECKING:
    from tests.sim.hosts import Host
    from tests.sim.world import World

HEARTBEAT_MS = 1_000
SILENT_S = 3.5
RETRY_S = 0.3
BEHIND_MAX = 4
"""Nodes in a row that have cut what a watch needs; then it begins anew."""
MOVES = 0.1
"""How often a reader goes to another node for no reason."""


class Watcher:
    """One reader."""

    def __init__(self, world: World, number: int, prefix: bytes) -> None:
        self._world = world
        self._name = f"watcher{number}"
        self._number = number
        self._prefix = prefix
        self._chance = Random(f"{world.seed}/{self._name}")
        self._token = b""
        self._watched: Watched | None = None
        self._shown: Vector = {}
        self._call: Any = None
        self._behind = 0
        self._task = asyncio.get_running_loop().create_task(self._run())

    def has(self, vector: Vector) -> bool:
        """Whether it has been told all that this covers."""
        return self._watched is not None and covers(self._shown, vector)

    async def finish(self) -> None:
        """Nothing more comes, and it has been told everything."""
        self._task.cancel()
        await asyncio.wait((self._task,))
        error = None if self._task.cancelled() else self._task.exception()
        if error is not None:
            self._world.crashed(self._name, error)
        elif self._watched is not None:
            self._watched.finished = True

    async def _run(self) -> None:
        while True:
            hosts = [host for host in self._world.hosts.values() if not host.retired]
            host = self._chance.choice(hosts)
            try:
                await self._follow(host)
                self._world.counts["path: watch moved on"] += 1
            except grpc.aio.AioRpcError as error:
                self._ended(host, link_error(error).reason)
            except TimeoutError:
                self._ended(host, "silent")
            finally:
                if self._call is not None:
                    self._call.cancel()
            await asyncio.sleep(RETRY_S)

    def _ended(self, host: Host, reason: str) -> None:
        self._world.counts[f"watch ended: {reason or 'broken'}"] += 1
        self._world.tell(self._name, f"at {host.name}: {reason or 'broken'}")
        self._behind = self._behind + 1 if reason == "WATCH_BEHIND" else 0
        if self._behind == BEHIND_MAX:
            self._behind, self._token, self._watched = 0, b"", None
            self._world.counts["path: watch begun anew"] += 1

    async def _follow(self, host: Host) -> None:
        """Until it wants to go to another one."""
        stub = WatchesStub(PlayedChannel(self._world.network, self._name, host))  # type: ignore[no-untyped-call]
        request = pb.WatchRequest(
            prefix=self._prefix, since=self._token, existing=not self._token,
            heartbeat_ms=HEARTBEAT_MS,
        )  # fmt: skip
        if self._token:
            self._world.counts["path: watch resumed"] += 1
        self._call = stub.Watch(request)
        changes: list[pb.Change] = []
        while True:
            async with asyncio.timeout(SILENT_S):
                response = await self._call.read()
            if response is EOF:
                return
            if response.waiting:
                continue
            changes += response.changes
            if not response.token:
                continue
            self._behind = 0
            self._step(host, changes, response.token)
            changes = []
            if self._chance.random() < MOVES:
                return

    def _step(self, host: Host, changes: list[pb.Change], token: bytes) -> None:
        world = self._world
        cursor = decode_cursor(token, self._prefix, host.config.token_secret)
        self._shown = cursor.shown if cursor.scanned is None else {}
        self._token = token
        if self._watched is None:
            self._watched = Watched(self._number, self._prefix, dict(cursor.shown))
            world.history.watches.append(self._watched)
        if not changes:
            return
        writes: list[tuple[bytes, Dot]] = [
            (change.state.key, (write.dot.origin, write.dot.seq))
            for change in changes
            for write in change.writes
        ]
        states: dict[bytes, Seen] = seen_of([change.state for change in changes])
        self._watched.told.append(
            Told(host.name, world.now_ms(), tuple(writes), tuple(states.values()))
        )
        world.tell(self._name, f"at {host.name}: {writes}")
