"""``put --ttl`` and what shows that a value expires."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvnode import Client
from tests.cli.commands import Cli, json_of, ok
from tests.node.process import NodeProcess, until
from tests.rpc.api import Api
from tests.rpc.conftest import PEERS
from tests.rpc.impostor import Impostor, now_ms

HOUR_S = 3_600
PAST = 1 << 30


def left_s(cli: Cli, key: str) -> float:
    """How long the key's value has to live."""
    (value,) = json_of(cli("get", key, "--json"))["values"]
    return float(value["expires_ms"] - now_ms()) / 1000


@pytest.mark.parametrize(
    ("ttl", "seconds"),
    [("30s", 30), ("5m", 300), ("2h", 7_200), ("1d", 86_400), ("90", 90), ("1.5h", 5_400)],
)
@pytest.mark.parametrize("lww", [(), ("--lww",)])
def test_a_value_is_given_a_time_to_live(
    cli: Cli, key: str, ttl: str, seconds: int, lww: tuple[str, ...]
) -> None:
    ok(cli("put", key, "v", "--ttl", ttl, *lww))
    assert seconds - 20 < left_s(cli, key) <= seconds


@pytest.mark.parametrize("ttl", ["", "0", "-5m", "5w", "soon", "nan", "inf"])
def test_what_is_no_time_is_a_usage_error(cli: Cli, key: str, ttl: str) -> None:
    done = cli("put", key, "v", f"--ttl={ttl}")
    assert done.code == 2
    assert "30s, 5m, 2h or 1d" in done.err
    assert cli("get", key).code != 0


def test_a_time_beyond_a_century_is_refused_with_the_limit(cli: Cli, key: str) -> None:
    done = cli("put", key, "v", "--ttl", "36501d")
    assert done.code != 0
    assert "0.001..3153600000 seconds" in done.err


def test_tables_have_a_column_for_it_where_a_value_expires(cli: Cli, key: str) -> None:
    ok(cli("put", key, "one", "--blind"))
    assert "expires" not in ok(cli("siblings", key)).decode()
    ok(cli("put", key, "two", "--blind", "--ttl", "1h"))
    for command in ("siblings", "inspect"):
        text = ok(cli(command, key)).decode()
        (header,) = [line for line in text.splitlines() if "expires" in line]
        assert header.split()[-1] == "expires"
        one, two = (
            next(row for row in text.splitlines() if name in row) for name in ("one", "two")
        )
        assert len(two) > len(one)


def test_resolving_keeps_what_is_left(cli: Cli, key: str) -> None:
    ok(cli("put", key, "one", "--blind", "--ttl", "1h"))
    ok(cli("put", key, "two", "--blind"))
    ok(cli("resolve", key, "--keep", "1"))
    assert HOUR_S - 60 < left_s(cli, key) <= HOUR_S


def test_the_library_tells_when(node_endpoint: str, key: str) -> None:
    with Client(node_endpoint) as client:
        client.put(key, "v", ttl=HOUR_S)
        (stored,) = client.get(key).siblings
        assert stored.expires_ms is not None
        assert stored.expires_at is not None
        assert stored.expires_at.timestamp() * 1000 == pytest.approx(stored.expires_ms)
        client.put(key, "v", ttl=0.001)
        until(lambda: not client.batch_get([key])[0].visible, "it is gone")
        client.put(key, "v")
        (stored,) = client.get(key).siblings
        assert (stored.expires_ms, stored.expires_at) == (None, None)


# ---- undo and export


@pytest.fixture(scope="module")
def contested(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A node that another region can be played to."""
    folder = tmp_path_factory.mktemp("expiry")
    node = NodeProcess(folder / "data", "--name", "EWR", "--cluster", "testing", *PEERS).ready()
    api = Api(node.address)
    try:
        yield api
        node.stop()
    finally:
        api.close()
        node.kill()


@pytest.mark.parametrize(("left_ms", "code"), [(HOUR_S * 1000, 0), (-1, 1)])
def test_undo_puts_back_what_is_left_of_a_lost_value(
    contested: Api, cli: Cli, key: str, monkeypatch: pytest.MonkeyPatch, left_ms: int, code: int
) -> None:
    monkeypatch.setenv("KVNODE_ENDPOINTS", contested.address)
    ok(cli("put", key, "new", "--lww"))
    region = Impostor(5_000 + code)
    deadline = now_ms() + left_ms
    region.push(contested, region.block([3, key.encode(), b"old", deadline], hlc=PAST))
    row = json.loads(ok(cli("conflicts", key, "--resolved", "--json")))
    assert row["lost"]["expires_ms"] == deadline
    done = cli("undo", key, "--yes")
    assert done.code == code, done.err
    if code:
        assert "the lost value has expired at" in done.err
        assert ok(cli("get", key)) == b"new"
    else:
        assert "expires at" in done.err
        (value,) = json_of(cli("get", key, "--json"))["values"]
        assert value["expires_ms"] == pytest.approx(deadline, abs=20_000)


def test_export_shows_deadlines(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    node = NodeProcess(folder, "--name", "EWR").ready()
    with Client(node.address) as client:
        client.put("k", "v", ttl=HOUR_S)
        client.put("k", "w", lww=False)
    node.stop()
    lines = [
        json.loads(line) for line in cli("export", str(folder), "--after", "0").out.splitlines()
    ]
    puts = [line for line in lines if line["key"] == {"utf8": "k"}]
    assert [bool(line.get("expires_ms")) for line in puts] == [True, False]
