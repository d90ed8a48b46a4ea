"""A cluster of real ``kvnode serve`` processes, for tests and tools::

    with LocalCluster(3, directory=tmp_path) as cluster:
        client = Client(cluster.endpoint("n1"))
        cluster.cut("n1", "n2")
        cluster.kill("n3")
        ...
        cluster.heal()

Clients talk to the nodes directly; only what nodes say to each other goes through the faulty links.
The nodes and links belong to a supervisor process, which ends with this one, however this one ends.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from cluster.control import LOG_FILE, STOP_DEADLINE_S, ClusterControl, ClusterError, Contact
from cluster.node_process import Life
from cluster.supervisor import Plan

ROOT: Final = Path(__file__).resolve().parent.parent
SERVE: Final = (sys.executable, "-m", "kvnode", "serve")


class NodeDied(ClusterError):
    """A node ended without being told to."""


class LocalCluster(ClusterControl):
    """A cluster with the life of a ``with`` block; all of ``ClusterControl`` works inside it.

    ``nodes`` are named n1, n2, ... unless ``names`` are given. ``directory`` gets, for each node,
    NAME/log and NAME/data; it is not removed. ``node_config`` is a TOML file for all nodes.
    ``node_command`` replaces ``python -m kvnode serve``. ``start_deadline_s`` bounds each start.
    ``first_port``: client ports are looked for from there upwards; by default anywhere.
    ``newcomers`` are those of ``names`` that do not found the cluster: they are started with
    ``start``, wait for ``kvnode join`` then, and have links to all others. What founders are told
    of each other at their very first start makes the cluster, so they are told of the newcomers'
    links when they are started again. ``environments``: variables for single nodes, by name.

    Leaving the block stops everything and raises ``NodeDied`` if a node had ended by itself, unless
    another exception is already on its way.
    """

    def __init__(
        self,
        nodes: int = 3,
        *,
        directory: Path,
        names: Sequence[str] | None = None,
        node_config: Path | None = None,
        node_command: Sequence[str] = SERVE,
        start_deadline_s: float = 30.0,
        first_port: int | None = None,
        newcomers: Sequence[str] = (),
        environments: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self.names = tuple(names or (f"n{number}" for number in range(1, nodes + 1)))
        self.directory = directory.resolve()
        self.endpoints: dict[str, str] = {}
        """Address of each node for clients, in the order of ``names``."""
        self._plan = Plan(
            directory=str(self.directory),
            names=self.names,
            command=tuple(node_command),
            owner=os.getpid(),
            config=str(node_config.resolve()) if node_config else None,
            first_port=first_port,
            newcomers=tuple(newcomers),
            environments={name: dict(each) for name, each in (environments or {}).items()},
        )
        self._deadline_s = start_deadline_s
        self._supervisor: subprocess.Popen[bytes] | None = None

    def endpoint(self, name: str) -> str:
        """Where clients reach the node: it stays the same over restarts."""
        return self.endpoints[name]

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        died: list[str] = []
        try:
            if kind is None:
                died = [node.name for node in self.status().nodes if node.life is Life.DIED]
        finally:
            self.close()
        if died:
            raise NodeDied(f"ended without being told to: {', '.join(died)}; see {self.directory}")

    def open(self) -> None:
        """Start the supervisor and all nodes but newcomers, and wait until they serve."""
        self.directory.mkdir(parents=True, exist_ok=True)
        try:
            self._start_supervisor()
            super().__init__(Contact.read(self.directory), self._deadline_s)
            self.endpoints = {node.name: node.address for node in self.status().nodes}
            self.start(*(name for name in self.names if name not in self._plan.newcomers))
        except BaseException:
            self.close()
            raise

    def _start_supervisor(self) -> None:
        paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
        with (self.directory / LOG_FILE).open("ab") as log:
            self._supervisor = subprocess.Popen(
                [sys.executable, "-m", "cluster.supervisor"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
                start_new_session=True,
            )
        assert self._supervisor.stdin is not None
        assert self._supervisor.stdout is not None
        with self._supervisor.stdin as plan, self._supervisor.stdout as answers:
            plan.write(json.dumps(asdict(self._plan)).encode())
            plan.close()
            answer = answers.readline().decode().strip()
        if answer != "ready":
            reason = answer.removeprefix("error: ") or f"see {self.directory / LOG_FILE}"
            raise ClusterError(f"the cluster did not start: {reason}")

    def wait_connected(self, *names: str, deadline_s: float = 15.0) -> None:
        """Return when these nodes (none named: all) say that they are connected to each other.

        Raises ``ClusterError`` naming the links that are not by the deadline.
        """
        from cluster.convergence import wait_together  # grpc, which nothing else here needs

        missing = wait_together(
            self.endpoints,
            list(combinations(names or self.names, 2)),
            timeout_s=deadline_s,
            caught_up=False,
        )
        if missing:
            raise ClusterError(f"not connected after {deadline_s:g} s: {'; '.join(missing)}")

    def detach(self) -> None:
        """Let the cluster run on after this process; ``cluster.control`` finds it again."""
        self.release()
        if self._supervisor is not None:
            # Not ours to wait for any more.
            self._supervisor.returncode = 0
            self._supervisor = None

    def close(self) -> None:
        """Stop all nodes and the links. Idempotent."""
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is None:
            return
        supervisor.terminate()
        try:
            supervisor.wait(2 * STOP_DEADLINE_S)
        except BaseException:
            supervisor.kill()
            supervisor.wait()
            raise
