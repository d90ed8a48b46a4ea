"""Talking to the supervisor of a cluster: one JSON line each way over loopback TCP.

Each request has a connection of its own, so any number of threads and processes may ask at the same
time. ``cluster.json`` in the cluster's directory names the port and a random token; only its owner
can read it. (A Unix socket would need no token, but its path must fit 107 bytes, and those of test
directories often do not.)
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from cluster.faults import Counters, Fault, Mode
from cluster.node_process import Life
from cluster.ports import HOST

STATE_FILE: Final = "cluster.json"
LOCK_FILE: Final = "lock"
LOG_FILE: Final = "supervisor.log"

REQUEST_DEADLINE_S: Final = 5.0
"""For requests that only change or read the supervisor's memory."""

STOP_DEADLINE_S: Final = 10.0
"""From SIGTERM until SIGKILL."""

ANSWER_BYTES_MAX: Final = 16 << 20
"""Far above any status; a bound against a foreign server on the port."""


class ClusterError(Exception):
    """The cluster cannot do what was asked; the message says why and, where known, what to do."""


class NotRunning(ClusterError):
    """No supervisor answers for this directory."""


def is_held(directory: Path) -> bool:
    """A supervisor lives in the directory."""
    try:
        with (directory / LOCK_FILE).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except BlockingIOError:
        return True
    return False


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node process as its supervisor sees it."""

    name: str
    life: Life
    pid: int | None
    address: str
    exit_code: int | None
    """Of the last run; negative for a signal; None while running or before the first."""
    data: Path
    log: Path
    command: tuple[str, ...]
    """What it is started with."""


@dataclass(frozen=True, slots=True)
class LinkView:
    """The direction from ``source`` to ``target``: its fault and what it did so far."""

    source: str
    target: str
    fault: Fault
    counters: Counters


@dataclass(frozen=True, slots=True)
class ClusterView:
    """What a cluster is doing."""

    nodes: tuple[NodeView, ...]
    links: tuple[LinkView, ...]


@dataclass(frozen=True, slots=True)
class Contact:
    """Where a supervisor listens."""

    port: int
    token: str
    pid: int

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Raises ``NotRunning`` if no supervisor left its address in the directory."""
        try:
            return cls(**json.loads((directory / STATE_FILE).read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise NotRunning(f"no cluster is running in {directory}") from error

    def write(self, directory: Path) -> None:
        """Leave it there, readable by the owner only and never half written."""
        half = directory / f"{STATE_FILE}.new"
        handle = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as file:
            json.dump({"port": self.port, "token": self.token, "pid": self.pid}, file)
        half.replace(directory / STATE_FILE)


class ClusterControl:
    """The commands of a running cluster. Thread-safe.

    Every method raises ``ClusterError`` with a message for people, ``NotRunning`` if none answers.
    """

    def __init__(self, contact: Contact, start_deadline_s: float = 30.0) -> None:
        self._contact = contact
        self._start_deadline_s = start_deadline_s

    # Nodes

    def start(self, *names: str, serving: bool = True) -> None:
        """Start these nodes (none named: all that are not running) and wait until they serve.

        ``serving`` False does not wait: for nodes that somebody has to take in first.
        """
        self._ask(
            "start",
            self._start_deadline_s + 5,
            names=names,
            deadline_s=self._start_deadline_s,
            serving=serving,
        )

    def stop(self, name: str) -> None:
        """End a node with SIGTERM and wait; an unclean exit raises, as does a node not running."""
        self._ask("stop", STOP_DEADLINE_S + 5, name=name, deadline_s=STOP_DEADLINE_S)

    def kill(self, name: str) -> None:
        """End a node with SIGKILL and wait for its end; its port and data stay its own.

        Raises if it is not running.
        """
        self._ask("kill", name=name)

    def pause(self, name: str) -> None:
        """SIGSTOP: the node's connections stay open and nobody answers."""
        self._ask("pause", name=name)

    def resume(self, name: str) -> None:
        """SIGCONT after ``pause``."""
        self._ask("resume", name=name)

    # Links

    def set_link(self, source: str, target: str, fault: Fault | Mode | str) -> None:
        """Let the bytes from ``source`` to ``target`` obey ``fault`` from now on."""
        if not isinstance(fault, Fault):
            fault = Fault(Mode(fault))
        self._ask("set_link", pairs=[(source, target)], fault=fault.to_json())

    def set_links(self, a: str, b: str, fault: Fault | Mode | str) -> None:
        """``set_link`` in both directions, at the same moment."""
        if not isinstance(fault, Fault):
            fault = Fault(Mode(fault))
        self._ask("set_link", pairs=[(a, b), (b, a)], fault=fault.to_json())

    def cut(self, a: str, b: str, *, one_way: bool = False) -> None:
        """Disconnect two nodes: their connections are reset and new ones refused.

        ``one_way`` loses only what travels from ``a`` to ``b``. A TCP connection cannot exist with
        one direction cut, so this is a drop: what ``b`` sends still arrives over connections that
        are open, new ones hang, and what ``a`` sent meanwhile arrives when healed.
        """
        if one_way:
            self.set_link(a, b, Mode.DROP)
        else:
            self.set_links(a, b, Mode.CUT)

    def isolate(self, name: str, mode: Mode | str = Mode.CUT) -> None:
        """Cut (or drop) a node from all others, both ways; clients still reach it."""
        self._ask("isolate", name=name, fault=Fault(Mode(mode)).to_json())

    def heal(self) -> None:
        """Let every link pass; what a drop or delay held flows on."""
        self._ask("heal")

    # Views

    def status(self) -> ClusterView:
        """Every node and every direction, now."""
        answer = self._ask("status")
        return ClusterView(
            nodes=tuple(
                NodeView(
                    **{
                        **node,
                        "life": Life(node["life"]),
                        "data": Path(node["data"]),
                        "log": Path(node["log"]),
                        "command": tuple(node["command"]),
                    }
                )
                for node in answer["nodes"]
            ),
            links=tuple(
                LinkView(
                    link["source"],
                    link["target"],
                    Fault.from_json(link["fault"]),
                    Counters(**link["counters"]),
                )
                for link in answer["links"]
            ),
        )

    def node(self, name: str) -> NodeView:
        """One node, now."""
        for node in self.status().nodes:
            if node.name == name:
                return node
        raise ClusterError(f"there is no node {name!r}")

    def link(self, source: str, target: str) -> LinkView:
        """One direction, now."""
        for link in self.status().links:
            if (link.source, link.target) == (source, target):
                return link
        raise ClusterError(f"there is no link from {source!r} to {target!r}")

    # The cluster's own life

    def release(self) -> None:
        """Let the cluster outlive the process that made it."""
        self._ask("release")

    def shut_down(self) -> None:
        """Stop all nodes, end the supervisor and wait until it is gone. Data and logs stay."""
        self._ask("shut_down", 2 * STOP_DEADLINE_S + 5)

    def _ask(self, command: str, wait_s: float = REQUEST_DEADLINE_S, **arguments: Any) -> Any:
        request = {"token": self._contact.token, "command": command, **arguments}
        try:
            with socket.create_connection((HOST, self._contact.port), wait_s) as wire:
                wire.sendall(json.dumps(request).encode() + b"\n")
                with wire.makefile("rb") as answers:
                    line = answers.readline(ANSWER_BYTES_MAX)
                    if command == "shut_down":
                        # The supervisor leaves this connection open to its very end.
                        answers.read()
        except TimeoutError as error:
            raise ClusterError(f"the supervisor did not {command} in {wait_s:g} s") from error
        except OSError as error:
            raise NotRunning("the cluster's supervisor is not running") from error
        if not line:
            raise NotRunning("the cluster's supervisor went away before it answered")
        answer = json.loads(line)
        if "error" in answer:
            raise ClusterError(answer["error"])
        return answer["result"]
