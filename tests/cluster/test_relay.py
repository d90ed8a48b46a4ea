"""Who cannot reach each other meets through a third, and who has stopped costs nobody anything.

A, B and C are n1, n2 and n3; n4 is the one that stops, or a second way round.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import pytest

from cluster.processes import LocalCluster
from kvnode import Client, Increment, Put
from tests.cluster.convergence import assert_same, faults_between, vector, wait_equal, wait_for

pytestmark = pytest.mark.cluster

ROUNDS = 12
"""Anti-entropy rounds looked at."""
BATCH_BYTES = 64 << 10
PUSH_BUFFER_BYTES = 512 << 10
PUSH_MESSAGES_MAX = 3
SETTINGS = f"""
push_buffer_bytes = {PUSH_BUFFER_BYTES}
push_message_bytes = {BATCH_BYTES}
push_messages_max = {PUSH_MESSAGES_MAX}
"""

Clients = dict[str, Client]


class Sample(NamedTuple):
    """What C says of A's writes at one moment."""

    rounds: int
    reported: int
    """How many B has, as far as C was told."""
    here: int


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Four nodes with a small push buffer."""
    folder = tmp_path_factory.mktemp("relay")
    config = folder / "kvnode.toml"
    config.write_text(SETTINGS)
    with LocalCluster(4, directory=folder / "nodes", node_config=config) as cluster:
        cluster.wait_connected()
        yield cluster


def sample(client: Client, origin: int, through: str) -> Sample:
    status = client.admin.status()
    (relay,) = (peer for peer in status.peers if peer.name == through)
    reported = {entry.origin: entry.seq for entry in relay.vector}
    here = {entry.origin: entry.seq for entry in status.vector}
    return Sample(status.anti_entropy_rounds, reported.get(origin, 0), here.get(origin, 0))


def samples_of(client: Client, origin: int, through: str) -> list[Sample]:
    """Look at C for ``ROUNDS`` rounds."""
    found = [sample(client, origin, through)]

    def enough() -> bool:
        found.append(sample(client, origin, through))
        return found[-1].rounds >= found[0].rounds + ROUNDS

    wait_for(enough, f"{ROUNDS} anti-entropy rounds")
    return found


def assert_current(samples: Sequence[Sample]) -> None:
    """What C knew B to have is at C two whole rounds later: the third that ends at the latest,
    because one may have been under way when C was told.
    """
    for number, earlier in enumerate(samples):
        for later in samples[number:]:
            if later.rounds >= earlier.rounds + 3:
                assert later.here >= earlier.reported, (earlier, later)
                break


@contextmanager
def writing(client: Client, key: str) -> Iterator[list[int]]:
    """Write batches until the block ends; the list grows with every acknowledged one."""
    stop = threading.Event()
    written: list[int] = []

    def write() -> None:
        while not stop.is_set():
            client.write([Increment(key, 1), Put(f"{key}/{len(written)}", "x" * 100)])
            written.append(1)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield written
    finally:
        stop.set()
        writer.join()
    assert written, "nothing was written"


def seen(client: Client, key: str) -> bool:
    return client.batch_get([key])[0].visible


def isolate_a_from_c(cluster: LocalCluster) -> None:
    """A-C is cut, and B is the only way round."""
    cluster.cut("n1", "n3")
    cluster.isolate("n4")


def test_what_a_writes_is_at_c_within_two_rounds_through_b(
    cluster: LocalCluster, clients: Clients
) -> None:
    """Under load: C never falls behind, it follows."""
    isolate_a_from_c(cluster)
    origin = clients["n1"].admin.status().origin
    with writing(clients["n1"], "relay/load") as written:
        samples = samples_of(clients["n3"], origin, "n2")
    assert_current(samples)
    steps = {found.here for found in samples}
    assert len(steps) > ROUNDS / 3, f"C did not follow, it jumped: {sorted(steps)}"
    last = vector(clients["n1"])[origin]
    wait_for(lambda: vector(clients["n3"])[origin] == last, "all of it at C, still cut")
    assert clients["n3"].get("relay/load").pn_counter == len(written)
    assert faults_between(cluster, "n1", "n3"), "the cut never touched a connection"


def test_c_is_current_again_when_b_is_back(cluster: LocalCluster, clients: Clients) -> None:
    isolate_a_from_c(cluster)
    origin = clients["n1"].admin.status().origin
    with writing(clients["n1"], "relay/restart") as written:
        wait_for(lambda: seen(clients["n3"], "relay/restart"), "A's writes at C")
        cluster.kill("n2")
        alone = len(written)
        wait_for(lambda: len(written) > alone + 20, "A writes on while B is dead")
        cluster.start("n2")
        cluster.wait_connected("n2", "n3")
        assert_current(samples_of(clients["n3"], origin, "n2"))
    last = vector(clients["n1"])[origin]
    wait_for(lambda: vector(clients["n3"])[origin] == last, "all of it at C, still cut")
    assert clients["n3"].get("relay/restart").pn_counter == len(written)


def test_trap_23_the_origin_dies_after_telling_one_peer(
    cluster: LocalCluster, clients: Clients
) -> None:
    """The others get it from that one; nobody waits for the dead."""
    for other in ("n3", "n4"):
        cluster.cut("n1", other)
        cluster.cut("n2", other)
    clients["n1"].put("relay/last-words", "tell the others")
    wait_for(lambda: seen(clients["n2"], "relay/last-words"), "the write at the one peer")
    cluster.kill("n1")
    try:
        assert not seen(clients["n3"], "relay/last-words")
        cluster.heal()
        for name in ("n3", "n4"):
            wait_for(lambda name=name: seen(clients[name], "relay/last-words"), name)  # type: ignore[misc]
    finally:
        cluster.start("n1")


def test_a_stopped_peer_costs_the_others_no_memory_and_no_time(
    cluster: LocalCluster, clients: Clients
) -> None:
    """They write eight times what the push buffer holds, and converge, while n4 is stopped."""
    awake = {name: client for name, client in clients.items() if name != "n4"}
    batch = [Put(f"stopped/{number}", "x" * (BATCH_BYTES // 8)) for number in range(8)]
    cluster.pause("n4")
    try:
        fullest = most_unanswered = 0
        for _ in range(8 * PUSH_BUFFER_BYTES // BATCH_BYTES // len(awake) + 1):
            for client in awake.values():
                client.write(batch)
                status = client.admin.status()
                fullest = max(fullest, status.push_buffer_bytes)
                (stopped,) = (peer for peer in status.peers if peer.name == "n4")
                most_unanswered = max(most_unanswered, stopped.unanswered_messages)
        wait_equal(awake.values())
        for client in awake.values():
            assert client.admin.status().queued_requests == 0
    finally:
        cluster.resume("n4")
    assert PUSH_BUFFER_BYTES / 2 < fullest <= PUSH_BUFFER_BYTES + 2 * BATCH_BYTES
    assert 0 < most_unanswered <= PUSH_MESSAGES_MAX
    assert_same(clients)


def test_c_does_not_wait_for_the_stopped_one_of_two_ways_round(
    cluster: LocalCluster, clients: Clients
) -> None:
    """n2 and n4 both stand between A and C, and n4 stops while C may be asking it."""
    cluster.cut("n1", "n3")
    origin = clients["n1"].admin.status().origin
    with writing(clients["n1"], "relay/detour"):
        wait_for(lambda: seen(clients["n3"], "relay/detour"), "A's writes at C")
        cluster.pause("n4")
        try:
            assert_current(samples_of(clients["n3"], origin, "n2"))
            last = vector(clients["n1"])[origin]
            wait_for(lambda: vector(clients["n3"])[origin] >= last, "A's writes at C, through n2")
        finally:
            cluster.resume("n4")
