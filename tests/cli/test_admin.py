"""What ``status``, ``peers`` and ``inspect`` make of a node with peers and troubles."""

from __future__ import annotations

import json
import re

import pytest

from kvnode.cli.admin import duration, size
from kvnode.cli.commands import run
from kvnode.v1 import admin_pb2, types_pb2
from tests.client.scripted import DOT, reply, scripted_node

STATUS = admin_pb2.StatusResponse(
    cluster="flights",
    name="EWR",
    origin=DOT.origin,
    state="fenced",
    problem="clock",
    uptime_ms=3_600_000,
    vector=[
        admin_pb2.OriginStatus(origin=DOT.origin, node="EWR", seq=2**40),
        admin_pb2.OriginStatus(origin=1, seq=3),
    ],
    peers=[
        admin_pb2.PeerStatus(
            name="JFK",
            address="127.0.0.1:7081",
            origin=1,
            state="connected",
            silent_ms=12,
            behind_ops=5,
            behind_ms=70,
            behind_bytes=3 << 20,
            falls_off_ms=7_500_000,
            ahead_ops=6,
            clock_offset_ms=-3,
        ),
        admin_pb2.PeerStatus(
            name="LGA",
            address="127.0.0.1:7082",
            state="refused",
            problem="other\ncluster",
            needs_snapshot=True,
        ),
    ],
    log=admin_pb2.LogStatus(
        first_arrival=7,
        last_arrival=9,
        used_bytes=6 << 20,
        block_bytes=4 << 20,
        file_bytes=9 << 20,
        retention_ms=86_400_000,
        retention_bytes=1 << 30,
        bytes_max=8 << 30,
        appended_bytes_per_s=2048,
    ),
    checkpoint=admin_pb2.CheckpointStatus(running=True),
    forks=[admin_pb2.Fork(origin=2, node="LGA", reason="two blocks 7")],
    watches=3,
    sync=admin_pb2.Sync(
        state="receiving",
        **{"from": "JFK"},  # type: ignore[arg-type]
        received_keys=10,
        received_bytes=2 << 20,
        total_keys=40,
        total_bytes=8 << 20,
    ),
)


def test_status_shows_everything(capfd: pytest.CaptureFixture[str]) -> None:
    with scripted_node(reply(STATUS)) as node:
        assert run(["status", "-e", node.address]) == 0
    text = capfd.readouterr().out
    for part in (
        "EWR (1122334455667788) of cluster flights",
        "fenced: clock",
        "1 h 0 min",
        "1099511627776",
        "(unknown)",
        "one is running",
        "3 open",
        "blocks 7 to 9, 4.0 MiB and 2.0 MiB of index, in a file of 9.0 MiB (grows by itself);",
        "2.0 KiB/s come",
        "what a peer lacks, up to 8.0 GiB; what all have for 24 h 0 min, up to 1.0 GiB",
        "Fork: LGA 0000000000000002: two blocks 7",
        "receiving, from JFK: 10 of about 40 keys, 2.0 MiB of about 8.0 MiB",
    ):
        assert part in text


def test_peers_shows_how_far_each_is(capfd: pytest.CaptureFixture[str]) -> None:
    with scripted_node(reply(STATUS), reply(STATUS)) as node:
        assert run(["peers", "-e", node.address]) == 0
        text = capfd.readouterr().out
        assert run(["peers", "-e", node.address, "--json"]) == 0
    lines = text.splitlines()
    assert re.split(r" {2,}", lines[0].strip()) == [
        *("name", "address", "state", "silent", "behind", "falls off", "ahead", "clock", "problem")
    ]
    assert lines[2].split("   ")[0].strip() == "JFK"
    for part in ("connected", "12 ms", "5 ops, 3.0 MiB, 70 ms", "in 2 h 5 min", "6 ops", "-3 ms"):
        assert part in lines[2]
    assert "never seen" in lines[3]
    assert "needs a snapshot" in lines[3]
    assert lines[3].endswith("other\\ncluster")
    first, second = json.loads(capfd.readouterr().out)
    assert (first["name"], first["origin"], first["behind_ops"]) == ("JFK", "0" * 15 + "1", 5)
    assert (first["behind_bytes"], first["falls_off_ms"]) == (3 << 20, 7_500_000)
    assert second["vector"] == []
    assert second["needs_snapshot"] is True


def test_inspect_shows_removals_of_what_did_not_arrive(capfd: pytest.CaptureFixture[str]) -> None:
    cell = admin_pb2.Cell(type=types_pb2.DATA_TYPE_SIBLINGS, awaited=[DOT, DOT])
    with scripted_node(reply(admin_pb2.InspectResponse(key=b"k\xff", cells=[cell]))) as node:
        assert run(["inspect", "k", "-e", node.address]) == 0
    text = capfd.readouterr().out
    assert r"k\xff" in text
    assert "siblings (not visible)" in text
    assert "removed before their arrival here: 1122334455667788:7, 1122334455667788:7" in text


@pytest.mark.parametrize(
    ("time_ms", "text"),
    [
        (0, "0 ms"),
        (999, "999 ms"),
        (1500, "1.5 s"),
        (120_000, "2 min"),
        (7_260_000, "2 h 1 min"),
        (48 * 3_600_000 - 1, "47 h 59 min"),
        (49 * 3_600_000, "2 d 1 h"),
        (157_149 * 3_600_000, "6547 d"),
    ],
)
def test_durations(time_ms: int, text: str) -> None:
    assert duration(time_ms) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (2**40, "1.0 TiB"), (2**52, "4096.0 TiB")],
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text
