"""After the faults: all is made whole, and every node has to come to the same in bounded time."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import ExitStack
from time import monotonic
from typing import Final

from cluster.control import ClusterError
from cluster.node_process import LOG_TAIL_LINES, Life, tail
from cluster.processes import LocalCluster
from cluster.verdict import NotConverged, vector_at, wait_converged
from kvnode import Client, KvnodeError
from kvnode.client.records import lost_values
from kvnode.v1 import verify_pb2
from tests.checkers.history import Dot
from tests.checkers.history import Final as FinalState
from tests.nemesis.recorder import Recorder
from tests.nemesis.session import seen_of

CONVERGE_S: Final = 30.0
"""For what was missed to arrive everywhere; nodes look for it five times a second."""
COLLECT_S: Final = 30.0
"""For members to have heard of each other's reports, and a checkpoint."""
POLL_S: Final = 0.05
VERIFY_S: Final = 20.0
CALL_TIMEOUT_S: Final = 10.0


def make_whole(cluster: LocalCluster, recorder: Recorder) -> None:
    """Heal all links and have every node running; complains of those that had ended themselves."""
    cluster.heal()
    for node in cluster.status().nodes:
        if node.life is Life.DIED:
            recorder.complain(
                f"{node.name} ended by itself with exit code {node.exit_code}:\n"
                f"{tail(node.log, LOG_TAIL_LINES)}"
            )
        if node.life is Life.PAUSED:
            cluster.resume(node.name)
        elif node.pid is None:
            try:
                cluster.start(node.name)
            except ClusterError as error:
                recorder.complain(f"{node.name} does not start any more: {error}")


def conclude(cluster: LocalCluster, recorder: Recorder) -> tuple[list[FinalState], float]:
    """What every node shows when it has all, and how long that took, s."""
    begun_s = monotonic()
    finals: list[FinalState] = []
    with ExitStack() as stack:
        clients = {
            name: stack.enter_context(Client(endpoint, timeout_s=CALL_TIMEOUT_S))
            for name, endpoint in cluster.endpoints.items()
        }
        try:
            wait_converged(clients, {}, timeout_s=CONVERGE_S)
            took_s = monotonic() - begun_s
            _wait_collected(clients, recorder)
            digests = _digests(next(iter(clients.values())), recorder)
            for name, client in clients.items():
                keys = {state.key: seen_of(state) for state in client.scan()}
                finals.append(
                    FinalState(
                        name,
                        vector_at(client),
                        digests.get(name, ""),
                        keys,
                        at_ms=recorder.now_ms(),
                        journal=_journal(client),
                    )
                )
        except (NotConverged, KvnodeError) as error:
            recorder.complain(f"after all was healed: {error}")
            took_s = monotonic() - begun_s
    return finals, took_s


def _wait_collected(clients: Mapping[str, Client], recorder: Recorder) -> None:
    """Until nothing remains of deletes; complains if something does."""
    until_s = monotonic() + COLLECT_S
    pause = threading.Event()
    while waiting := {
        name: rows
        for name, client in clients.items()
        if (rows := client.admin.collection_status().rows_waiting)
    }:
        if monotonic() > until_s:
            recorder.complain(f"after {COLLECT_S:.0f} s remains of deletes wait: {waiting}")
            return
        pause.wait(POLL_S)


def _journal(client: Client) -> frozenset[Dot]:
    """The register values that the node knows to have lost against concurrent ones."""
    return frozenset((row.lost.dot.origin, row.lost.dot.seq) for row in lost_values(client))


def _digests(client: Client, recorder: Recorder) -> dict[str, str]:
    """Each member's digest, as one of them compares them; complains unless all are equal."""
    *_, last = client.admin.verify(deadline_s=VERIFY_S)
    if last.verdict != verify_pb2.VERDICT_EQUAL:
        problems = "; ".join(
            f"{member.name}: {verify_pb2.Verdict.Name(member.verdict)} {member.problem}"
            for member in last.members
        )
        recorder.complain(f"verify does not find all nodes equal: {problems}")
    return {member.name: member.digest.sum.hex() for member in last.members}
