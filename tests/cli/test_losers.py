"""``conflicts --resolved`` and ``undo``: a value that last-writer-wins dropped comes back."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.cli.commands import Cli, ok
from tests.node.process import NodeProcess
from tests.rpc.api import Api
from tests.rpc.conftest import PEERS
from tests.rpc.impostor import Impostor, now_ms

PAST = 1 << 30


@pytest.fixture(scope="module")
def contested(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A node that another region can be played to."""
    folder = tmp_path_factory.mktemp("undo")
    options = ("--name", "EWR", "--cluster", "testing", *PEERS)
    node = NodeProcess(folder / "data", *options).ready()
    api = Api(node.address)
    try:
        yield api
        node.stop()
    finally:
        api.close()
        node.kill()


@pytest.fixture
def lost(contested: Api, cli: Cli, key: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A key that lost ``old`` to ``new``."""
    monkeypatch.setenv("KVNODE_ENDPOINTS", contested.address)
    ok(cli("put", key, "new", "--lww"))
    lose(contested, key, b"old")
    return key


ORIGINS = iter(range(1000, 2000))


def lose(api: Api, key: str, value: bytes) -> None:
    """A concurrent write from the past arrives."""
    region = Impostor(next(ORIGINS))
    region.push(api, region.block([3, key.encode(), value], hlc=PAST))


def test_the_listing_shows_who_lost_against_whom(cli: Cli, lost: str) -> None:
    (line,) = ok(cli("conflicts", lost, "--resolved")).decode().splitlines()
    number, key, value, by, when, what, winner, then = line.split("\t")
    assert (key, value, by, what, winner) == (lost, "old", "impostor", "value", "EWR")
    assert when.startswith(("1970-01-01", "1969-12-31"))
    assert then > when
    row = json.loads(ok(cli("conflicts", lost, "--resolved", "--json")))
    assert (row["id"], row["key"], row["lost"]["value"]) == (
        int(number), {"utf8": lost}, {"utf8": "old"},
    )  # fmt: skip
    assert (row["winner"]["node"], row["winner_deleted"]) == ("EWR", False)
    assert row["winner"]["time_ms"] <= now_ms()
    assert ok(cli("conflicts", lost, "--resolved", "--keys-only")) == lost.encode() + b"\n"
    assert ok(cli("conflicts", lost + "?", "--resolved")) == b""


def test_undo_puts_the_lost_value_back(cli: Cli, lost: str) -> None:
    done = cli("undo", lost, "--yes")
    assert done.code == 0
    assert done.out.startswith(b"put back " + lost.encode())
    assert "new (by EWR at " in done.err
    assert "-> old (by impostor at " in done.err
    assert ok(cli("get", lost)) == b"old"


def test_undo_twice_says_that_it_is_done(cli: Cli, lost: str) -> None:
    assert cli("undo", lost, "--yes").code == 0
    done = cli("undo", lost, "--yes")
    assert (done.code, done.out) == (1, b"")
    assert done.err.startswith(f"Error: key {lost} holds old (by EWR at ")
    assert done.err.endswith("): that is there already\n")


def test_the_table_says_what_a_value_was_lost_to(
    cli: Cli, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setattr("kvnode.cli.losers.stdout_is_terminal", lambda: True)
    drawn = ok(cli("conflicts", lost, "--resolved")).decode()
    head, _, row = re.sub(r"\x1b\[[0-9;]*m", "", drawn).splitlines()
    at = head.index("lost to a")
    assert row[at:].split()[:2] == ["value", "EWR"]
    assert ok(cli("conflicts", lost + "?", "--resolved")) == b"No lost values.\n"


def test_undo_promises_what_it_is_asked_to(cli: Cli, lost: str) -> None:
    done = cli("undo", lost, "--yes", "--durability", "buffered")
    assert (done.code, done.out[: 7 + len(lost)]) == (0, f"taken {lost} ".encode())
    alone = cli("undo", lost, "--over-newer", "--yes", "--durability", "all", "--timeout", "1")
    assert alone.code == 14


@pytest.mark.parametrize(("answer", "value"), [(b"y\n", b"old"), (b"n\n", b"new"), (b"", b"new")])
def test_undo_asks_first(cli: Cli, lost: str, answer: bytes, value: bytes) -> None:
    done = cli("undo", lost, stdin=answer)
    assert "new (by EWR" in done.err
    assert "Put the lost value back? [y/N]" in done.err
    assert (done.code == 0) == (value == b"old")
    assert ("nobody answered: --yes" in done.err) == (not answer)
    assert ok(cli("get", lost)) == value


def test_undo_refuses_when_the_winner_was_overwritten(cli: Cli, lost: str) -> None:
    ok(cli("put", lost, "newer", "--lww"))
    done = cli("undo", lost, "--yes")
    assert (done.code, done.out) == (1, b"")
    assert f"key {lost} holds newer (by EWR" in done.err
    assert "--over-newer" in done.err
    assert ok(cli("get", lost)) == b"newer"
    assert cli("undo", lost, "--yes", "--over-newer").code == 0
    assert ok(cli("get", lost)) == b"old"


def test_undo_of_a_value_that_a_delete_dropped(cli: Cli, contested: Api, lost: str) -> None:
    ok(cli("delete", lost))
    lose(contested, lost, b"older")
    row = json.loads(ok(cli("conflicts", lost, "--resolved", "--json", "--limit", "1")))
    assert row["winner_deleted"]
    done = cli("undo", lost, "--yes")
    assert "(deleted) (by EWR" in done.err
    assert ok(cli("get", lost)) == b"older"


def test_undo_of_a_named_row(cli: Cli, contested: Api, lost: str) -> None:
    lose(contested, lost, b"another")
    rows = ok(cli("conflicts", lost, "--resolved", "--json")).splitlines()
    newest, oldest = map(json.loads, rows)
    assert cli("undo", lost, "--yes", "--id", str(oldest["id"])).code == 0
    assert ok(cli("get", lost)) == b"old"
    done = cli("undo", "other", "--yes", "--id", str(newest["id"]))
    assert (done.code, done.err) == (
        1, f"Error: id {newest['id']} is a lost value of key {lost}\n",
    )  # fmt: skip
    assert cli("undo", lost, "--id", "999999").code == 3
    two = cli("undo", lost, "--id", "1", "-e", "127.0.0.1:1,127.0.0.1:2")
    assert (two.code, "one node only" in two.err) == (6, True)


def test_undo_of_a_key_that_lost_nothing(cli: Cli, lost: str) -> None:
    done = cli("undo", lost + "?")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "remembers no lost value" in done.err
