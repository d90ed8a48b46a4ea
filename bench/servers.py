"""Servers of one run: kvnode's nodes, redis-server and etcd, alone or three of them.

Each on free loopback ports, with a directory of its own, fsync before every acknowledgement, no
faulty links between them. Redis and etcd are Debian's (``apt install redis-server etcd-server``);
where they are not installed ``absence`` says so, and nothing is reported of them.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
    contextmanager,
)
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Generic, TypeVar

from bench.processes import LOG_NAME, ServerProcess
from bench.stores import (
    EtcdStore,
    KvnodeStore,
    RedisStore,
    Store,
    etcd_store,
    kvnode_store,
    redis_py_is_there,
    redis_store,
)
from cluster.node_process import READY_LINE
from cluster.ports import HOST, PortReservations

LOOK_S: Final = 0.005
DEADLINE_S: Final = 120.0
PORTS: Final = PortReservations()
TXN_OPERATIONS_MAX: Final = 10_000
"""etcd's own default is 128."""
ETCD_QUOTA_BYTES: Final = 8 << 30

StoreT = TypeVar("StoreT", bound=Store)


@dataclass(frozen=True, slots=True)
class Servers(Generic[StoreT]):
    """Running servers of one kind, and a client of each."""

    processes: Sequence[ServerProcess]
    stores: Sequence[StoreT]
    writers: Sequence[StoreT]
    """Those that take writes: all of them, but for redis the primary only."""
    connect: Callable[[], AbstractAsyncContextManager[StoreT]]
    """A new client of the first."""

    @property
    def store(self) -> StoreT:
        """The first."""
        return self.stores[0]

    @property
    def process(self) -> ServerProcess:
        """The first."""
        return self.processes[0]

    def cpu_s(self) -> float:
        """What all of them have spent."""
        return sum(process.cpu_s() for process in self.processes)

    async def wait_converged(self) -> None:
        """Return when all are where all the others are."""
        await until(self._converged, "all servers have the same")

    async def wait_at_rest(self) -> None:
        """Return when none has anything left to do of what it was asked before."""
        for store in self.stores:
            await until(store.is_at_rest, f"{store.name} is at rest")

    async def _converged(self) -> bool:
        first, *others = await asyncio.gather(*(store.position() for store in self.stores))
        return all(other == first for other in others)


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Return when it holds; TimeoutError naming it after two minutes."""
    deadline = time.monotonic() + DEADLINE_S
    while not await condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {DEADLINE_S:g} s: {what}")
        await asyncio.sleep(LOOK_S)


def absence(system: str) -> str | None:
    """Why a peer cannot be measured here; None if it can."""
    if system == "redis":
        if shutil.which("redis-server") is None:
            return "redis-server is not installed (apt install redis-server)"
        if not redis_py_is_there():
            return "redis-py is not installed (./cluster/setup bench)"
    if system == "etcd" and shutil.which("etcd") is None:
        return "etcd is not installed (apt install etcd-server)"
    return None


def peer_process(name: str, command: Sequence[str], directory: Path, port: int) -> ServerProcess:
    """One that is ready when it listens; its data are of no use afterwards."""
    return ServerProcess(name, command, directory, connects(port), ending=signal.SIGKILL)


def connects(port: int) -> Callable[[], bool]:
    """Whether somebody listens there."""

    def ready() -> bool:
        with socket.create_connection((HOST, port), timeout=1):
            return True

    return ready


@contextmanager
def started(processes: Sequence[ServerProcess]) -> Iterator[None]:
    """Start them together, and in the end stop them together: each may take a while."""
    try:
        for process in processes:
            process.start()
        for process in processes:
            process.wait_ready()
        yield
    finally:
        for process in processes:
            process.tell_to_stop()
        with ExitStack() as stack:
            for process in processes:
                stack.callback(process.stop)


@asynccontextmanager
async def kvnodes(
    directory: Path, count: int = 1, config: str = ""
) -> AsyncIterator[Servers[KvnodeStore]]:
    """Nodes of one cluster, connected; ``config`` is TOML for all of them."""
    async with AsyncExitStack() as stack:
        endpoints = [f"{HOST}:{port}" for port in PORTS.choose(count)]
        processes = [
            kvnode_process(directory / f"kvnode{number}", number, endpoints, config)
            for number in range(count)
        ]
        stack.enter_context(started(processes))
        stores = [await stack.enter_async_context(kvnode_store(endpoint)) for endpoint in endpoints]

        async def connected() -> bool:
            told = await asyncio.gather(*(store.client.admin.status() for store in stores))
            return all(peer.state == "connected" for status in told for peer in status.peers)

        await until(connected, "the nodes are connected")
        yield Servers(processes, stores, stores, partial(kvnode_store, endpoints[0]))


def kvnode_process(
    directory: Path, number: int, endpoints: Sequence[str], config: str
) -> ServerProcess:
    """One node of those at the endpoints."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "node.toml").write_text(config)
    command = [sys.executable, "-m", "kvnode", "serve", "--name", f"n{number + 1}"]
    command += ["--listen", endpoints[number], "--data", str(directory / "data")]
    command += ["--config", str(directory / "node.toml")]
    for other, endpoint in enumerate(endpoints):
        if other != number:
            command += ["--peer", f"n{other + 1}={endpoint}"]

    def ready() -> bool:
        return READY_LINE.search((directory / LOG_NAME).read_bytes()) is not None

    return ServerProcess(f"n{number + 1}", command, directory, ready)


