"""The commands against a real node: what they do, print and exit with."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kvnode import Client, DataType, KeyNotFound
from tests.cli.commands import Cli, json_of, ok

BINARY = bytes(range(256))


# ---- put and get


def test_a_value_goes_in_and_comes_out(cli: Cli, key: str) -> None:
    said = ok(cli("put", key, "Ada")).decode()
    assert re.fullmatch(rf"stored {key} \(write [0-9a-f]{{16}}:\d+ at [\d.]+:\d+\)\n", said)
    assert ok(cli("get", key)) == b"Ada"


def test_a_second_put_replaces_the_first(cli: Cli, key: str) -> None:
    ok(cli("put", key, "a"))
    ok(cli("put", key, "b"))
    assert ok(cli("get", key)) == b"b"


@pytest.mark.parametrize("value", [b"", b"\n", b"a\nb\n", BINARY, "Zo\u00eb".encode()])
def test_values_from_a_file_and_standard_input_are_exact(
    cli: Cli, key: str, tmp_path: Path, value: bytes
) -> None:
    file = tmp_path / "value"
    file.write_bytes(value)
    ok(cli("put", f"{key}-f", "--file", str(file)))
    ok(cli("put", f"{key}-i", "--file", "-", stdin=value))
    ok(cli("put", f"{key}-a", "-", stdin=value))
    for name in ("f", "i", "a"):
        assert ok(cli("get", f"{key}-{name}")) == value
        assert ok(cli("get", f"{key}-{name}", "--raw")) == value


def test_a_value_argument_is_the_bytes_of_the_shell(cli: Cli, key: str) -> None:
    ok(cli("put", key, b"\xff\xfe"))
    assert ok(cli("get", key)) == b"\xff\xfe"
    ok(cli("put", key, "--", "-5"))
    assert ok(cli("get", key)) == b"-5"
    ok(cli("put", key, ""))
    assert ok(cli("get", key)) == b""


@pytest.mark.parametrize(
    "arguments", [(), ("v", "--file", "f"), ("--blind",), ("-", "--file", "-")]
)
def test_a_put_needs_exactly_one_value(cli: Cli, key: str, arguments: tuple[str, ...]) -> None:
    done = cli("put", key, *arguments)
    assert done.code == 2
    assert done.err == (
        "Error: Give one of VALUE, --file FILE, or - for standard input. See 'kvnode put --help'.\n"
    )


def test_a_file_that_cannot_be_read(cli: Cli, key: str, tmp_path: Path) -> None:
    done = cli("put", key, "--file", str(tmp_path / "none"))
    assert (done.code, done.out) == (1, b"")
    assert done.err == f"Error: cannot read '{tmp_path}/none': No such file or directory\n"


def test_a_value_that_is_too_long_changes_nothing(cli: Cli, key: str) -> None:
    ok(cli("put", key, "-", stdin=b"x" * (1 << 20)))
    done = cli("put", key, "-", stdin=b"y" * (1 << 21))
    assert done.code == 6
    assert len(ok(cli("get", key))) == 1 << 20


def test_an_absent_key(cli: Cli, key: str) -> None:
    done = cli("get", key)
    assert (done.code, done.out) == (3, b"")
    assert done.err.startswith("Error: ")
    assert key in done.err
    assert done.err.count("\n") == 1
    assert cli("siblings", key).code == 3
    assert cli("inspect", key).code == 3
    assert cli("resolve", key, "--keep", "1").code == 3


@pytest.mark.parametrize("arguments", [("get", ""), ("put", "", "v"), ("incr", "x" * 481)])
def test_keys_that_no_node_takes(cli: Cli, arguments: tuple[str, ...]) -> None:
    done = cli(*arguments)
    assert (done.code, done.out) == (6, b"")
    assert "a key has 1 to 480 bytes" in done.err


def test_a_put_with_a_context_replaces_only_what_was_read(
    cli: Cli, key: str, client: Client
) -> None:
    ok(cli("put", key, "read"))
    shown = cli("get", key, "--show-context")
    assert shown.out == b"read"
    token = re.fullmatch(r"context (\S+)\n", shown.err)
    assert token
    assert token[1] == json_of(cli("get", key, "--json"))["context"]
    client.put(key, "unseen", blind=True)
    ok(cli("put", key, "mine", "--context", token[1]))
    assert sorted(client.get(key).values, key=str) == [b"mine", b"unseen"]


def test_the_context_of_an_absent_key(cli: Cli, key: str, client: Client) -> None:
    """It replaces nothing, so what was written since stays."""
    absent = cli("get", key, "--show-context")
    assert absent.code == 3
    token = absent.err.splitlines()[0].removeprefix("context ")
    client.put(key, "meanwhile")
    ok(cli("put", key, "mine", "--context", token))
    assert len(client.get(key).siblings) == 2


@pytest.mark.parametrize("token", ["!", "", "AAAA", "-_-_"])
def test_a_context_that_is_none(cli: Cli, key: str, token: str) -> None:
    """Not base64, empty, forged."""
    ok(cli("put", key, "v"))
    for arguments in (("put", key, "w"), ("delete", key)):
        done = cli(*arguments, "--context", token)
        assert (done.code, done.out) == (6, b"")
        assert done.err.startswith("Error: ")
    assert ok(cli("get", key)) == b"v"


def test_blind_takes_no_context(cli: Cli, key: str) -> None:
    assert cli("put", key, "v", "--blind", "--context", "AAAA").code == 6
    assert cli("put", key, "v", "--blind", "--lww").code == 6


def test_a_register(cli: Cli, key: str, client: Client) -> None:
    ok(cli("put", key, "a", "--lww"))
    ok(cli("put", key, "b", "--lww"))
    assert ok(cli("get", key)) == b"b"
    assert client.get(key).types == (DataType.LWW_REGISTER,)


# ---- counters


def test_counters(cli: Cli, key: str) -> None:
    assert ok(cli("incr", key)) == b"1\n"
    assert ok(cli("incr", key, "41")) == b"42\n"
    assert ok(cli("decr", key, "50")) == b"-8\n"
    assert ok(cli("decr", key)) == b"-9\n"
    assert ok(cli("get", key)) == b"-9\n"


def test_a_grow_only_counter_never_shrinks(cli: Cli, key: str, client: Client) -> None:
    assert ok(cli("incr", key, "3", "--grow-only")) == b"3\n"
    assert ok(cli("incr", key)) == b"4\n"
    assert client.get(key).types == (DataType.G_COUNTER,)
    assert cli("decr", key).code == 6
    assert ok(cli("get", key)) == b"4\n"


def test_a_sum_beyond_64_bits_is_refused(cli: Cli, key: str) -> None:
    most = str(2**63 - 1)
    assert ok(cli("incr", key, most)) == most.encode() + b"\n"
    assert cli("incr", key).code == 5
    assert cli("incr", f"{key}-x", str(2**63)).code == 6
    assert ok(cli("get", key)) == most.encode() + b"\n"


@pytest.mark.parametrize("amount", ["0", "x", "1.5"])
def test_an_amount_is_a_positive_number(cli: Cli, key: str, amount: str) -> None:
    assert cli("incr", key, amount).code == 2
    assert cli("decr", key, amount).code == 2
    assert cli("get", key).code == 3


def test_another_type_is_refused(cli: Cli, key: str) -> None:
    ok(cli("incr", key))
    done = cli("put", key, "text")
    assert (done.code, done.out) == (5, b"")
    assert "holds pn_counter, not siblings" in done.err
    assert ok(cli("get", key)) == b"1\n"


# ---- delete


def test_deleted_keys_are_gone(cli: Cli, key: str) -> None:
    ok(cli("put", key, "v"))
    assert ok(cli("delete", key)).startswith(f"deleted {key} (write ".encode())
    assert cli("get", key).code == 3
    ok(cli("delete", key))


def test_a_delete_with_a_context_leaves_the_unseen(cli: Cli, key: str, client: Client) -> None:
    ok(cli("put", key, "read"))
    token = json_of(cli("get", key, "--json"))["context"]
    client.put(key, "unseen", blind=True)
    ok(cli("delete", key, "--context", token))
    assert ok(cli("get", key)) == b"unseen"


def test_a_delete_of_one_type(cli: Cli, key: str) -> None:
    ok(cli("incr", key))
    ok(cli("delete", key, "--type", "siblings"))
    assert ok(cli("get", key)) == b"1\n"
    ok(cli("delete", key, "--type", "pn_counter"))
    assert cli("get", key).code == 3
    assert cli("delete", key, "--type", "set").code == 2


# ---- the connection


def test_a_dead_endpoint_is_passed_over(cli: Cli, key: str, node_endpoint: str) -> None:
    dead = "127.0.0.1:1"
    for endpoints in (
        ("-e", f"{dead},{node_endpoint}"),
        ("-e", dead, "--endpoint", node_endpoint),
    ):
        ok(cli(*endpoints, "put", key, "v"))
        assert ok(cli("get", key, *endpoints)) == b"v"


def test_options_win_over_the_environment(cli: Cli, key: str) -> None:
    done = cli("get", key, "-e", "127.0.0.1:1")
    assert (done.code, done.out) == (7, b"")
    assert done.err == (
        "Error: no node can be reached at 127.0.0.1:1 (connection refused);"
        " start a node with 'kvnode serve', or name another one with --endpoint\n"
    )
    assert cli("-e", "127.0.0.1:1", "put", key, "v").code == 7


def test_a_bad_endpoint(cli: Cli, key: str) -> None:
    done = cli("get", key, "-e", "nowhere")
    assert (done.code, done.err.count("\n")) == (6, 1)
    assert "HOST:PORT" in done.err


@pytest.mark.parametrize(
    "arguments",
    [("frobnicate",), ("get",), ("get", "a", "b"), ("get", "a", "--nope"), ("--timeout", "0")],
)
def test_wrong_usage(cli: Cli, arguments: tuple[str, ...]) -> None:
    done = cli(*arguments)
    assert (done.code, done.out) == (2, b"")
    assert done.err.startswith("Error: ")
    assert done.err.endswith("--help'.\n")
    assert done.err.count("\n") == 1


def test_a_refused_write_leaves_no_trace(cli: Cli, key: str, client: Client) -> None:
    cli("put", key, "v", "--context", "AAAA")
    with pytest.raises(KeyNotFound):
        client.get(key)
