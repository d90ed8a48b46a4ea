"""Nodes in this process, on an event loop in a thread of their own.

They are the real thing: real files (in a temporary directory), real gRPC, real replication. Only
what lies between the processes is missing, so they start within a second. A test that needs a node
to die the hard way needs a process.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Final, TypeVar

from kvnode.client.client import Client
from kvnode.config import Config
from kvnode.node.last_calls import calls_over
from kvnode.node.node import Node
from kvnode.testing.links import HOST, Links

NODES_MAX: Final = 9
START_S: Final = 20.0
EQUAL_S: Final = 20.0
LOOK_S: Final = 0.005
"""Between two looks at whether the nodes are where they should be."""

ResultT = TypeVar("ResultT")


class LocalNodes:
    """``count`` nodes, n1, n2 and so on, all linked. Use it in a ``with`` block.

    Its methods are for the test's thread; also a test on an event loop may call them, they take
    milliseconds (``wait_equal`` as long as it takes). Their files are in a temporary directory made
    in ``directory``, or where the system keeps such.
    """

    __test__ = False  # for pytest, should its name ever begin so

    def __init__(self, count: int = 3, *, directory: Path | None = None) -> None:
        if not 1 <= count <= NODES_MAX:
            raise ValueError(f"{count} nodes; 1 to {NODES_MAX} are possible")
        self.names = tuple(f"n{number}" for number in range(1, count + 1))
        self._parent = directory
        self._directory: TemporaryDirectory[str] | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="kvnode-nodes")
        self._nodes: dict[str, Node] = {}
        self._configs: dict[str, Config] = {}
        self._links = Links(self._port_of)

    @property
    def endpoints(self) -> dict[str, str]:
        """Name -> the address clients use; no cut affects it."""
        return {name: config.listen for name, config in self._configs.items()}

    def client(self, *names: str, timeout_s: float = 5.0) -> Client:
        """A client of the nodes named, of all without a name; the first is the nearest."""
        endpoints = self.endpoints
        return Client([endpoints[name] for name in names or self.names], timeout_s=timeout_s)

    # ---- faults

    def cut(self, one: str, other: str) -> None:
        """Let the two lose touch; clients still reach both."""
        self._check(one, other)
        self._loop.call_soon_threadsafe(self._links.cut, one, other)
        self._on_loop(asyncio.sleep(0))

    def isolate(self, name: str) -> None:
        """Cut a node off from all others."""
        for other in self.names:
            if other != name:
                self.cut(name, other)

    def heal(self) -> None:
        """Let all meet again."""
        self._loop.call_soon_threadsafe(self._links.heal)
        self._on_loop(asyncio.sleep(0))

    def stop(self, name: str) -> None:
        """Stop a node in good order; ``start`` brings it back with what it had."""
        self._check(name)
        self._on_loop(self._nodes.pop(name).close())

    def start(self, name: str) -> None:
        """Start a stopped node again, at its address."""
        self._check(name)
        if name in self._nodes:
            raise ValueError(f"{name} is running")
        self._on_loop(self._start(name))
        self._wait(lambda: self._serving(name), START_S, f"{name} serves")

    # ---- what a test waits for

    def wait_equal(self, *, timeout_s: float = EQUAL_S) -> None:
        """Return when all running nodes have the same writes; TimeoutError if that lasts."""
        self._wait(self._equal, timeout_s, "all nodes have the same writes")

    # ----

    def __enter__(self) -> LocalNodes:
        """Start all, and wait until they serve."""
        self._directory = TemporaryDirectory(
            prefix="kvnode-", dir=self._parent, ignore_cleanup_errors=True
        )
        self._thread.start()
        try:
            self._on_loop(self._start_all(Path(self._directory.name)))
            self._wait(lambda: all(map(self._serving, self.names)), START_S, "all nodes serve")
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop all, and remove their files."""
        self._close()

    def _close(self) -> None:
        self._on_loop(self._stop_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        if self._directory is not None:
            self._directory.cleanup()

    async def _start_all(self, directory: Path) -> None:
        for name in self.names:
            peers = {
                other: f"{HOST}:{await self._links.listen(name, other)}"
                for other in self.names
                if other != name
            }
            self._configs[name] = Config(
                name=name,
                cluster="testing",
                listen=f"{HOST}:0",
                data=str(directory / name),
                peers=peers,
            )
        for name in self.names:
            await self._start(name)

    async def _start(self, name: str) -> None:
        node = Node(self._configs[name])
        self._nodes[name] = node
        await node.start()
        self._configs[name] = replace(self._configs[name], listen=f"{HOST}:{node.port}")

    async def _stop_all(self) -> None:
        for node in self._nodes.values():
            await node.close()
        self._nodes.clear()
        await self._links.close()
        await calls_over()

    def _port_of(self, name: str) -> int | None:
        return self._nodes[name].port if name in self._nodes else None

    def _serving(self, name: str) -> bool:
        node = self._nodes[name]
        if node.failure is not None:
            raise node.failure
        return node.membership.place == "serving"

    def _equal(self) -> bool:
        first, *others = (node.vector for node in self._nodes.values())
        return all(vector == first for vector in others)

    def _check(self, *names: str) -> None:
        for name in names:
            if name not in self.names:
                raise ValueError(f"no node {name!r}; there are {', '.join(self.names)}")

    def _on_loop(self, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(START_S)

    def _wait(self, reached: Callable[[], bool], timeout_s: float, what: str) -> None:
        async def look() -> None:
            deadline = time.monotonic() + timeout_s
            while not reached():
                if time.monotonic() > deadline:
                    raise TimeoutError(f"after {timeout_s} s it is not so that {what}")
                await asyncio.sleep(LOOK_S)

        asyncio.run_coroutine_threadsafe(look(), self._loop).result()
