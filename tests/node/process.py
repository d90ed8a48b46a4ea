"""A real node under test: one ``kvnode serve`` process.

Started, awaited by its ready line, stopped or killed. Nothing here knows more of a node than a
user at a terminal does.
"""

from __future__ import annotations

import os
import re
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

COMMAND = (sys.executable, "-m", "kvnode")
READY_S = 20.0
"""From start to ready line; a tenth is usual, a loaded machine takes its time."""
STOP_S = 60.0
READY = re.compile(rb"kvnode (\S+) serving on (\S+):(\d+), data in (.+)\n")
TROUBLE = re.compile(r" (ERROR|CRITICAL) |Traceback")


class NodeProcess:
    """A node with its data directory; a restart is a new object over the same directory."""

    def __init__(
        self,
        data: Path,
        *options: str,
        listen: str = "127.0.0.1:0",
        command: Sequence[str] = COMMAND,
    ) -> None:
        """Start it; ``ready`` waits for it."""
        self.command = command
        self.data = data
        self.log = data.with_name(f"{data.name}.{time.monotonic_ns()}.log")
        self._spawn(["--listen", listen, "--data", str(data), *options], None)

    @classmethod
    def bare(cls, folder: Path, *options: str) -> NodeProcess:
        """``kvnode serve`` with these options only, in ``folder`` as working directory."""
        node = cls.__new__(cls)
        node.command = COMMAND
        node.data = folder / "kvnode-data"
        node.log = folder.with_name(f"{folder.name}.{time.monotonic_ns()}.log")
        node._spawn(list(options), folder)  # noqa: SLF001 - this class
        return node

    def _spawn(self, options: list[str], folder: Path | None) -> None:
        self.output = b""
        self.name = self.address = self.serving_from = ""
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*self.command, "serve", *options],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=folder,
                env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
            )

    @property
    def stderr(self) -> str:
        """What it has logged so far."""
        return self.log.read_text()

    @property
    def trouble(self) -> list[str]:
        """Lines it logged at ERROR or above, and tracebacks."""
        return [line for line in self.stderr.splitlines() if TROUBLE.search(line)]

    def ready(self) -> NodeProcess:
        """Wait for the ready line."""
        deadline = time.monotonic() + READY_S
        stream = self.process.stdout
        assert stream is not None
        while not self.output.endswith(b"\n"):
            left = deadline - time.monotonic()
            assert left > 0, f"not ready within {READY_S} s: {self.output!r}\n{self.stderr}"
            if select.select([stream], [], [], left)[0]:
                chunk = os.read(stream.fileno(), 4096)
                assert chunk, f"ended with {self.process.wait(STOP_S)}: {self.stderr}"
                self.output += chunk
        match = READY.fullmatch(self.output)
        assert match, f"the ready line is {self.output!r}"
        name, host, port, folder = (group.decode() for group in match.groups())
        self.name, self.address, self.serving_from = name, f"{host}:{port}", folder
        return self

    def ended(self) -> int:
        """Wait until it has ended by itself; returns the exit code."""
        code = self.process.wait(STOP_S)
        self._close()
        return code

    def stop(self, *, trouble: str = "") -> None:
        """SIGTERM; it ends cleanly, and all it ever complained of matches ``trouble``."""
        self.process.terminate()
        code = self.ended()
        assert code == 0, f"exit code {code}: {self.stderr}"
        unexpected = [line for line in self.trouble if not (trouble and re.search(trouble, line))]
        assert not unexpected, f"{unexpected} in: {self.stderr}"

    def kill(self) -> None:
        """SIGKILL, whatever it is doing; also if it has ended."""
        self.process.kill()
        self.process.wait(STOP_S)
        self._close()

    def _close(self) -> None:
        assert self.process.stdout is not None
        if not self.process.stdout.closed:
            self.output += self.process.stdout.read()
            self.process.stdout.close()


def until(condition: Callable[[], bool], what: str, deadline_s: float = 60.0) -> None:
    """Wait until it holds; fails after the deadline."""
    deadline = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {deadline_s} s: {what}"
        time.sleep(0.002)


def is_free(port: int) -> bool:
    """Whether a node could listen on this port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
