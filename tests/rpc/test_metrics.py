"""What Prometheus gets of a node."""

from __future__ import annotations

import asyncio
import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import get_args

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from kvnode.node.membership import Place
from kvnode.rpc.metrics import FIGURES, STATES, Exporter, families
from kvnode.rpc.server import Server
from kvnode.v1 import admin_pb2 as pb

Samples = dict[tuple[str, str], float]
"""By name and the value of the one label, if there is one."""


def status_in(folder: Path) -> pb.StatusResponse:
    """Of a node that has one peer connected and another that it has never met."""
    return pb.StatusResponse(
        cluster="c",
        name="paris",
        origin=0xAB,
        state="degraded",
        version="1.2.3",
        data_directory=str(folder),
        operations_accepted=7,
        clock_offset_ms=-1500,
        diverged=[pb.Divergence(peer="tokyo")],
        peers=[
            pb.PeerStatus(
                name="tokyo", origin=2, state="connected", silent_ms=250, falls_off_ms=4_000
            ),
            pb.PeerStatus(name="lima", state="unreachable", behind_ops=9),
        ],
    )


def samples(all_: list[Metric]) -> Samples:
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for family in all_
        if family.name != "kvnode"
        for sample in family.samples
    }


def scraped(port: int) -> list[Metric]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        return list(text_string_to_metric_families(answer.read().decode()))


def test_numbers_come_in_base_units_and_what_is_not_known_has_no_sample(tmp_path: Path) -> None:
    found = samples(list(families(status_in(tmp_path))))
    assert found["kvnode_operations_accepted_total", ""] == 7
    assert found["kvnode_clock_offset_seconds", ""] == -1.5
    assert found["kvnode_disk_free_bytes", ""] > 0
    assert found["kvnode_peer_connected", "tokyo"] == 1
    assert found["kvnode_peer_silent_seconds", "tokyo"] == 0.25
    assert found["kvnode_peer_falls_off_seconds", "tokyo"] == 4
    assert found["kvnode_peer_diverged", "tokyo"] == 1
    assert found["kvnode_peer_connected", "lima"] == 0
    assert found["kvnode_peer_behind_operations", "lima"] == 9
    assert found["kvnode_peer_diverged", "lima"] == 0
    assert ("kvnode_peer_silent_seconds", "lima") not in found
    assert ("kvnode_peer_falls_off_seconds", "lima") not in found


def test_a_node_is_in_one_state_of_all_there_are(tmp_path: Path) -> None:
    assert set(get_args(Place)) <= set(STATES)
    status = status_in(tmp_path)
    for state in (*STATES, "one that was added since"):
        status.state = state
        found = samples(list(families(status)))
        states = {label: value for (name, label), value in found.items() if name == "kvnode_state"}
        assert states == dict.fromkeys((*STATES, state), 0) | {state: 1}


def test_no_figure_stands_for_two() -> None:
    names = [figure.name for figure in FIGURES]
    assert len(names) == len(set(names))


def test_who_asks_is_answered_from_the_event_loop_and_never_with_old_figures(
    tmp_path: Path,
) -> None:
    async def ask() -> None:
        loop, status = asyncio.get_running_loop(), status_in(tmp_path)

        def now() -> pb.StatusResponse:
            assert asyncio.get_running_loop() is loop
            return status

        exporter = Exporter("127.0.0.1:0", now)
        for accepted in (8, 9):
            status.operations_accepted = accepted
            found = await asyncio.to_thread(scraped, exporter.port)
            assert samples(found)["kvnode_operations_accepted_total", ""] == accepted
            (about,) = [family for family in found if family.name == "kvnode_info"]
            assert about.samples[0].labels == {
                "cluster": "c",
                "name": "paris",
                "origin": "00000000000000ab",
                "version": "1.2.3",
            }
            assert any(family.name == "process_resident_memory_bytes" for family in found)
        await exporter.close()

    asyncio.run(ask())


def test_a_server_that_stops_leaves_the_address_to_the_next(tmp_path: Path) -> None:
    """A node that gets a new identity starts again in the same process."""

    async def serve_twice() -> None:
        with socket.create_server(("127.0.0.1", 0)) as found:
            address = f"127.0.0.1:{found.getsockname()[1]}"
        for _ in range(2):
            server = Server("127.0.0.1:0", ())
            server.export(address, lambda: status_in(tmp_path))
            await server.start()
            assert await asyncio.to_thread(scraped, int(address.rpartition(":")[2]))
            await server.stop(0)

    asyncio.run(serve_twice())


def test_a_status_that_cannot_be_told_fails_the_scrape_and_not_the_node(
    capfd: pytest.CaptureFixture[str],
) -> None:
    async def ask() -> None:
        def fail() -> pb.StatusResponse:
            raise RuntimeError("no status today")

        exporter = Exporter("127.0.0.1:0", fail)
        with pytest.raises(urllib.error.HTTPError) as refused:
            await asyncio.to_thread(scraped, exporter.port)
        refused.value.close()
        assert refused.value.code == 500
        await exporter.close()

    asyncio.run(ask())
    assert "no status today" in capfd.readouterr().err


def test_an_address_that_is_taken_is_named() -> None:
    async def ask() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            with pytest.raises(OSError, match=f"metrics on {address}: Address already in use"):
                Exporter(address, pb.StatusResponse)

    asyncio.run(ask())
