"""Nodes that are stopped one after the other, as at an upgrade, under writes of both clients."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from cluster.processes import LocalCluster
from kvnode import AsyncClient, Client

pytestmark = pytest.mark.cluster

CALLERS = 16
WRITES = 300
"""Between two events."""


class Work:
    """Callers that increment one counter all the time."""

    def __init__(self, client: AsyncClient) -> None:
        self.done = 0
        self._client = client
        self._over = False
        self._news = asyncio.Event()
        self._tasks = [asyncio.create_task(self._caller()) for _ in range(CALLERS)]

    async def _caller(self) -> None:
        while not self._over:
            await self._client.increment("rolling")
            self.done += 1
            self._news.set()

    async def more(self) -> None:
        """Return when so many more are acknowledged; the first error of a caller is raised."""
        wanted = self.done + WRITES
        while self.done < wanted:
            for task in self._tasks:
                if task.done():
                    task.result()
            self._news.clear()
            news = asyncio.create_task(self._news.wait())
            await asyncio.wait((news, *self._tasks), return_when=asyncio.FIRST_COMPLETED)
            news.cancel()

    async def end(self) -> None:
        """Let each end with the write that it waits for."""
        self._over = True
        await asyncio.gather(*self._tasks)


def test_a_clean_stop_of_each_node_in_turn_leaves_no_write_in_doubt(
    cluster: LocalCluster,
) -> None:
    async def work() -> None:
        endpoints = list(cluster.endpoints.values())
        async with AsyncClient(endpoints, timeout_s=30.0) as client:
            work = Work(client)
            for name in cluster.names:
                await work.more()
                await asyncio.to_thread(cluster.stop, name)
                try:
                    await work.more()
                finally:
                    await asyncio.to_thread(cluster.start, name)
            await work.more()
            await work.end()
            state = await client.get("rolling", consistency="all")
            assert state.pn_counter == work.done

    asyncio.run(asyncio.wait_for(work(), 200))


class Threads:
    """The same with threads."""

    def __init__(self, increment: Callable[[], object]) -> None:
        self.done = 0
        self._increment = increment
        self._over = False
        self._news = threading.Condition()

    def caller(self) -> None:
        """Until the end."""
        try:
            while not self._over:
                self._increment()
                with self._news:
                    self.done += 1
                    self._news.notify_all()
        finally:
            self.end()

    def more(self) -> None:
        """Return when so many more are acknowledged, or a caller has failed."""
        with self._news:
            wanted = self.done + WRITES
            self._news.wait_for(lambda: self._over or self.done >= wanted)

    def end(self) -> None:
        """Let each end with the write that it waits for."""
        with self._news:
            self._over = True
            self._news.notify_all()


def test_a_clean_stop_leaves_no_write_of_a_thread_in_doubt(cluster: LocalCluster) -> None:
    endpoints = list(cluster.endpoints.values())
    with Client(endpoints, timeout_s=30.0) as client, ThreadPoolExecutor(CALLERS) as pool:
        work = Threads(lambda: client.increment("rolling threads"))
        callers = [pool.submit(work.caller) for _ in range(CALLERS)]
        try:
            for name in cluster.names:
                work.more()
                cluster.stop(name)
                try:
                    work.more()
                finally:
                    cluster.start(name)
            work.more()
        finally:
            work.end()
        for caller in callers:
            caller.result()
        assert client.get("rolling threads", consistency="all").pn_counter == work.done
