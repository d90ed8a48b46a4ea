"""A member away for longer than the log reaches back, on real processes with real caps."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from cluster.processes import LocalCluster
from kvnode import Client, KvnodeError
from tests.cluster.convergence import assert_same, wait_for

pytestmark = pytest.mark.cluster

CONFIG = """
log_bytes_max = 2097152
log_retention_bytes = 1048576
retention_interval_ms = 100
checkpoint_interval_ms = 200
snapshot_bytes_per_s = 6291456
pull_bytes = 1048576
push_buffer_bytes = 1048576
"""
VALUES = 40


def received_bytes(client: Client) -> int:
    """How much of a snapshot the node has got."""
    try:
        return client.admin.status().sync.received_bytes
    except KvnodeError:
        return 0


def has_cut(client: Client) -> bool:
    """Whether the node's log has let go of its first blocks."""
    return client.admin.status().log.first_arrival > 4


def test_a_receiver_killed_while_it_takes_a_snapshot_goes_on_with_it(tmp_path: Path) -> None:
    """Trap 12 and P5: the cap cuts what n3 lacks, it is killed half way through catching up, and
    its own increments, made while it was alone, are counted once everywhere.
    """
    config = tmp_path / "node.toml"
    config.write_text(CONFIG)
    with LocalCluster(3, directory=tmp_path / "cluster", node_config=config) as cluster:
        cluster.wait_connected()
        clients = {name: Client(cluster.endpoint(name)) for name in cluster.names}
        for number, client in enumerate(clients.values()):
            client.increment("count", 10**number)
        assert_same(clients)
        cluster.isolate("n3")
        clients["n3"].increment("count", 1_000)
        clients["n3"].put("cart", "from n3")
        clients["n1"].put("cart", "from n1")
        for number in range(VALUES):
            clients["n1"].put(f"value/{number}", bytes([number]) * (1 << 19))
        for name in ("n1", "n2"):
            wait_for(partial(has_cut, clients[name]), f"{name} cuts its log")
        cluster.heal()
        wait_for(lambda: received_bytes(clients["n3"]) > 2 << 20, "half a snapshot")
        cluster.kill("n3")
        cluster.start("n3")
        clients["n1"].increment("count", 10_000)
        states = assert_same(clients)
        assert states[b"count"].pn_counter == 11_111
        assert {one.value for one in states[b"cart"].siblings} == {b"from n1", b"from n3"}
        assert len(states) == VALUES + 2
        assert "going on behind" in (cluster.directory / "n3" / "log").read_text()
        for client in clients.values():
            client.close()
