"""The faulty links between clients and nodes: where replies get lost.

What nodes say to each other goes through the links of the cluster's supervisor; clients talk to the
nodes directly. So a run has doors of its own, one in front of each node, made of the same links.
They live in an event loop in a thread of this process, which is where the clients are.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Final, Self, TypeVar

from cluster.faults import Fault
from cluster.links import Links
from cluster.ports import HOST

CLIENTS: Final = "clients"
"""All clients together, as one end of a link."""
DEADLINE_S: Final = 60.0

T = TypeVar("T")


class Doors:
    """Use as a context manager. Its methods may be called from any thread."""

    def __init__(self, nodes: Mapping[str, str]) -> None:
        """``nodes``: name -> address."""
        self.endpoints: dict[str, str] = {}
        """Address of the door in front of each node."""
        self._nodes = nodes
        self._loop = asyncio.new_event_loop()
        self._links = Links([CLIENTS, *nodes])
        self._thread = threading.Thread(target=self._run, name="doors", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        for name, address in self._nodes.items():
            listening = self._links.listen(CLIENTS, name, int(address.rpartition(":")[2]))
            port = asyncio.run_coroutine_threadsafe(listening, self._loop).result(DEADLINE_S)
            self.endpoints[name] = f"{HOST}:{port}"
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._do(self._links.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def set(self, names: Iterable[str], requests: Fault, replies: Fault) -> None:
        """What befalls the bytes to and from these nodes from now on."""
        names = list(names)

        def change() -> None:
            self._links.set_faults([(CLIENTS, name) for name in names], requests)
            self._links.set_faults([(name, CLIENTS) for name in names], replies)

        self._do(change)

    def hits(self) -> int:
        """How often any fault hit something so far."""
        return self._do(
            lambda: sum(self._links.counters(*pair).faults for pair in self._links.directions)
        )

    def _run(self) -> None:
        self._loop.run_forever()
        # What was reset tells its protocol in the next turn of the loop.
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    def _do(self, change: Callable[[], T]) -> T:
        async def done() -> T:
            return change()

        return asyncio.run_coroutine_threadsafe(done(), self._loop).result(DEADLINE_S)
