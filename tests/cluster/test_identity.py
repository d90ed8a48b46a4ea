"""Nodes that come back with an old directory or an empty one do not harm the others (P8)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cluster.processes import LocalCluster
from kvnode import Client, FailedPrecondition
from tests.cluster.convergence import assert_same, wait_equal, wait_for

pytestmark = pytest.mark.cluster


def test_a_wiped_node_gets_everything_back_under_a_new_identity(tmp_path: Path) -> None:
    """Trap 1: a lost disk must not make an origin use its sequence numbers a second time."""
    with LocalCluster(3, directory=tmp_path) as cluster:
        clients = {name: Client(endpoint) for name, endpoint in cluster.endpoints.items()}
        clients["n1"].increment("count", 5)
        clients["n1"].put("text", "written at n1")
        wait_equal(clients.values())
        before = clients["n1"].status().origin
        cluster.stop("n1")
        shutil.rmtree(cluster.node("n1").data)
        cluster.start("n1")
        assert clients["n1"].status().origin != before
        wait_equal(clients.values())
        assert clients["n1"].increment("count", 1).counter == 6
        states = assert_same(clients)
        assert states[b"count"].pn_counter == 6
        assert states[b"text"].siblings[0].node == "n1"
        for client in clients.values():
            client.close()


def test_a_node_with_an_old_copy_of_its_directory_stops_writing_when_it_meets_a_peer(
    tmp_path: Path,
) -> None:
    """Trap 1: what the copy lacks was seen by others; writing on would reuse those dots."""
    with LocalCluster(2, directory=tmp_path / "nodes") as cluster:
        clients = {name: Client(endpoint) for name, endpoint in cluster.endpoints.items()}
        clients["n1"].increment("count", 1)
        wait_equal(clients.values())
        data = cluster.node("n1").data
        cluster.stop("n1")
        shutil.copytree(data, tmp_path / "copy")
        cluster.start("n1")
        clients["n1"].increment("count", 10)
        wait_equal(clients.values())
        cluster.stop("n1")
        shutil.rmtree(data)
        (tmp_path / "copy").rename(data)
        cluster.start("n1")
        wait_for(lambda: clients["n1"].status().state == "fenced", "the old copy is found out")
        with pytest.raises(FailedPrecondition, match="empty data directory") as refused:
            clients["n1"].increment("count", 100)
        assert refused.value.reason == "NODE_FENCED"
        assert clients["n2"].increment("count", 1000).counter == 1011
        cluster.stop("n1")
        cluster.start("n1")
        assert clients["n1"].status().state == "fenced", "a restart forgot it"
        for client in clients.values():
            client.close()
