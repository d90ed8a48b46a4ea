"""``kvnode serve --metrics`` as a process."""

from __future__ import annotations

import re
import socket
import urllib.request
from collections.abc import Callable
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.rpc.api import Api

from .conftest import Start
from .process import NodeProcess, until

Connect = Callable[[NodeProcess], Api]
METRICS = re.compile(r"metrics at (http://127\.0\.0\.1:\d+/metrics)\n")


def figures(process: NodeProcess) -> dict[str, float]:
    """What has no label."""
    found = METRICS.search(process.stderr)
    assert found, process.stderr
    with urllib.request.urlopen(found[1], timeout=30) as answer:
        text = answer.read().decode()
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.labels
    }


def test_what_a_node_does_can_be_scraped_until_it_stops(start: Start, connect: Connect) -> None:
    process = start("data", "--metrics", "127.0.0.1:0").ready()
    assert figures(process)["kvnode_operations_accepted_total"] == 0
    api = connect(process)
    api.put(b"k", b"v")
    api.increment(b"n", 5)
    found = figures(process)
    assert found["kvnode_operations_accepted_total"] == 2
    assert found["kvnode_commits_total"] == 2
    assert found["kvnode_memtable_keys"] == 2
    assert found["process_open_fds"] > 0
    process.stop()
    assert process.trouble == []


def test_nothing_is_served_unasked(start: Start) -> None:
    process = start("data").ready()
    assert "metrics" not in process.stderr


def test_an_address_that_is_taken_stops_the_start_and_leaves_nothing(
    start: Start, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        process = start("data", "--metrics", address)
        assert process.ended() == 1
        assert process.stderr == f"Error: cannot listen on {address}: Address already in use\n"
        assert not (tmp_path / "data").exists()
        start("old").ready().stop()
        process = start("old", "--metrics", address)
        assert process.ended() == 1
        assert f"cannot serve metrics on {address}: Address already in use" in process.stderr
    start("old", "--metrics", address).ready()


def test_a_node_that_is_no_member_yet_says_so_to_prometheus_too(start: Start) -> None:
    process = start("data", "--join", "--metrics", "127.0.0.1:0")
    until(lambda: METRICS.search(process.stderr) is not None, "it says where")
    found = METRICS.search(process.stderr)
    assert found
    with urllib.request.urlopen(found[1], timeout=30) as answer:
        assert 'kvnode_state{state="joining"} 1.0' in answer.read().decode()
