"""A bulk writer on real nodes: exact through kill -9, and held where a node's queue is full."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.processes import LocalCluster
from kvnode import AsyncClient, BulkLimits, Client, Progress
from tests.cluster.convergence import wait_for

pytestmark = pytest.mark.cluster

OPERATIONS = 20_000
LIMITS = BulkLimits(operations_max=500, window_chunks=4)
PATIENCE_S = 30.0

Tell = Callable[[Progress], None]


def with_threads(endpoint: str, tell: Tell) -> Progress:
    """Increments through a ``Client``."""
    with (
        Client(endpoint, timeout_s=PATIENCE_S) as client,
        client.bulk(limits=LIMITS, progress=tell) as bulk,
    ):
        for number in range(OPERATIONS):
            bulk.increment("all")
            if number % 2:
                bulk.put("last", str(number), lww=True)
    return bulk.progress


def on_a_loop(endpoint: str, tell: Tell) -> Progress:
    """The same through an ``AsyncClient``."""

    async def work() -> Progress:
        async with AsyncClient(endpoint, timeout_s=PATIENCE_S) as client:
            async with client.bulk(limits=LIMITS, progress=tell) as bulk:
                for number in range(OPERATIONS):
                    await bulk.increment("all")
                    if number % 2:
                        await bulk.put("last", str(number), lww=True)
            return bulk.progress

    return asyncio.run(work())


both_clients = pytest.mark.parametrize("write", [with_threads, on_a_loop])
TAKEN = OPERATIONS + OPERATIONS // 2


def check(endpoint: str) -> None:
    """All is there, once, and the last put is the last."""
    with Client(endpoint, timeout_s=PATIENCE_S) as client:
        assert client.get("all").one().counter == OPERATIONS
        assert client.get("last").one().value == str(OPERATIONS - 1).encode()


@both_clients
def test_a_node_that_is_killed_with_chunks_in_its_hands(
    tmp_path: Path, write: Callable[[str, Tell], Progress]
) -> None:
    with LocalCluster(1, directory=tmp_path) as cluster:
        endpoint = cluster.endpoint("n1")
        seen = [Progress()]
        ended: list[Progress] = []
        writer = threading.Thread(target=lambda: ended.append(write(endpoint, seen.append)))
        writer.start()
        for part in (1, 2):
            wait_for(lambda: seen[-1].acknowledged > part * TAKEN // 4, "a part of the writes")  # noqa: B023
            cluster.kill("n1")
            assert not ended, "all was written before the kill"
            cluster.start("n1")
        writer.join()
        assert ended == [Progress(taken=TAKEN, acknowledged=TAKEN)]
        check(endpoint)


@both_clients
def test_a_full_queue_holds_the_writer_and_refuses_nothing(
    tmp_path: Path, write: Callable[[str, Tell], Progress]
) -> None:
    """A queue for fewer operations than one chunk has: without waiting most would be refused."""
    settings = tmp_path / "small.toml"
    settings.write_text("queue_operations_max = 100\n")
    with LocalCluster(1, directory=tmp_path / "cluster", node_config=settings) as cluster:
        endpoint = cluster.endpoint("n1")
        assert write(endpoint, lambda _: None) == Progress(taken=TAKEN, acknowledged=TAKEN)
        check(endpoint)
