"""Waiting for replicas to agree, and comparing all they show."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import monotonic, sleep

from cluster.control import ClusterControl
from kvnode import Client, KeyState, KvnodeError

DEADLINE_S = 60.0
POLL_S = 0.02


def wait_for(condition: Callable[[], bool], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Poll until the condition holds; AssertionError naming ``what`` when it never does."""
    end = monotonic() + deadline_s
    while not condition():
        assert monotonic() < end, f"not within {deadline_s:g} s: {what}"
        sleep(POLL_S)


def vector(client: Client) -> dict[int, int]:
    """The node's version vector."""
    return {entry.origin: entry.seq for entry in client.admin.status().vector}


def wait_equal(clients: Iterable[Client], deadline_s: float = DEADLINE_S) -> None:
    """Wait until all nodes have one version vector."""
    nodes = list(clients)

    def equal() -> bool:
        try:
            vectors = [vector(client) for client in nodes]
        except KvnodeError:  # a node that is starting
            return False
        return all(other == vectors[0] for other in vectors)

    wait_for(equal, "equal version vectors", deadline_s)


def shown(client: Client) -> dict[bytes, KeyState]:
    """Everything a reader of the node sees."""
    return {state.key: state for state in client.scan()}


def assert_same(clients: dict[str, Client]) -> dict[bytes, KeyState]:
    """Wait for equal vectors, then everything shown has to be equal, contexts included."""
    wait_equal(clients.values())
    (first, expected), *others = [(name, shown(client)) for name, client in clients.items()]
    for name, state in others:
        assert state == expected, f"{name} differs from {first} under one version vector"
    return expected


def faults_between(cluster: ClusterControl, a: str, b: str) -> int:
    """How often a fault really touched the link, both directions."""
    return cluster.link(a, b).counters.faults + cluster.link(b, a).counters.faults
