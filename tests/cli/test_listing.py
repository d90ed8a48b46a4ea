"""The commands that show: conflicts, listings, JSON and the node itself, against a real node."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import pytest

from kvnode import Client, DataType, Put
from tests.cli.commands import Cli, conflict, json_of, ok

BINARY = bytes(range(256))


# ---- conflicts


def test_a_conflict_is_shown_and_nothing_is_chosen(cli: Cli, key: str) -> None:
    conflict(cli, key, "one", "two")
    done = cli("get", key)
    assert (done.code, done.out) == (4, b"")
    lines = done.err.splitlines()
    assert [line.split()[:2] for line in lines[2:4]] == [["1", "one"], ["2", "two"]]
    assert lines[-1].startswith(f"Error: key '{key}' is in conflict")
    assert "kvnode resolve" in lines[-1]


def test_a_terminal_is_told_that_there_is_nothing(
    cli: Cli, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe gets nothing."""
    assert ok(cli("conflicts", key)) == ok(cli("scan", key)) == b""
    monkeypatch.setattr("kvnode.cli.reading.stdout_is_terminal", lambda: True)
    assert ok(cli("conflicts", key)) == b"No conflicts.\n"
    assert ok(cli("scan", key)) == b"No keys.\n"
    conflict(cli, key, "one", "two")
    assert "two" in ok(cli("conflicts", key)).decode()


def test_resolve_says_that_there_was_no_conflict(cli: Cli, key: str) -> None:
    ok(cli("put", key, "v"))
    kept = ok(cli("resolve", key, "--keep", "1")).decode()
    assert kept == f"{key} was not in conflict: nothing was changed\n"
    merged = ok(cli("resolve", key, "--value", "w")).decode()
    assert merged == f"{key} was not in conflict: its value is replaced\n"
    assert ok(cli("get", key)) == b"w"


def test_siblings_names_who_when_and_where(cli: Cli, key: str) -> None:
    conflict(cli, key, "one", "two\n")
    lines = ok(cli("siblings", key)).decode().splitlines()
    assert lines[0].split() == ["#", "value", "type", "node", "time", "dot"]
    first, second = lines[2].split(), lines[3].split()
    assert first[:4] == ["1", "one", "siblings", "EWR"]
    assert second[:4] == ["2", r"two\n", "siblings", "EWR"]
    assert re.fullmatch(r"[0-9a-f]{16}:\d+", first[-1])
    assert lines[4] == "context " + json_of(cli("siblings", key, "--json"))["context"]


def test_resolve_keeps_one(cli: Cli, key: str) -> None:
    conflict(cli, key, "one", "two", "three")
    assert ok(cli("resolve", key, "--keep", "2")) == f"resolved {key}\n".encode()
    assert ok(cli("get", key)) == b"two"


def test_resolve_keeps_a_dot(cli: Cli, key: str) -> None:
    conflict(cli, key, "one", "two")
    dot = json_of(cli("siblings", key, "--json"))["values"][0]["dot"]
    state = json_of(cli("resolve", key, "--keep", dot, "--json"))
    assert state["conflict"] is False
    assert [value["value"] for value in state["values"]] == [{"utf8": "one"}]


def test_resolve_stores_a_merged_value(cli: Cli, key: str, tmp_path: Path) -> None:
    file = tmp_path / "merged"
    file.write_bytes(BINARY)
    for arguments, stdin, value in (
        (("--value", "merged"), b"", b"merged"),
        (("--file", str(file)), b"", BINARY),
        (("--file", "-"), b"piped", b"piped"),
        (("--value", "-"), b"piped too", b"piped too"),
    ):
        conflict(cli, key, "one", "two")
        ok(cli("resolve", key, *arguments, stdin=stdin))
        assert ok(cli("get", key)) == value


@pytest.mark.parametrize(
    "arguments",
    [(), ("--keep", "3"), ("--keep", "0"), ("--keep", "1", "--value", "x"), ("--keep", "ff:1")],
)
def test_a_resolve_that_says_not_what_to_keep(
    cli: Cli, key: str, arguments: tuple[str, ...]
) -> None:
    conflict(cli, key, "one", "two")
    assert cli("resolve", key, *arguments).code == 2
    assert cli("get", key).code == 4


def test_resolving_what_is_no_conflict_changes_nothing(cli: Cli, key: str) -> None:
    ok(cli("put", key, "v"))
    before = json_of(cli("get", key, "--json"))
    ok(cli("resolve", key, "--keep", "1"))
    assert json_of(cli("get", key, "--json")) == before


