"""kill -9 under load: no acknowledged write is lost, none is doubled (P2, P5)."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cluster.processes import LocalCluster
from kvnode import Client, Increment, KvnodeError, OutcomeUnknown, Put
from tests.cluster.convergence import assert_same, wait_equal, wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(400)]

ROUNDS = 20
WRITES_BEFORE_KILL = 30


@dataclass
class Writer:
    """Writes one key and one increment a batch, and keeps what it was told."""

    name: str
    client: Client
    acknowledged: list[int] = field(default_factory=list)
    unknown: list[int] = field(default_factory=list)
    next: int = 0

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            number, self.next = self.next, self.next + 1
            key = f"{self.name}/{number:06}"
            try:
                self.client.write([Put(key, str(number)), Increment(f"{self.name}/count", 1)])
            except OutcomeUnknown:
                self.unknown.append(number)
            except KvnodeError:
                continue  # refused for certain: nothing was done
            else:
                self.acknowledged.append(number)


def test_twenty_rounds_of_kill_9_under_load_lose_and_double_nothing(tmp_path: Path) -> None:
    with LocalCluster(3, directory=tmp_path) as cluster:
        writers = [
            Writer(f"{node}-{lane}", Client(endpoint, timeout_s=0.5))
            for node, endpoint in cluster.endpoints.items()
            for lane in range(2)
        ]
        victims = list(cluster.endpoints)
        for round_ in range(ROUNDS):
            kill_under_load(cluster, writers, victims[round_ % len(victims)])
        clients = {name: Client(endpoint) for name, endpoint in cluster.endpoints.items()}
        states = assert_same(clients)
        for writer in writers:
            check(writer, states)
            writer.client.close()
        for client in clients.values():
            client.close()


def kill_under_load(cluster: LocalCluster, writers: list[Writer], victim: str) -> None:
    stop = threading.Event()
    before = {writer.name: len(writer.acknowledged) for writer in writers}
    threads = [threading.Thread(target=writer.run, args=(stop,)) for writer in writers]
    for thread in threads:
        thread.start()
    try:
        wait_for(
            lambda: all(
                len(writer.acknowledged) - before[writer.name] >= WRITES_BEFORE_KILL
                for writer in writers
            ),
            "every writer writes",
        )
        cluster.kill(victim)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    cluster.start(victim)


def check(writer: Writer, states: Mapping[bytes, object]) -> None:
    present = {
        int(key.rpartition(b"/")[2])
        for key in states
        if key.startswith(f"{writer.name}/0".encode())
    }
    lost = set(writer.acknowledged) - present
    assert not lost, f"{writer.name}: {len(lost)} acknowledged writes lost, first {min(lost)}"
    unexpected = present - set(writer.acknowledged) - set(writer.unknown)
    assert not unexpected, f"{writer.name}: refused writes are there: {sorted(unexpected)[:5]}"
    count = states[f"{writer.name}/count".encode()]
    assert getattr(count, "pn_counter", None) == len(present), "a batch was doubled or torn"
    assert len(writer.acknowledged) >= ROUNDS * WRITES_BEFORE_KILL


def test_a_node_that_was_down_gets_all_it_missed(tmp_path: Path) -> None:
    with LocalCluster(3, directory=tmp_path) as cluster:
        clients = {name: Client(endpoint) for name, endpoint in cluster.endpoints.items()}
        cluster.kill("n3")
        for batch in range(50):
            for name in ("n1", "n2"):
                clients[name].write(
                    [Put(f"{name}/{batch}/{number}", "x" * 100) for number in range(100)]
                )
        cluster.start("n3")
        wait_equal(clients.values())
        assert len(assert_same(clients)) == 2 * 50 * 100
        for client in clients.values():
            client.close()
