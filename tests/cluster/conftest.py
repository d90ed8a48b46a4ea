"""A cluster of three real nodes behind faulty links, shared by a module's tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from cluster.processes import LocalCluster
from kvnode import Client
from tests.cluster.convergence import wait_equal


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Three nodes, n1 to n3."""
    with LocalCluster(3, directory=tmp_path_factory.mktemp("cluster")) as cluster:
        cluster.wait_connected()
        yield cluster


@pytest.fixture(scope="module")
def all_clients(running: LocalCluster) -> Iterator[dict[str, Client]]:
    """One client per node, that talks to no other."""
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(Client(endpoint, timeout_s=30.0))
            for name, endpoint in running.endpoints.items()
        }


@pytest.fixture
def cluster(running: LocalCluster, all_clients: dict[str, Client]) -> Iterator[LocalCluster]:
    """The cluster, whole and converged before and after the test."""
    yield running
    running.heal()
    wait_equal(all_clients.values())


@pytest.fixture
def clients(cluster: LocalCluster, all_clients: dict[str, Client]) -> dict[str, Client]:
    """One client per node of the whole and converged cluster."""
    assert cluster
    return all_clients
