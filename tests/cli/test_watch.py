"""``kvnode watch``, as a process of its own: it runs until Ctrl-C."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kvnode import Client
from kvnode.cli.options import encode_token
from kvnode.cli.watch import change_lines
from kvnode.client.changes import Change
from kvnode.client.watching import Watch
from tests.cli.commands import Cli
from tests.cli.conftest import COMMAND, ROOT
from tests.node.process import NodeProcess, until

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def watching(node_endpoint: str) -> Iterator[Start]:
    """Starts watches; whatever happens, none is left."""
    processes: list[subprocess.Popen[bytes]] = []

    def run(*arguments: str, endpoint: str = node_endpoint) -> subprocess.Popen[bytes]:
        processes.append(
            subprocess.Popen(
                [*COMMAND, "watch", "-e", endpoint, *arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=ROOT,
            )
        )
        return processes[-1]

    yield run
    for process in processes:
        process.kill()
        process.communicate()


def line(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().decode()


def step(process: subprocess.Popen[bytes]) -> Any:
    """The next JSON object with a change."""
    while True:
        found = json.loads(line(process))
        if found["changes"]:
            return found


def test_lines_for_people_and_a_token_at_the_end(watching: Start, client: Client, key: str) -> None:
    client.increment(f"{key}/n", 5)
    process = watching("--prefix", f"{key}/", "--since", "beginning")
    assert line(process) == f"there\t{key}/n\tpn_counter\t5\n"
    client.put(f"{key}/a", "x\ty")
    assert line(process) == f"put\t{key}/a\tsiblings\tx\\ty\n"
    client.delete(f"{key}/a")
    assert line(process) == f"deleted\t{key}/a\t-\t\n"
    client.increment(f"{key}/n")
    assert line(process) == f"incremented\t{key}/n\tpn_counter\t6\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=100)
    assert (process.returncode, out) == (130, b""), err
    assert err.startswith(b"token ")
    assert err.count(b"\n") == 1
    client.put(f"{key}/b", "later")
    again = watching(f"{key}/", "--since", err.split()[1].decode())
    assert line(again) == f"put\t{key}/b\tsiblings\tlater\n"


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_nobody_reads_does_not_keep_ctrl_c_off(
    unbuffered: str, watching: Start, client: Client, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one lets the step be told, the next ones do not; no token is behind it."""
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    client.put(f"{key}/a", b"x" * (1 << 18))  # more than a pipe takes
    process = watching("--prefix", f"{key}/", "--since", "beginning")
    assert process.stdout is not None
    assert process.stdout.read(1) == b"t"

    def ended() -> bool:
        process.send_signal(signal.SIGINT)
        return process.poll() is not None

    until(ended, "it ends")
    _, err = process.communicate(timeout=100)
    assert process.returncode == 130, err
    since = err.split()[1].decode() if err else "beginning"
    again = watching("--prefix", f"{key}/", "--since", since)
    assert line(again).startswith(f"there\t{key}/a\t")


def test_a_terminal_gets_the_beginning_of_a_long_value(
    client: Client, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.put(key, "x" * 1000)
    change = Change(client.get(key), (), b"")
    assert list(change_lines(change)) == [f"there\t{key}\tsiblings\t{'x' * 1000}"]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    (shown,) = change_lines(change)
    assert shown == f"there\t{key}\tsiblings\t{'x' * 200}\\... (1000 bytes)"


def test_a_wrong_port_is_not_waited_for_in_silence(watching: Start) -> None:
    process = watching(endpoint="127.0.0.1:1")
    assert process.stderr is not None
    assert process.stderr.readline() == b"waiting for 127.0.0.1:1 (connection refused)\n"


def test_json_for_programs(watching: Start, client: Client, key: str) -> None:
    process = watching("--prefix", key, "--json")
    assert set(json.loads(line(process))) == {"changes", "current", "token"}
    receipt = client.put(key, "v")
    found = step(process)
    (change,) = found["changes"]
    assert change["key"] == {"utf8": key}
    assert change["values"][0]["value"] == {"utf8": "v"}
    assert change["writes"] == [{"dot": str(receipt.dot), "type": "siblings", "kind": "put"}]
    client.put(key, "w")
    again = watching("--prefix", key, "--json", "--since", found["token"])
    assert step(again)["changes"][0]["values"][0]["value"] == {"utf8": "w"}


def test_a_token_that_is_none_is_an_invalid_argument(cli: Cli) -> None:
    for given in ("", "x", "!!", "AAAA"):
        done = cli("watch", "--since", given)
        assert (done.code, done.out) == (6, b"")
        assert "token" in done.err


def test_being_behind_has_a_code_and_advice(cli: Cli, tmp_path: Path) -> None:
    settings = tmp_path / "kvnode.toml"
    settings.write_text(
        "log_retention_bytes = 1\nlog_bytes_max = 1\nretention_interval_ms = 20\n"
        "checkpoint_keys = 1\n"
    )
    node = NodeProcess(tmp_path / "data", "--config", str(settings)).ready()
    try:
        with Client(node.address) as client, Watch(node.address) as watch:
            next(watch.steps())
            token = encode_token(watch.token)
            client.put("k", "v")
            until(lambda: client.admin.status().log.first_arrival > 1, "the log is cut", 30)
            done = cli("watch", "-e", node.address, "--since", token)
        assert done.code == 13
        assert "--since beginning" in done.err
    finally:
        node.kill()
