"""What ``gc status`` makes of a node where much, or nothing, waits."""

from __future__ import annotations

import json

import pytest

from kvnode.cli.commands import run
from kvnode.v1 import admin_pb2, gc_pb2
from tests.cli.commands import Cli, ok
from tests.client.scripted import DOT, reply, scripted_node

STATUS = gc_pb2.CollectionStatusResponse(
    name="EWR",
    origin=DOT.origin,
    rows_waiting=5,
    waiting=[gc_pb2.WaitingRows(origin=DOT.origin, node="EWR", rows=5)],
    entries_collected=9,
    stable=[admin_pb2.OriginStatus(origin=DOT.origin, node="EWR", seq=2**40)],
    members=[
        gc_pb2.MemberReport(node="LGA", own_ops=20),
        gc_pb2.MemberReport(origin=3, own_ops=20, silent_ms=5),
        gc_pb2.MemberReport(
            origin=1, node="JFK", covered_ops=7, own_ops=20, reported=True, silent_ms=12_000
        ),
        gc_pb2.MemberReport(
            origin=2, node="tokyo", covered_ops=9, own_ops=20, reported=True, usable=True
        ),
        gc_pb2.MemberReport(
            origin=4, node="BOS", covered_ops=20, own_ops=20, reported=True, usable=True
        ),
    ],
)


def test_gc_status_says_what_waits_for_whom(capfd: pytest.CaptureFixture[str]) -> None:
    with scripted_node(reply(STATUS)) as node:
        assert run(["gc", "status", "-e", node.address]) == 0
    text = capfd.readouterr().out
    assert text.splitlines()[:6] == [
        "5 deletes and expired values wait for being collected at EWR",
        "9 entries collected since start",
        "waits for LGA: never met since start",
        "waits for 0000000000000003: no report yet, silent for 5 ms",
        "waits for JFK: last report covers 7 of 20 operations, and what it wrote before a newer "
        "one is not all here yet, silent for 12.0 s",
        "waits for tokyo: last report covers 9 of 20 operations",
    ]
    assert "BOS" not in text
    assert "1099511627776" in text


def test_gc_status_says_what_holds_all_of_it_up(capfd: pytest.CaptureFixture[str]) -> None:
    held_up = gc_pb2.CollectionStatusResponse(name="EWR", held_up="lost writes of aside-1")
    with scripted_node(reply(held_up)) as node:
        assert run(["gc", "status", "-e", node.address]) == 0
    assert (
        "nothing is collected, and the log is cut only by its cap: lost writes of aside-1"
        in capfd.readouterr().out.splitlines()
    )


def test_gc_status_as_json(capfd: pytest.CaptureFixture[str]) -> None:
    with scripted_node(reply(STATUS)) as node:
        assert run(["gc", "status", "-e", node.address, "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert (found["rows_waiting"], found["members"][2]["covered_ops"]) == (5, 7)
    assert found["waiting"][0]["origin"] == f"{DOT.origin:016x}"


def test_gc_status_of_a_real_node(cli: Cli) -> None:
    out = ok(cli("gc", "status")).decode()
    assert "deletes and expired values wait for being collected at EWR" in out


def test_gc_alone_shows_its_help(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["gc", "--help"]) == 0
    assert "kvnode gc status" in capfd.readouterr().out
