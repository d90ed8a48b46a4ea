"""A bulk writer on real nodes: exact through kill -9, and held where a node's queue is full."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster.processes import LocalCluster
from kvnode import AsyncClient, BulkError, BulkLimits, Client, Progress
from tests.cluster.convergence import wait_for

pytestmark = pytest.mark.cluster

OPERATIONS = 20_000
LIMITS = BulkLimits(operations_max=500, window_chunks=4)
LOAD = BulkLimits(operations_max=100, interval_s=60)
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


def test_a_wrong_operation_takes_no_others_along_that_were_acknowledged_before(
    tmp_path: Path,
) -> None:
    """From the queue: when their turn comes nobody waits any more to be told of a refusal."""
    with (
        LocalCluster(1, directory=tmp_path) as cluster,
        Client(cluster.endpoint("n1"), timeout_s=PATIENCE_S) as client,
    ):
        client.increment("counter")
        with client.bulk(limits=LOAD, durability="buffered") as bulk:
            for key in loaded():
                bulk.put(key, "v", lww=True)
        client.put("behind them", "")
        keys = [key for key in loaded() if key != "counter"]
        assert all(state.register is not None for state in client.batch_get(keys))


def keep_busy(endpoint: str, number: int, stop: threading.Event) -> None:
    """Keep the queue full."""
    with Client(endpoint, timeout_s=PATIENCE_S) as client, client.bulk(limits=LOAD) as bulk:
        while not stop.is_set():
            bulk.increment(f"busy{number}")


def loaded() -> Iterator[str]:
    """Keys of which each hundredth is of another type."""
    return ("counter" if number % 100 == 50 else f"k{number}" for number in range(1_000))


def load_with_threads(endpoint: str) -> None:
    """Put them."""
    with Client(endpoint, timeout_s=PATIENCE_S) as client, client.bulk(limits=LOAD) as bulk:
        for key in loaded():
            bulk.put(key, "v", lww=True)


def load_on_a_loop(endpoint: str) -> None:
    """Put them through an ``AsyncClient``."""

    async def work() -> None:
        async with (
            AsyncClient(endpoint, timeout_s=PATIENCE_S) as client,
            client.bulk(limits=LOAD) as bulk,
        ):
            for key in loaded():
                await bulk.put(key, "v", lww=True)

    asyncio.run(work())


@pytest.mark.parametrize("load", [load_with_threads, load_on_a_loop])
def test_a_full_queue_holds_what_was_refused_with_a_wrong_one_too(
    tmp_path: Path, load: Callable[[str], None]
) -> None:
    """Taken apart, a chunk has to wait for room as it did whole."""
    settings = tmp_path / "small.toml"
    settings.write_text("queue_operations_max = 150\nround_operations_max = 50\n")
    with LocalCluster(1, directory=tmp_path / "cluster", node_config=settings) as cluster:
        endpoint = cluster.endpoint("n1")
        with Client(endpoint, timeout_s=PATIENCE_S) as client:
            client.increment("counter")
        stop = threading.Event()
        busy = [threading.Thread(target=keep_busy, args=(endpoint, n, stop)) for n in range(3)]
        for thread in busy:
            thread.start()
        try:
            with pytest.raises(BulkError) as raised:
                load(endpoint)
        finally:
            stop.set()
            for thread in busy:
                thread.join()
        assert {failure.operation.key for failure in raised.value.failures} == {"counter"}
        assert raised.value.progress == Progress(taken=1_000, acknowledged=990, failed=10)
