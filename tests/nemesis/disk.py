"""A full and a slow disk for one running process, without root and without a switch in kvnode.

A small file system has to be mounted, which only root may, and quotas are not everywhere. strace
can make chosen system calls of a running process fail, or take long, from one moment to another:
what the process sees is what a full disk answers. Two things differ from a real one, and are left
out here: ``statvfs`` still tells of room, and a write is refused whole, never cut short.

LMDB writes pages with ``pwrite64`` and ``pwritev`` and syncs with ``fdatasync``, and so does the
log's tail; nothing else in a node uses these. The last page of a commit of LMDB's lies where the
file already is and would be taken by a full disk; a fault that begins between the other pages and
that one is therefore harder than a full disk, LMDB calls the environment broken then, and the node
has to stop (as after a failed sync).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Final

DETACH_DEADLINE_S: Final = 5.0
WRITES: Final = "pwrite64,pwritev"
SYNCS: Final = "fdatasync,fsync,msync"
FULL: Final = f"{WRITES}:error=ENOSPC"
BROKEN: Final = "MDB_PANIC"
"""What LMDB says then, until the environment is opened anew."""
LET_GO: Final = b"<detached ...>"
"""How strace's last line of a process ends if it was in a call."""
HIT: Final = (b"(INJECTED)", b"(DELAYED)")


def slow(delay_ms: int) -> str:
    """What makes each sync take so much longer."""
    return f"{SYNCS}:delay_exit={delay_ms * 1000}"


def is_broken(name: str, said: str) -> bool:
    """Whether a node says that its own environment is; what its peers have lost it tells too."""
    return any(BROKEN in line and f"/{name}/data/" in line for line in said.splitlines())


def missing() -> str:
    """Why there can be no such faults here; "" if there can."""
    strace = shutil.which("strace")
    if strace is None:
        return "strace is not installed"
    trial = [strace, "-e", f"trace={WRITES}", "-e", f"inject={FULL}", "-o", "/dev/null", "true"]
    done = subprocess.run(trial, capture_output=True, text=True, timeout=100, check=False)
    return "" if done.returncode == 0 else f"strace cannot trace here: {done.stderr.strip()}"


class Trouble:
    """System calls of a process that misbehave, from now until ``end``."""

    def __init__(self, pid: int, injection: str, trace: Path) -> None:
        """``trace`` gets a line for each of these calls."""
        self._trace = trace
        calls = injection.partition(":")[0]
        self.half_way = False
        """Whether it has ended in a call that it was refusing."""
        self._refuses = injection == FULL
        command = ["strace", "-f", "-p", str(pid), "-s", "0", "-o", str(trace)]
        self._process = subprocess.Popen(
            [*command, "-e", f"trace={calls}", "-e", f"inject={injection}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def end(self) -> int:
        """All is well again; how many calls were hit. The process may have gone meanwhile."""
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(DETACH_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with suppress(ProcessLookupError):  # a child it tries tracing on, if it was still starting
            os.killpg(self._process.pid, signal.SIGKILL)
        if not self._trace.exists():
            return 0
        lines = self._trace.read_bytes().splitlines()
        self.half_way = self._refuses and any(line.endswith(LET_GO) for line in lines)
        return sum(line.endswith(HIT) for line in lines)
