"""Waiting for nodes to be together says what is missing, and nothing once they are."""

from __future__ import annotations

from itertools import combinations

import pytest

from cluster.convergence import wait_together
from cluster.processes import LocalCluster
from kvnode import Client
from tests.cluster.convergence import vector

pytestmark = pytest.mark.cluster


def test_what_a_cut_keeps_apart_is_named_until_healed(
    cluster: LocalCluster, clients: dict[str, Client]
) -> None:
    everyone = list(combinations(cluster.names, 2))
    assert wait_together(cluster.endpoints, everyone, timeout_s=30.0) == []
    cluster.isolate("n3")
    clients["n1"].increment("together", 1)
    clients["n3"].increment("together", 1)
    missing = wait_together(cluster.endpoints, everyone, timeout_s=0.5)
    assert [line for line in missing if line.startswith("n1 -> n3 is unreachable")]
    assert {"n1 lacks 1 operation", "n3 lacks 1 operation"} <= set(missing)
    assert wait_together(cluster.endpoints, [("n1", "n2")], timeout_s=30.0) == []
    cluster.heal()
    assert wait_together(cluster.endpoints, everyone, timeout_s=30.0) == []
    assert vector(clients["n1"]) == vector(clients["n2"]) == vector(clients["n3"])


def test_a_node_that_is_down_does_not_answer(cluster: LocalCluster) -> None:
    cluster.kill("n2")
    missing = wait_together(cluster.endpoints, [("n1", "n2")], timeout_s=0.1)
    assert [line for line in missing if line.startswith("n2 does not answer")]
    cluster.start("n2")
