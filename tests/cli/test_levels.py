"""``--durability``, ``--consistency`` and ``--session``: what they ask for, and what is told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from grpc import StatusCode

from kvnode.cli.commands import run
from kvnode.client.sessions import Session
from kvnode.v1 import kv_pb2
from tests.cli.commands import Cli, json_of, ok
from tests.cli.test_errors import state
from tests.client.scripted import DOT, SESSION, ScriptedNode, refuse, scripted_node, succeed
from tests.client.test_levels import short_of

Written = list[tuple[str, ...]]
WRITES: Written = [("put", "k", "v", "--blind"), ("delete", "k"), ("incr", "k"), ("decr", "k")]
READS: Written = [("get", "k"), ("siblings", "k"), ("scan",), ("conflicts",)]


def options(node: ScriptedNode) -> Any:
    """Those of the last call."""
    return node.calls[-1][1].options


@pytest.mark.parametrize("command", WRITES)
@pytest.mark.parametrize(
    ("level", "sent"),
    [
        ("fsync", kv_pb2.WriteOptions()),
        ("buffered", kv_pb2.WriteOptions(durability=kv_pb2.DURABILITY_BUFFERED)),
        ("quorum", kv_pb2.WriteOptions(durability=kv_pb2.DURABILITY_QUORUM)),
        ("all", kv_pb2.WriteOptions(durability=kv_pb2.DURABILITY_ALL)),
        ("2", kv_pb2.WriteOptions(replicas=2)),
    ],
)
def test_a_write_asks_for_its_durability(
    command: tuple[str, ...], level: str, sent: kv_pb2.WriteOptions
) -> None:
    with scripted_node() as node:
        assert run([*command, "--durability", level, "-e", node.address]) == 0
        assert options(node) == sent


@pytest.mark.parametrize("level", ["most", "0", "-1", "", "1.5"])
def test_a_durability_that_is_none_is_wrong_usage(cli: Cli, key: str, level: str) -> None:
    done = cli("put", key, "v", f"--durability={level}")
    assert done.code in (2, 6)
    assert "'fsync', 'quorum', 'all'" in done.err or "fsync, quorum, all" in done.err
    assert cli("get", key).code == 3


def test_a_receipt_shows_who_has_it(capfd: pytest.CaptureFixture[str]) -> None:
    with scripted_node() as node:

        def said(*command: str) -> tuple[str, str]:
            assert run([*command, "-e", node.address]) == 0
            out, err = capfd.readouterr()
            return out, err

        told = said("put", "k", "v", "--blind", "--durability", "quorum")[0]
        assert told.endswith(", on the disks of EWR)\n")
        told = said("put", "k", "v", "--durability", "quorum", "--json")[0]
        assert json.loads(told)["stored_by"] == ["EWR"]
        assert said("incr", "k", "--durability", "2") == ("5\n", "(on the disks of EWR)\n")
        node.script = [state(b"a", b"b"), succeed, state(b"merged")]
        told = said("resolve", "k", "--value", "merged", "--durability", "all")[1]
        assert told == "(on the disks of EWR)\n"
        assert node.calls[-2][1].options.durability == kv_pb2.DURABILITY_ALL


def test_what_is_on_no_disk_yet_has_no_dot(cli: Cli, key: str) -> None:
    said = ok(cli("put", key, "v", "--durability", "buffered")).decode()
    assert said.startswith(f"taken {key} (at ")
    assert said.endswith(", on no disk yet)\n")
    assert json_of(cli("delete", key, "--durability", "buffered", "--json"))["dot"] is None
    summed = cli("incr", f"{key}-n", "--durability", "buffered")
    assert (summed.code, summed.out) == (0, b"")
    assert "the sum is not known" in summed.err


def test_a_write_on_too_few_disks_is_told_apart_from_one_that_was_not_made(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with scripted_node(short_of(2)) as node:
        assert run(["incr", "k", "--durability", "2", "-e", node.address]) == 14
    out, err = capfd.readouterr()
    assert out == ""
    assert "only 1" in err
    assert "do not repeat it" in err


@pytest.mark.parametrize("command", READS)
def test_a_read_asks_for_its_consistency(command: tuple[str, ...]) -> None:
    with scripted_node() as node:
        run([*command, "--consistency", "quorum", "-e", node.address])
        assert options(node).consistency == kv_pb2.CONSISTENCY_QUORUM
        token = Session()
        token.learn(SESSION)
        text = base64url(token.token)
        run([*command, "--session", text, "-e", node.address])
        assert options(node).after == SESSION
        run([*command, "--session", text, "--consistency", "local", "-e", node.address])
        assert not options(node).HasField("after")


def base64url(token: bytes) -> str:
    """As commands print it."""
    from kvnode.cli.options import encode_token

    return encode_token(token)


def test_what_a_node_lacks_is_exit_code_7(capfd: pytest.CaptureFixture[str]) -> None:
    answer = refuse(StatusCode.DEADLINE_EXCEEDED, "BEHIND", "it lacks 3 writes")
    with scripted_node(*[answer] * 9) as node:
        assert run(["get", "k", "--consistency", "all", "-e", node.address]) == 7
    assert "it lacks 3 writes" in capfd.readouterr().err


def test_a_session_goes_from_command_to_command(cli: Cli, key: str) -> None:
    put = cli("put", key, "v", "--session", "new")
    assert put.code == 0
    word, token = put.err.split()
    assert word == "session"
    got = cli("get", key, "--session", token)
    assert (got.code, got.out) == (0, b"v")
    assert got.err.split()[0] == "session"
    assert cli("get", key, "--session", put.err.strip()).code == 0, "the whole line is one too"
    beyond = Session()
    beyond.learn(kv_pb2.WriteResponse(session=SESSION).session)
    missing = cli("get", key, "--session", base64url(beyond.token), "--timeout", "0.5")
    assert missing.code == 7
    assert f"{DOT.origin:016x}" in missing.err or "lacks" in missing.err, missing.err


@pytest.mark.parametrize("token", ["", "old", "AAAA"])
def test_a_token_that_is_none_is_refused(cli: Cli, key: str, token: str) -> None:
    done = cli("get", key, "--session", token)
    assert done.code in (2, 6)
    assert cli("get", key, "--consistency", "session").code == 2
