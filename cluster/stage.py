"""What the phases of ``./cluster/chaos`` act on: the cluster, its load, and how to look at both."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Final

from cluster.ledger import Ledger
from cluster.load import Load
from cluster.narration import Narration
from cluster.node_process import LOG_TAIL_LINES, Life, tail
from cluster.processes import ROOT, LocalCluster
from cluster.skewed_clock import SkewedClock
from cluster.vectors import Vector
from cluster.verdict import vector_at
from kvnode import Client, KvnodeError
from kvnode.client.operator import Operator
from kvnode.v1.admin_pb2 import StatusResponse

POLL_S: Final = 0.05
DEADLINE_S: Final = 40.0
"""For whatever a phase waits for; on a busy machine most takes a few seconds."""
COMMAND_DEADLINE_S: Final = 30.0
CALL_TIMEOUT_S: Final = 5.0
KVNODE: Final = (sys.executable, "-m", "kvnode")


class Wrong(Exception):
    """Something that kvnode promises does not hold."""


@dataclass(frozen=True, slots=True)
class Printed:
    """A command that has ended."""

    exit_code: int
    output: str


@dataclass(frozen=True, slots=True)
class Stage:
    """The running cluster."""

    cluster: LocalCluster
    clients: Mapping[str, Client]
    load: Load
    ledger: Ledger
    clock: SkewedClock
    skewed: str
    """The node with that clock."""
    narration: Narration
    directory: Path
    while_s: float
    """How long a fault lasts, if nothing else says when it is enough."""

    # ---- looking

    def status(self, name: str) -> StatusResponse:
        """What the node says of itself."""
        return self.clients[name].admin.status()

    def state(self, name: str) -> str:
        """Its state, or "" while it does not answer."""
        try:
            return self.status(name).state
        except KvnodeError:
            return ""

    def vector(self, name: str) -> Vector:
        """What the node has."""
        return vector_at(self.clients[name])

    def origin(self, name: str) -> int:
        """Which identity the node writes under now."""
        return self.status(name).origin

    def unfinished(self) -> list[str]:
        """What the members still wait for: forgotten identities that not all have acknowledged,
        and remains of deletes.
        """
        found = []
        for name, client in self.clients.items():
            with Operator(client.endpoints, timeout_s=CALL_TIMEOUT_S) as operator:
                members = operator.members().members
            found += [
                f"{name}: {each.name} {each.origin:016x} is not forgotten by all"
                for each in members
                if each.place == "forgotten" and not each.complete
            ]
            if rows := client.admin.collection_status().rows_waiting:
                found.append(f"{name}: the remains of {rows} deletes are not collected")
        return found

    def others(self, name: str) -> list[str]:
        """All members that serve but this one."""
        return [one for one in self.clients if one != name and self.state(one) == "serving"]

    def wait_for(self, condition: Callable[[], object], what: str) -> float:
        """Poll until it holds; how long that took, s. Raises Wrong."""
        begun_s = monotonic()
        while not condition():
            if monotonic() > begun_s + DEADLINE_S:
                raise Wrong(f"not within {DEADLINE_S:g} s: {what}")
            for node in self.cluster.status().nodes:
                if node.life is Life.DIED:
                    raise Wrong(
                        f"{node.name} ended by itself with exit code {node.exit_code}, while "
                        f"waiting for this: {what}\n{tail(node.log, LOG_TAIL_LINES)}"
                    )
            sleep(POLL_S)
        return monotonic() - begun_s

    def go_on(self) -> None:
        """Let the load go on for the time of a fault."""
        sleep(self.while_s)

    # ---- doing

    def say(self, text: str) -> None:
        """One sentence."""
        self.narration.say(text)

    def kvnode(self, *arguments: str) -> Printed:
        """Run the command an operator would."""
        return run([*KVNODE, *arguments], COMMAND_DEADLINE_S)

    def take_in(self, name: str, command: str) -> None:
        """``kvnode join`` or ``replace`` at another member, again while the old one counts as
        running: others believe in a process until it has been silent for a while.
        """
        sponsor = self.clients[self.others(name)[0]].endpoints[0]
        what = f"{name}={self.cluster.endpoints[name]}" if command == "join" else name
        line = (command, what, "--endpoint", sponsor, "--yes")
        self.say(f"  $ kvnode {' '.join(line)}")
        last = Printed(0, "")

        def done() -> bool:
            nonlocal last
            last = self.kvnode(*line)
            if last.exit_code and "is running" not in last.output:
                raise Wrong(f"kvnode {' '.join(line)}: exit code {last.exit_code}: {last.output}")
            return not last.exit_code

        self.wait_for(done, f"kvnode {command} {name} is carried out")

    def wait_serving(self, name: str) -> float:
        """Until the node takes calls; how long that took, s."""
        return self.wait_for(lambda: self.state(name) == "serving", f"{name} serves")

    def wait_taken_over(self, name: str) -> None:
        """Until the other members have all that this node has written."""
        status = self.status(name)
        seq = {entry.origin: entry.seq for entry in status.vector}.get(status.origin, 0)
        self.wait_for(
            lambda: all(self.vector(one).get(status.origin, 0) >= seq for one in self.others(name)),
            f"the others have the {seq} writes of {name}",
        )


def run(command: list[str], deadline_s: float) -> Printed:
    """Run a program to its end; what it printed on both streams."""
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=deadline_s,
            check=False,
        )
    except subprocess.TimeoutExpired as expired:
        raise Wrong(f"{' '.join(command)} did not end within {deadline_s:g} s") from expired
    return Printed(done.returncode, done.stdout.strip())
