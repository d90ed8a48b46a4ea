"""A server under measurement: a process with a directory and a log, its CPU time and memory.

It ends with the ``with`` block, by SIGTERM and if that does not do by SIGKILL (peers at once: they
take seconds to leave their clusters, or refuse to), and with the bench however that ends
(``cluster/tied.py``). Its session is its own, so Ctrl-C reaches the bench alone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from cluster.tied import tied

ROOT: Final = Path(__file__).resolve().parent.parent
READY_DEADLINE_S: Final = 60.0
STOP_DEADLINE_S: Final = 30.0
LOOK_S: Final = 0.01
LOG_NAME: Final = "log"
LOG_TAIL_BYTES: Final = 2_000
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


class ServerFailed(Exception):
    """It ended, or was not ready in time; the message has the end of its log."""


class ServerProcess:
    """One process; ``ready`` is asked until it says so (an OSError counts as "not yet")."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        directory: Path,
        ready: Callable[[], bool],
        ending: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name = name
        self._ending = ending
        self.directory = directory
        self._command = tied(command)
        self._ready = ready
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None, f"{self.name} does not run"
        return self._process.pid

    @property
    def log(self) -> Path:
        """What it printed."""
        return self.directory / LOG_NAME

    def start(self) -> None:
        """Start it, its log anew; ``wait_ready`` before anything is asked of it."""
        self.directory.mkdir(parents=True, exist_ok=True)
        paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
                start_new_session=True,
            )

    def wait_ready(self) -> None:
        """Return when it is; ServerFailed after a minute, or if it has ended."""
        assert self._process is not None
        deadline = time.monotonic() + READY_DEADLINE_S
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                tail = self.log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")
                raise ServerFailed(
                    f"{self.name} is not ready (exit code {self._process.poll()}):\n{tail}"
                )
            time.sleep(LOOK_S)

    def _is_ready(self) -> bool:
        try:
            return self._ready()
        except OSError:
            return False

    def tell_to_stop(self) -> None:
        """Send the signal, without waiting."""
        if self._process is not None:
            self._process.send_signal(self._ending)

    def kill(self) -> None:
        """SIGKILL, and wait."""
        process, self._process = self._process, None
        assert process is not None, f"{self.name} does not run"
        process.kill()
        process.wait()

    def stop(self) -> None:
        """End it and wait. Idempotent."""
        process, self._process = self._process, None
        if process is None:
            return
        try:
            process.send_signal(self._ending)
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_DEADLINE_S)
        finally:
            process.kill()
            process.wait()

    def __enter__(self) -> Self:
        self.start()
        try:
            self.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def cpu_s(self) -> float:
        """Of the process and those it started so far, user and system."""
        return sum(map(_spent_s, (self.pid, *_children(self.pid))))

    def anonymous_bytes(self) -> int:
        """Memory that no file backs, of the process and those it has started."""
        found = [_anonymous_bytes(pid) for pid in (self.pid, *_children(self.pid))]
        if found[0] is None:
            raise ServerFailed(f"{self.name}: this kernel does not tell RssAnon")
        return sum(size or 0 for size in found)

    def disk_bytes(self) -> int:
        """Blocks on disk of all that lies in its directory, without the log it printed."""
        return sum(
            file.stat().st_blocks * 512
            for file in self.directory.rglob("*")
            if file.is_file() and file != self.log
        )


def _children(pid: int) -> list[int]:
    """Processes that it has started and that run. They may end while one looks."""
    return [
        int(child)
        for tasks in Path(f"/proc/{pid}/task").glob("*/children")
        for child in _read(tasks).split()
    ]


def _spent_s(pid: int) -> float:
    """Processor time, with that of those it started and that have ended."""
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS_PER_S


def _anonymous_bytes(pid: int) -> int | None:
    for line in _read(Path(f"/proc/{pid}/status")).splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return None


def _read(file: Path) -> str:
    """Empty if the process has ended."""
    try:
        return file.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
