"""The ``quarantine`` commands and the status of a node that has something in it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.cli.commands import Cli, json_of, ok
from tests.node.process import NodeProcess
from tests.rpc.api import Api
from tests.rpc.conftest import PEERS
from tests.rpc.impostor import Impostor


@pytest.fixture
def victim(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Api]:
    """A node that another one can be played to."""
    folder = tmp_path_factory.mktemp("quarantine")
    options = ("--name", "EWR", "--cluster", "testing", *PEERS)
    node = NodeProcess(folder / "data", *options).ready()
    monkeypatch.setenv("KVNODE_ENDPOINTS", node.address)
    api = Api(node.address)
    try:
        yield api
        node.stop(trouble="quarantined block ")
    finally:
        api.close()
        node.kill()


@pytest.fixture
def bad(victim: Api) -> tuple[Impostor, bytes]:
    """A region, and the good copy of the block that arrived with a flipped bit."""
    region = Impostor(50)
    good = region.block([4, b"k", b"v", []])
    region.push(victim, good[:-1] + bytes([good[-1] ^ 1]))
    return region, good


LS = ("quarantine", "ls")


def test_an_empty_quarantine_is_nothing(cli: Cli, victim: Api) -> None:
    assert victim.status().state == "serving"
    assert ok(cli(*LS)) == b""
    assert b"quarantine ls" not in ok(cli("status"))


def test_a_record_is_listed_and_the_status_says_so(cli: Cli, bad: tuple[Impostor, bytes]) -> None:
    (line,) = ok(cli(*LS)).decode().splitlines()
    number, block, by, sender, _, times, size, reason = line.split("\t")
    assert (number, block, by, sender) == ("1", "0000000000000032:1-1", "impostor", "impostor")
    assert (times, int(size), reason) == ("1", len(bad[1]), "block fails its checksum")
    row = json.loads(ok(cli(*LS, "--json")))
    assert (row["origin"], row["first_seq"], row["awaits"]) == (
        "0000000000000032", 1, {"0000000000000032": 1},
    )  # fmt: skip
    assert "raw" not in row
    text = ok(cli("status")).decode()
    assert "degraded: 1 block in quarantine" in text
    assert "impostor 0000000000000032:1" in text
    assert "see 'kvnode quarantine ls'" in text


def test_show(cli: Cli, bad: tuple[Impostor, bytes]) -> None:
    text = ok(cli("quarantine", "show", "1")).decode()
    assert "block fails its checksum" in text
    assert "a good copy (when 0000000000000032:1 is here)" in text
    raw = ok(cli("quarantine", "show", "1", "--raw"))
    assert raw[:-1] == bad[1][:-1]
    assert json_of(cli("quarantine", "show", "1", "--json"))["reason"] in text


def test_retry_says_why_not(cli: Cli, bad: tuple[Impostor, bytes]) -> None:
    assert bad
    done = cli("quarantine", "retry", "1")
    assert (done.code, done.out) == (1, b"")
    assert done.err == "Error: record 1 stays in quarantine: block fails its checksum\n"


def test_a_good_copy_empties_it(cli: Cli, victim: Api, bad: tuple[Impostor, bytes]) -> None:
    region, good = bad
    region.push(victim, good)
    assert ok(cli(*LS)) == b""
    done = cli("quarantine", "retry", "1")
    assert (done.code, "no record 1" in done.err) == (3, True)


@pytest.mark.parametrize(("answer", "left"), [(b"y\n", 0), (b"n\n", 1), (b"", 1)])
def test_drop_asks_and_says_what_it_means(
    cli: Cli, bad: tuple[Impostor, bytes], answer: bytes, left: int
) -> None:
    assert bad
    done = cli("quarantine", "drop", "1", stdin=answer)
    assert "Later writes of impostor stay away from this node until a good copy" in done.err
    assert (done.code == 0) == (left == 0)
    assert len(ok(cli(*LS)).splitlines()) == left


def test_drop_without_asking(cli: Cli, bad: tuple[Impostor, bytes]) -> None:
    assert bad
    assert ok(cli("quarantine", "drop", "1", "--yes")) == b"dropped record 1\n"
    assert cli("quarantine", "drop", "1", "--yes").code == 3


def test_ids_are_those_of_one_node(cli: Cli) -> None:
    done = cli("quarantine", "drop", "1", "--yes", "-e", "127.0.0.1:1,127.0.0.1:2")
    assert (done.code, "one node only" in done.err) == (6, True)


def test_options_may_stand_before_the_subcommand(cli: Cli, bad: tuple[Impostor, bytes]) -> None:
    assert bad
    assert json_of(cli("quarantine", "--json", "ls"))["id"] == 1


@pytest.mark.parametrize("command", ["ls", "show", "retry", "drop"])
def test_every_command_has_help_with_examples(cli: Cli, command: str) -> None:
    text = ok(cli("quarantine", command, "--help")).decode()
    assert f"kvnode quarantine {command}" in text
