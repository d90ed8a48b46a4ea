"""A simulated host: a machine, a data directory, and the process of a node that may run on it.

The node is the production one, wired as ``kvnode serve`` wires it, only that its calls go over
played channels and that it has no server. As there, a node that was ``Reborn`` starts again.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import grpc

from kvnode.client.channels import WELL
from kvnode.config import Config
from kvnode.node.node import Node, Reborn
from kvnode.rpc.link import Link, Pulled
from kvnode.storage.directory import DataDirectory
from kvnode.storage.interfaces import StorageError
from tests.sim.ambient import Machine, PlayedAmbient
from tests.sim.channel import PlayedChannel
from tests.sim.exchange import hang_up
from tests.sim.loop import Process
from tests.sim.memory import Disk, MemoryDirectory
from tests.storage.stores import abandon

if TYPE_CHECKING:
    from tests.sim.world import World


HEALTH = "grpc.health.v1.Health"
UNWELL = b"\x08\x02"
"""``HealthCheckResponse(status=NOT_SERVING)``; ``WELL`` is SERVING."""


class WatchedLink(Link):
    """A link that counts what is pulled over it."""

    def __init__(self, address: str, channel: PlayedChannel, world: World) -> None:
        super().__init__(address, channel)  # type: ignore[arg-type]
        self._world = world

    async def pull(self, *arguments: object, **named: object) -> AsyncIterator[Pulled]:
        """See ``Link``."""
        counts = self._world.counts
        async for pulled in super().pull(*arguments, **named):  # type: ignore[arg-type]
            counts["path: blocks pulled"] += len(pulled.blocks)
            counts["path: sent to a snapshot"] += pulled.floor is not None
            yield pulled


class PlayedServer:
    """What a node stops when it closes: calls that run end, and no more are taken."""

    def __init__(self, process: Process) -> None:
        self.stopped = False
        self._process = process
        self._health = WELL
        check: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(
            self._check
        )
        self.health = grpc.method_handlers_generic_handler(HEALTH, {"Check": check})

    async def _check(self, _raw: bytes, _context: object) -> bytes:
        return self._health

    async def retire(self) -> None:
        """Who asks whether it is well hears that it is not."""
        self._health = UNWELL

    async def stop(self, grace_s: float) -> None:
        """Let what is served end for so long."""
        self.stopped = True
        serving = [exchange.serving for exchange in self._process.served]
        if not serving:
            return
        _, left = await asyncio.wait(serving, timeout=grace_s)
        ended = [task for task in serving if task in left]
        for task in ended:
            task.cancel()
        await asyncio.gather(*ended, return_exceptions=True)


class Host:
    """See the module."""

    def __init__(self, world: World, name: str, config: Config, folder: Path) -> None:
        self.world = world
        self.name = name
        self.address = config.advertise
        self.config = config
        self.folder = folder
        self.machine = Machine(world.loop.time)
        self.process: Process | None = None
        self.node: Node | None = None
        self.refusal = ""
        """Why it did not start, or stopped by itself."""
        self.origin = 0
        """Under which its node writes, or wrote last."""
        self.leaving = False
        """Its node was told to leave, and maybe it did."""
        self.retired = False
        """It is meant to be down for good."""
        self.keeps_vector: dict[int, int] = {}
        """What was synced here, and so has to be here after a restart."""
        self.disk: Disk | None = None
        """In memory."""
        self.server: PlayedServer
        self.stopping = False
        self._starts = 0

    def answering(self) -> tuple[Process, Sequence[grpc.GenericRpcHandler]] | None:
        """See ``channel.Host``."""
        if self.process is None or self.node is None or self.server.stopped:
            return None
        return self.process, (*self.node.services, self.server.health)

    @property
    def running(self) -> bool:
        """Whether there is a node to call."""
        return self.process is not None

    def start(self) -> None:
        """Start the process."""
        assert self.process is None, f"{self.name} runs already"
        self._starts += 1
        self.stopping = False
        self.refusal = ""
        self.process = process = Process(f"{self.name}.{self._starts}")
        chance = Random(f"{self.world.seed}/{self.name}/{self._starts}")
        process.run(self.world.loop.create_task, self._live(process, chance))

    async def stop(self) -> None:
        """End it cleanly."""
        process, node = self.process, self.node
        if process is None or process.stopped:
            return
        if node is None or self.stopping or node.closing.is_set():  # of a failure, by itself
            self.kill()
            return
        self.world.tell(self.name, "stops")
        self.stopping = True
        self.world.ended(self, node)
        closing = process.run(self.world.loop.create_task, node.close())
        await asyncio.wait((closing,), timeout=60)
        if self.process is process:
            if not closing.done():
                self.world.finding("stop", f"{self.name} did not stop in 60 s")
            self._bury(process, files_open=not closing.done())

    def kill(self) -> None:
        """As kill -9, or as when the power goes: nothing of the process runs any more."""
        process = self.process
        if process is None:
            return
        self.world.tell(self.name, "is killed")
        self._bury(process, files_open=True)

    def _bury(self, process: Process, *, files_open: bool) -> None:
        node, self.node, self.process = self.node, None, None
        process.killed = True
        hang_up(process)
        if node is not None and files_open:
            self.world.ended(self, node)
            close_files(node)
        self.world.graveyard.append((process, node, list(process.tasks)))

    async def _live(self, process: Process, chance: Random) -> None:
        failure: BaseException | None = None
        try:
            while True:
                ambient = PlayedAmbient(self.machine, chance)
                self.node = node = Node(
                    self.config,
                    ambient=ambient,
                    open_link=self._open_link,
                    directory=self._directory(chance),
                )
                self.server = PlayedServer(process)
                node._server = self.server  # type: ignore[assignment]  # noqa: SLF001
                self.world.begun(self, node)
                try:
                    await node.run(self.address)
                    await node.wait_failed()
                    self.world.ended(self, node)
                finally:
                    await node.close()
                self.node = None
                failure = node.failure
                if not isinstance(failure, Reborn):
                    break
                self.world.counts["path: began anew under a new identity"] += 1
                self.world.tell(self.name, f"starts again: {failure}")
        except StorageError as error:
            failure = error
        except Exception as error:
            self.world.crashed(self.name, error)
            failure = error
        self.refusal = str(failure)
        self.world.tell(self.name, f"has stopped by itself: {failure}")
        self.world.stopped_by_itself(self, failure)
        self.node, self.process = None, None
        process.killed = True
        hang_up(process)
        self.world.graveyard.append((process, None, list(process.tasks)))

    def _directory(self, chance: Random) -> DataDirectory | None:
        """In memory, or None for files."""
        if self.world.plan.storage == "lmdb":
            return None
        if self.disk is None:
            config = self.config
            self.disk = MemoryDirectory.made(config.cluster, config.name, chance.randbytes)
        return MemoryDirectory(self.disk, self.data, chance.randbytes)  # type: ignore[return-value]

    def _open_link(self, address: str) -> Link:
        channel = PlayedChannel(self.world.network, self.name, self.world.at(address))
        return WatchedLink(address, channel, self.world)

    # ---- the directory of a host that is down

    @property
    def data(self) -> Path:
        """Its data directory."""
        return Path(self.config.data)

    def copy_to(self, target: Path) -> None:
        """A backup, as any tool would make it."""
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self.data, target, ignore=shutil.ignore_patterns("lock.mdb", "LOCK"))

    def put_back(self, source: Path, *, below: bool) -> None:
        """Restore a backup; ``below`` the file system, so that no file shows it."""
        assert self.process is None
        if not below or not (self.data / "v1" / "here").exists():
            self.wipe()
            shutil.copytree(source, self.data)
            return
        for folder in list(self.data.iterdir()):
            if folder.name.startswith("aside"):
                shutil.rmtree(folder)
        for part in ("incoming", "snapshots"):
            shutil.rmtree(self.data / "v1" / part, ignore_errors=True)
        for file in ("identity.json", "log/data.mdb", "log/tail", "state/data.mdb"):
            shutil.copyfile(source / "v1" / file, self.data / "v1" / file)
            (self.data / "v1" / file).with_name("lock.mdb").unlink(missing_ok=True)

    def wipe(self) -> None:
        """Lose the disk."""
        assert self.process is None
        self.disk = None
        shutil.rmtree(self.data, ignore_errors=True)


def close_files(node: Node) -> None:
    """What the kernel does for a process that has died."""
    directory = node.directory
    if isinstance(directory, MemoryDirectory):
        return
    abandon(directory.log)
    directory.state.close()
    node.resync.incoming.close()
    for copy in node.snapshots._copies.values():  # noqa: SLF001 - the kernel knows no privacy
        copy._env.close()  # noqa: SLF001
    os.close(directory._lock)  # noqa: SLF001
