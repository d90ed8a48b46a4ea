"""One ``kvnode serve`` process: its command, its log, its life.

The process gets a process group of its own, so that Ctrl-C in a terminal reaches only who decides,
and (on Linux) dies with the supervisor that started it, whatever ends that.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Final

from cluster.tied import tied

READY_LINE: Final = re.compile(rb"^kvnode \S+ serving on \S+:\d+, data in .*\n", re.MULTILINE)
"""What a node prints on stdout, once, when it serves."""

LOG_TAIL_LINES: Final = 15
"""Lines of a node's log that go into an error message."""


class Life(StrEnum):
    """Where a node is in its life."""

    STOPPED = "stopped"
    """Not started yet, or ended cleanly when told to."""
    STARTING = "starting"
    READY = "ready"
    PAUSED = "paused"
    """Halted by SIGSTOP: its connections stay open and nobody answers."""
    KILLED = "killed"
    """By SIGKILL, when told to."""
    DIED = "died"
    """Ended without being told to, or not cleanly."""

    @property
    def clause(self) -> str:
        """What to say after the node's name."""
        return "has died" if self is Life.DIED else f"is {self}"


class NodeFailed(Exception):
    """A node did not do what it was told; the message has the end of its log."""


def tail(log: Path, lines: int, start: int = 0) -> str:
    """The last lines of a log file from byte ``start`` on, or a remark that there are none."""
    try:
        text = log.read_bytes()[start:].decode(errors="replace")
    except FileNotFoundError:
        text = ""
    return "\n".join(text.splitlines()[-lines:]) or "(the log is empty)"


class NodeProcess:
    """A node that can be started, stopped, killed and paused any number of times.

    Its address, data directory and log stay the same. One call at a time per node, but it may be
    ended while it is being started.
    """

    def __init__(
        self,
        name: str,
        port: int,
        command: Sequence[str],
        log: Path,
        data: Path,
        *,
        first_command: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Nothing runs yet.

        Args:
            first_command: for the very first start, if that is another one.
            environment: variables besides those of this process.
        """
        self.name = name
        self.port = port
        self.log = log
        self.data = data
        self.life = Life.STOPPED
        self.exit_code: int | None = None
        self.command = tuple(command)
        self._first_command = tuple(first_command or command)
        self._environment = {**os.environ, **(environment or {})}
        self._process: asyncio.subprocess.Process | None = None
        self._spawning: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None
        self._told: Life | None = None
        self._log_start = 0

    @property
    def pid(self) -> int | None:
        """Of the running process, else None."""
        return self._process.pid if self._process is not None else None

    async def start(self, deadline_s: float, *, serving: bool = True) -> None:
        """Start it and wait until it serves. Raises ``NodeFailed``; it is then not running.

        ``serving`` False does not wait: a node that has to be taken in serves later, or never.
        """
        if self.life is Life.PAUSED:
            raise NodeFailed(f"{self.name} is paused: resume {self.name} lets it run on")
        if self._process is not None or self.life is Life.STARTING:
            raise NodeFailed(f"{self.name} is already running (pid {self.pid})")
        self.life = Life.STARTING
        self._ready.clear()
        self._told = None
        self.exit_code = None
        self._spawning = asyncio.create_task(self._spawn())
        # Whoever is cancelled there waits for ever: for the end of pipes that were never opened.
        await asyncio.shield(self._spawning)
        if not serving:
            return
        assert self._watch is not None
        ready = asyncio.create_task(self._ready.wait())
        await asyncio.wait(
            (ready, self._watch), timeout=deadline_s, return_when=asyncio.FIRST_COMPLETED
        )
        ready.cancel()
        if self.life is Life.STARTING:
            await self.kill()
            raise NodeFailed(self._complaint(f"was not ready within {deadline_s:g} s"))
        if self._process is None and not self._ready.is_set():
            raise NodeFailed(self._complaint(f"ended at start with exit code {self.exit_code}"))

    async def _spawn(self) -> None:
        try:
            self._process = await self._begin()
        except OSError as error:
            self.life = Life.DIED
            raise NodeFailed(f"{self.name} cannot be started: {error}") from error
        self._watch = asyncio.create_task(self._watch_over(self._process))

    async def _begin(self) -> asyncio.subprocess.Process:
        command, self._first_command = self._first_command, self.command
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            return await asyncio.create_subprocess_exec(
                *tied(command),
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )

    async def _watch_over(self, process: asyncio.subprocess.Process) -> None:
        """Wait for the ready line, keep the rest of stdout in the log, and see the end."""
        assert process.stdout is not None
        with self.log.open("ab", buffering=0) as log:
            seen = b""
            while chunk := await process.stdout.read(1 << 16):
                log.write(chunk)
                if self.life is not Life.STARTING:
                    continue
                seen += chunk
                if READY_LINE.search(seen):
                    self.life = Life.READY
                    self._ready.set()
        self.exit_code = await process.wait()
        self._process = None
        if self._told is Life.STOPPED and self.exit_code != 0:
            self._told = None
        self.life = self._told or Life.DIED

    async def stop(self, deadline_s: float) -> None:
        """End it with SIGTERM. Raises ``NodeFailed`` if that took SIGKILL or was not clean."""
        await self._spawned()
        if self._process is None:
            return
        self._told = Life.STOPPED
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)
        assert self._watch is not None
        await asyncio.wait((self._watch,), timeout=deadline_s)
        if self._process is not None:
            await self.kill()
            raise NodeFailed(self._complaint(f"did not stop within {deadline_s:g} s of SIGTERM"))
        if self.exit_code != 0:
            raise NodeFailed(self._complaint(f"stopped with exit code {self.exit_code}"))

    async def kill(self) -> None:
        """End it with SIGKILL, as a crash would."""
        await self._spawned()
        if self._process is None:
            return
        self._told = Life.KILLED
        self._signal(signal.SIGKILL)
        assert self._watch is not None
        await self._watch

    async def _spawned(self) -> None:
        """Wait until there is a process, if one is being made."""
        if self._spawning is not None:
            await asyncio.wait((self._spawning,))

    def pause(self) -> None:
        """Halt it with SIGSTOP."""
        if self.life is not Life.READY:
            raise NodeFailed(f"{self.name} cannot be paused: it {self.life.clause}")
        self._signal(signal.SIGSTOP)
        self.life = Life.PAUSED

    def resume(self) -> None:
        """Let it run on after ``pause``."""
        if self.life is not Life.PAUSED:
            raise NodeFailed(f"{self.name} cannot be resumed: it {self.life.clause}")
        self._signal(signal.SIGCONT)
        self.life = Life.READY

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _complaint(self, what: str) -> str:
        end = tail(self.log, LOG_TAIL_LINES, self._log_start)
        return f"{self.name} {what}. The end of its log:\n{end}"
