"""A process that is told its disk is full, or waits for it, while it runs."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nemesis import disk

pytestmark = pytest.mark.skipif(bool(disk.missing()), reason=disk.missing())

WRITER = """
import os, sys, time
file = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR)
for line in sys.stdin:
    began = time.monotonic()
    try:
        os.pwrite(file, line.encode(), 0)
        os.fdatasync(file)
        said = "written"
    except OSError as error:
        said = error.strerror
    print(int((time.monotonic() - began) * 1000), said, flush=True)
"""
WRITTEN = "written"
FULL = "No space left on device"
TRIES = 100_000


class Writer:
    """A process that writes when it is asked to."""

    def __init__(self, path: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def write(self) -> tuple[int, str]:
        """How long it took, ms, and what the process was told."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        took_ms, _, said = self.process.stdout.readline().strip().partition(" ")
        return int(took_ms), said


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    writer = Writer(tmp_path / "file")
    with writer.process:
        yield writer
        assert writer.process.stdin is not None
        writer.process.stdin.close()


def test_the_disk_is_full_for_as_long_as_told(writer: Writer, tmp_path: Path) -> None:
    assert writer.write()[1] == WRITTEN
    trouble = disk.Trouble(writer.process.pid, disk.FULL, tmp_path / "trace")
    said = [next(word for _ in range(TRIES) if (word := writer.write()[1]) != WRITTEN)]
    said += [writer.write()[1] for _ in range(4)]
    hits = trouble.end()
    assert said == [FULL] * 5
    assert hits == 5
    assert writer.write()[1] == WRITTEN


def test_a_slow_disk_makes_each_sync_take_longer(writer: Writer, tmp_path: Path) -> None:
    trouble = disk.Trouble(writer.process.pid, disk.slow(50), tmp_path / "trace")
    waited = next(True for _ in range(TRIES) if writer.write()[0] >= 50)
    assert waited
    assert trouble.end() >= 1
    assert writer.write()[1] == WRITTEN


def test_a_process_that_ends_meanwhile_is_no_problem(writer: Writer, tmp_path: Path) -> None:
    trouble = disk.Trouble(writer.process.pid, disk.FULL, tmp_path / "trace")
    writer.process.kill()
    writer.process.wait()
    assert trouble.end() == 0


def test_a_fault_that_ends_within_a_call_says_so(tmp_path: Path) -> None:
    """The process is told then what no disk says; a node has to stop."""
    busy = (
        "import os, sys\n"
        f"file = os.open({str(tmp_path / 'file')!r}, os.O_CREAT | os.O_RDWR)\n"
        "while True:\n"
        "    try:\n"
        "        os.pwrite(file, b'x', 0)\n"
        "    except OSError as error:\n"
        "        print(error.strerror, flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", busy], stdout=subprocess.PIPE, text=True) as said:
        assert said.stdout is not None
        trouble = disk.Trouble(said.pid, disk.FULL, tmp_path / "trace")
        heard = {said.stdout.readline().strip() for _ in range(20)}
        assert heard == {FULL}
        trouble.end()
        said.kill()
        odd = os.strerror(errno.ENOSYS) in said.stdout.read()
    assert trouble.half_way is odd


def test_without_strace_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert disk.missing() == "strace is not installed"


def test_what_a_peer_has_lost_is_not_taken_for_the_nodes_own() -> None:
    lost = "/somewhere/n2/data/v1/log cannot be written: No space left (MDB_PANIC: given up)"
    assert disk.is_broken("n2", f"CRITICAL kvnode.node.engine: the node stops: {lost}\n")
    assert not disk.is_broken("n3", f"WARNING peer n2 unreachable: UNKNOWN: the log failed: {lost}")
