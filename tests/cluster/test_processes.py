"""Local clusters leave nothing behind, however they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.control import ClusterError
from cluster.processes import ROOT, LocalCluster, NodeDied
from kvnode import Client
from tests.cluster.convergence import wait_for
from tests.cluster.leftovers import running_in

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for processes in /proc"),
]


def test_a_cluster_ends_with_its_block(tmp_path: Path) -> None:
    with LocalCluster(2, directory=tmp_path) as cluster:
        assert len(running_in(tmp_path)) >= 2
        assert len(cluster.endpoints) == 2
    assert running_in(tmp_path) == []


def test_an_exception_ends_the_cluster_and_comes_through(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), LocalCluster(2, directory=tmp_path):
        _ = 1 / 0
    assert running_in(tmp_path) == []


def test_a_node_that_cannot_start_says_why_and_nothing_stays(tmp_path: Path) -> None:
    data = tmp_path / "n2" / "data"
    data.mkdir(parents=True)
    (data / "holiday.txt").write_text("not kvnode's")
    with (
        pytest.raises(ClusterError, match="not a kvnode data directory"),
        LocalCluster(2, directory=tmp_path),
    ):
        pass
    assert running_in(tmp_path) == []
    assert (data / "holiday.txt").read_text() == "not kvnode's"


def test_a_node_that_dies_unasked_is_reported_at_the_end(tmp_path: Path) -> None:
    with pytest.raises(NodeDied, match="n1"):
        kill_unasked(tmp_path)
    assert running_in(tmp_path) == []


def kill_unasked(directory: Path) -> None:
    """Kill a node of a cluster behind its back and leave the cluster."""
    with LocalCluster(2, directory=directory) as cluster:
        pid = cluster.node("n1").pid
        assert pid
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: cluster.node("n1").life.value == "died", "the death is noticed")


def test_the_nodes_end_with_a_killed_owner(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from cluster.processes import LocalCluster\n"
        "with LocalCluster(2, directory=Path(sys.argv[1])):\n"
        "    print('up', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as owner:
        assert owner.stdout
        assert owner.stdout.readline() == "up\n"
        owner.kill()
        owner.wait()
    wait_for(lambda: running_in(tmp_path) == [], "all processes end with their owner")


def test_what_does_not_run_is_not_ended_and_what_is_paused_not_started(tmp_path: Path) -> None:
    with LocalCluster(2, directory=tmp_path) as cluster:
        cluster.kill("n1")
        with pytest.raises(ClusterError, match="n1 is not running: it is killed"):
            cluster.kill("n1")
        with pytest.raises(ClusterError, match="n1 is not running: it is killed"):
            cluster.stop("n1")
        cluster.start("n1")
        cluster.pause("n1")
        with pytest.raises(ClusterError, match="n1 is paused: resume n1"):
            cluster.start("n1")
        cluster.resume("n1")


def test_a_stopped_node_keeps_its_port_and_data(tmp_path: Path) -> None:
    with LocalCluster(2, directory=tmp_path) as cluster:
        endpoint = cluster.endpoint("n1")
        with Client(endpoint) as client:
            client.put("kept", "value")
            cluster.stop("n1")
            cluster.start("n1")
            assert cluster.endpoint("n1") == endpoint
            assert client.get("kept").one().value == b"value"
