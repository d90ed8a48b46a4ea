"""What only a process of its own shows: streams, signals, terminals, speed."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import time
from pathlib import Path

import pytest

from kvnode import Client
from tests.cli.commands import Cli
from tests.cli.conftest import COMMAND, ROOT
from tests.client.scripted import hang, scripted_node

ESCAPES = b"\x1b[2J\xff"


def test_bytes_pass_through_pipes_unchanged(spawn: Cli, key: str) -> None:
    value = bytes(range(256)) * 1000
    assert spawn("put", key, "-", stdin=value).code == 0
    done = spawn("get", key)
    assert (done.code, done.out, done.err) == (0, value, "")


def test_the_exit_code_is_that_of_the_process(spawn: Cli, key: str) -> None:
    assert spawn("get", key).code == 3
    assert spawn("get").code == 2
    unreachable = spawn("get", key, "-e", "127.0.0.1:1")
    assert unreachable.code == 7
    assert unreachable.err.count("\n") == 1  # gRPC's own log is silent


def test_a_reader_that_goes_away_is_no_error(key: str, client: Client, node_endpoint: str) -> None:
    """``kvnode scan | head``."""
    for number in range(20):
        client.put(f"{key}/{number}", b"x" * 100_000)
    process = subprocess.Popen(
        [*COMMAND, "scan", f"{key}/", "-e", node_endpoint],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        assert process.stdout.read(10)
        process.stdout.close()
        err = process.stderr.read()
    assert (process.returncode, err) == (141, b"")


def test_a_full_disk_is_one_line(key: str, client: Client, node_endpoint: str) -> None:
    client.put(key, "v")
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
        done = subprocess.run(
            [*COMMAND, "get", key, "-e", node_endpoint],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            cwd=ROOT,
        )
    assert done.returncode == 1
    assert done.stderr == b"Error: cannot write the output: No space left on device\n"


@pytest.mark.parametrize("stream", ["<&-", ">&-", "2>&-"])
def test_a_closed_stream_is_no_traceback(key: str, node_endpoint: str, stream: str) -> None:
    command = " ".join(COMMAND)
    done = subprocess.run(
        ["sh", "-c", f"{command} put {key} - -e {node_endpoint} {stream}"],
        input=b"v",
        capture_output=True,
        check=False,
        cwd=ROOT,
    )
    assert b"Traceback" not in done.stderr
    assert done.returncode == (0 if stream == "2>&-" else 1)


def test_ctrl_c_is_one_line() -> None:
    with scripted_node(hang) as node:
        process = subprocess.Popen(
            [*COMMAND, "incr", "k", "-e", node.address, "--timeout", "30"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
        )
        deadline = time.monotonic() + 20
        while not node.calls:
            assert time.monotonic() < deadline
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=100)
    assert process.returncode == 130
    assert out == b""
    assert err == b"Error: interrupted; a write on its way may still happen\n"


@pytest.mark.parametrize("package", ["click", "grpc"])
def test_ctrl_c_while_it_is_loading_is_quiet(tmp_path: Path, package: str) -> None:
    """In the imports of others an exception would be a traceback. These never end."""
    (tmp_path / f"{package}.py").write_text(
        "import threading\nprint('loading', flush=True)\nthreading.Event().wait()\n"
    )
    process = subprocess.Popen(
        [*COMMAND, "status"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"loading\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=100)
    assert (process.returncode, out, err) == (130, b"", b"")


def on_terminal(*arguments: str) -> str:
    """What a command writes to a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "80", "TERM": "dumb"},
    )
    os.close(theirs)
    seen = b""
    deadline = time.monotonic() + 20
    while select.select([ours], [], [], max(0.0, deadline - time.monotonic()))[0]:
        try:
            chunk = os.read(ours, 65_536)
        except OSError:  # Linux's end of file of a terminal
            break
        seen += chunk
    os.close(ours)
    process.wait(100)
    return seen.decode().replace("\r\n", "\n")


def test_a_terminal_gets_a_line(key: str, client: Client, node_endpoint: str) -> None:
    client.put(key, "a\nb")
    assert on_terminal("get", key, "-e", node_endpoint) == "a\nb\n"


def test_a_terminal_gets_no_control_characters(
    key: str, client: Client, node_endpoint: str
) -> None:
    """A stored value must not clear the screen of who looks at it."""
    client.put(key, ESCAPES)
    text = on_terminal("get", key, "-e", node_endpoint)
    assert text.startswith("\\x1b[2J\\xff\n(5 bytes, shown escaped")
    listing = on_terminal("scan", key, "-e", node_endpoint)
    assert "\\x1b[2J\\xff" in listing
    assert "type" in listing
    assert "\x1b" not in listing


def test_a_terminal_gets_tables_of_its_width(key: str, client: Client, node_endpoint: str) -> None:
    client.put(key, "x" * 150)
    lines = on_terminal("siblings", key, "-e", node_endpoint).splitlines()
    assert max(map(len, lines[:-1])) <= 80
    cells = "".join(line.strip() for line in lines[:-1])
    assert cells.count("x") == 150