def test_a_register_resolved_stays_one(cli: Cli, key: str, client: Client) -> None:
    ok(cli("put", key, "a", "--lww"))
    ok(cli("resolve", key, "--value", "b"))
    assert client.get(key).types == (DataType.LWW_REGISTER,)
    assert ok(cli("get", key)) == b"b"


def test_a_counter_is_not_replaced_by_a_merged_value(cli: Cli, key: str) -> None:
    ok(cli("incr", key))
    assert cli("resolve", key, "--value", "2").code == 2
    assert ok(cli("get", key)) == b"1\n"


def test_conflicts_lists_them(cli: Cli, key: str) -> None:
    prefix = f"{key}/"
    ok(cli("put", prefix + "calm", "v"))
    conflict(cli, prefix + "b", "one", "two")
    conflict(cli, prefix + "a", "one", "two")
    assert ok(cli("conflicts", prefix, "--keys-only")).decode().split() == [
        prefix + "a",
        prefix + "b",
    ]
    assert ok(cli("conflicts", prefix, "--limit", "1")).decode().splitlines() == [
        f"{prefix}a\tsiblings\tone",
        f"{prefix}a\tsiblings\ttwo",
    ]
    found = [json.loads(line) for line in ok(cli("conflicts", prefix, "--json")).splitlines()]
    assert [state["conflict"] for state in found] == [True, True]
    assert ok(cli("conflicts", prefix + "calm")) == b""


# ---- scan


def test_scan_lists_keys_in_order(cli: Cli, key: str, client: Client) -> None:
    prefix = f"{key}/"
    client.write([Put(prefix + name, f"value {name}") for name in "cadb"])
    client.increment(prefix + "e", -5)
    client.put(prefix + "f\n", b"\x00\ttab")
    lines = ok(cli("scan", prefix)).decode().splitlines()
    assert lines == [
        *(f"{prefix}{name}\tsiblings\tvalue {name}" for name in "abcd"),
        f"{prefix}e\tpn_counter\t-5",
        f"{prefix}f\\n\tsiblings\t\\x00\\ttab",
    ]
    assert ok(cli("scan", prefix, "--keys-only", "--limit", "2")).decode().split() == [
        prefix + "a",
        prefix + "b",
    ]
    between = cli("scan", "--start", prefix + "b", "--end", prefix + "d", "--keys-only")
    assert ok(between).decode().split() == [prefix + "b", prefix + "c"]
    assert json_of(cli("scan", prefix, "--keys-only", "--limit", "1", "--json")) == {
        "key": {"utf8": prefix + "a"}
    }


@pytest.mark.parametrize("command", ["scan", "conflicts"])
def test_a_prefix_may_be_named(cli: Cli, key: str, command: str) -> None:
    conflict(cli, f"{key}/a", "one", "two")
    found = ok(cli(command, f"{key}/")).decode().splitlines()
    assert found == [f"{key}/a\tsiblings\tone", f"{key}/a\tsiblings\ttwo"]
    assert ok(cli(command, "--prefix", f"{key}/")).decode().splitlines() == found
    named = base64.b64encode(f"{key}/".encode()).decode()
    assert ok(cli(command, "--prefix", named, "--key-base64")).decode().splitlines() == found


@pytest.mark.parametrize("command", ["scan", "conflicts", "verify", "watch"])
def test_two_prefixes_are_one_too_many(cli: Cli, command: str) -> None:
    done = cli(command, "cart:", "--prefix", "user:")
    assert (done.code, done.out) == (2, b"")
    assert done.err == (f"Error: Give one of PREFIX and --prefix. See 'kvnode {command} --help'.\n")


def test_scan_goes_on_over_pages(cli: Cli, key: str, client: Client) -> None:
    prefix = f"{key}/"
    client.write([Put(f"{prefix}{number:04}", "v") for number in range(2_345)])
    lines = ok(cli("scan", prefix, "--keys-only")).decode().split()
    assert lines == [f"{prefix}{number:04}" for number in range(2_345)]
    assert len(ok(cli("scan", prefix, "--limit", "1500")).splitlines()) == 1_500


def test_keys_that_cannot_be_typed(cli: Cli, key: str) -> None:
    raw = key.encode() + b"/\x00\xff\\"
    text = base64.b64encode(raw).decode()
    urlsafe = base64.urlsafe_b64encode(raw).decode().rstrip("=")
    ok(cli("put", "--key-base64", text, "v"))
    assert ok(cli("get", urlsafe, "--key-base64")) == b"v"
    assert ok(cli("scan", f"{key}/", "--keys-only")) == f"{key}/\\x00\\xff\\\\\n".encode()
    assert json_of(cli("scan", f"{key}/", "--json"))["key"] == {"base64": text}
    prefix = base64.b64encode(raw[:-1]).decode()
    assert ok(cli("scan", "--key-base64", prefix)).endswith(b"\tsiblings\tv\n")
    assert cli("get", "--key-base64", "!").code == 2