@asynccontextmanager
async def redises(directory: Path, count: int = 1) -> AsyncIterator[Servers[RedisStore]]:
    """A primary and its replicas, all with appendonly and an fsync for every answer."""
    async with AsyncExitStack() as stack:
        ports = PORTS.choose(count)
        processes = []
        for number, port in enumerate(ports):
            own = directory / f"redis{number}"
            command = ["redis-server", "--port", str(port), "--bind", HOST, "--dir", str(own)]
            command += ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
            command += ["--repl-diskless-sync-delay", "0"]
            command += ["--shutdown-timeout", "0"]  # its replicas are stopped at the same time
            if number:
                command += ["--replicaof", HOST, str(ports[0])]
            processes.append(peer_process(f"redis{number}", command, own, port))
        stack.enter_context(started(processes))
        stores = [await stack.enter_async_context(redis_store(port)) for port in ports]
        for replica in stores[1:]:
            await until(replica.is_linked, "the replica follows")
        yield Servers(processes, stores, stores[:1], partial(redis_store, ports[0]))


@asynccontextmanager
async def etcds(directory: Path, count: int = 1) -> AsyncIterator[Servers[EtcdStore]]:
    """Members of one cluster."""
    async with AsyncExitStack() as stack:
        ports, peer_ports = PORTS.choose(count), PORTS.choose(count)
        cluster = ",".join(f"e{at}=http://{HOST}:{port}" for at, port in enumerate(peer_ports))
        processes = []
        for number, port in enumerate(ports):
            own = directory / f"etcd{number}"
            client, peer = f"http://{HOST}:{port}", f"http://{HOST}:{peer_ports[number]}"
            command = ["etcd", "--name", f"e{number}", "--data-dir", str(own / "data")]
            command += ["--listen-client-urls", client, "--advertise-client-urls", client]
            command += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
            command += ["--initial-cluster", cluster, "--log-level", "error"]
            command += ["--max-txn-ops", str(TXN_OPERATIONS_MAX)]
            command += ["--quota-backend-bytes", str(ETCD_QUOTA_BYTES)]
            processes.append(peer_process(f"etcd{number}", command, own, port))
        stack.enter_context(started(processes))
        endpoints = [f"{HOST}:{port}" for port in ports]
        stores = [await stack.enter_async_context(etcd_store(endpoint)) for endpoint in endpoints]
        for store in stores:
            await store.put(b"first", b"")  # there is a leader
        yield Servers(processes, stores, stores, partial(etcd_store, endpoints[0]))
