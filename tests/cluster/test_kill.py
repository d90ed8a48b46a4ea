"""A node that was killed catches up. For acknowledged writes see ``tests/durability/kill.py``."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.processes import LocalCluster
from kvnode import Client, Put
from tests.cluster.convergence import assert_same, wait_equal

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(400)]


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