# ---- JSON


def test_json_of_a_key(cli: Cli, key: str) -> None:
    """Its form is an interface for programs."""
    ok(cli("put", key, "-", stdin=BINARY))
    ok(cli("put", key, "\u00e9\n", "--blind"))
    done = cli("get", key, "--json")
    assert done.code == 4
    state = json_of(done)
    assert list(state) == ["key", "context", "conflict", "values"]
    assert (state["key"], state["conflict"]) == ({"utf8": key}, True)
    first, second = state["values"]
    assert list(first) == ["type", "value", "node", "time_ms", "dot"]
    assert (first["type"], first["node"]) == ("siblings", "EWR")
    assert first["value"] == {"base64": base64.b64encode(BINARY).decode()}
    assert second["value"] == {"utf8": "\u00e9\n"}
    assert 0 < first["time_ms"] <= second["time_ms"]


def test_json_of_a_counter(cli: Cli, key: str) -> None:
    ok(cli("incr", key, "5"))
    done = cli("get", key, "--json")
    assert json_of(done)["values"] == [{"type": "pn_counter", "value": 5}]
    assert done.code == 0


def test_json_of_writes(cli: Cli, key: str, node_endpoint: str) -> None:
    put = json_of(cli("put", key, "v", "--json"))
    assert list(put) == ["key", "dot", "context", "session", "repeated", "endpoint"]
    origin, _, seq = put["dot"].partition(":")
    assert put["session"][origin] >= int(seq)
    assert (put["key"], put["repeated"]) == ({"utf8": key}, False)
    assert put["endpoint"] == node_endpoint
    assert put["context"] == json_of(cli("get", key, "--json"))["context"]
    assert "context" not in json_of(cli("delete", key, "--json"))
    assert json_of(cli("incr", key, "4", "--json"))["counter"] == 4


def test_json_may_be_asked_for_before_or_after_the_command(cli: Cli, key: str) -> None:
    ok(cli("put", key, "v"))
    assert json_of(cli("--json", "get", key)) == json_of(cli("get", key, "--json"))


def test_errors_under_json_are_the_same_line(cli: Cli, key: str) -> None:
    assert cli("get", key, "--json") == cli("get", key)


# ---- the node


def test_inspect_shows_also_what_is_deleted(cli: Cli, key: str) -> None:
    ok(cli("incr", key, "5"))
    ok(cli("decr", key, "2"))
    text = ok(cli("inspect", key)).decode()
    assert "pn_counter (visible)" in text
    (slot,) = [line.split() for line in text.splitlines() if " EWR " in line]
    assert slot[2:6] == ["5", "2", "0", "0"]
    ok(cli("delete", key))
    assert "pn_counter (not visible)" in ok(cli("inspect", key)).decode()
    found = json_of(cli("inspect", key, "--json"))
    (cell,) = found["cells"]
    assert (cell["type"], cell["visible"], cell["register"]) == ("pn_counter", False, None)
    assert (cell["slots"][0]["deleted_incremented"], cell["slots"][0]["node"]) == (5, "EWR")
    assert re.fullmatch(r"[0-9a-f]{16}:\d+", cell["slots"][0]["birth"])


def test_inspect_shows_siblings_and_registers(cli: Cli, key: str) -> None:
    conflict(cli, f"{key}-s", "one", "two\\")
    text = ok(cli("inspect", f"{key}-s")).decode()
    assert "siblings (visible)" in text
    assert r" two\\ " in text
    ok(cli("put", f"{key}-r", "v", "--lww"))
    ok(cli("delete", f"{key}-r"))
    assert " (deleted) " in ok(cli("inspect", f"{key}-r")).decode()


def test_status(cli: Cli, key: str) -> None:
    ok(cli("put", key, "v"))
    text = ok(cli("status")).decode()
    assert "EWR (" in text
    assert "of cluster default" in text
    assert "serving" in text
    found = json_of(cli("status", "--json"))
    assert (found["name"], found["state"], found["peers"]) == ("EWR", "serving", [])
    assert found["vector"][0]["origin"] == found["origin"]
    assert found["vector"][0]["seq"] > 0
    assert found["log"]["last_arrival"] > 0


def test_peers(cli: Cli) -> None:
    assert ok(cli("peers")) == b"No peers.\n"
    assert json_of(cli("peers", "--json")) == []
