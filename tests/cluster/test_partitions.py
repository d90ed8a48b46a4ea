"""Cuts of every shape between real nodes: all accept writes, and all agree afterwards (P1, P3)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cluster.faults import Fault, Mode
from cluster.processes import LocalCluster
from kvnode import Client, DataType, Increment, KeyNotFound, Put
from tests.cluster.convergence import assert_same, faults_between, wait_equal, wait_for

pytestmark = pytest.mark.cluster

Clients = dict[str, Client]


def write_everywhere(clients: Clients, tag: str) -> None:
    """On every node all four types, under keys that all nodes use."""
    for number, (name, client) in enumerate(clients.items(), 1):
        client.increment(f"{tag}/likes", number, type=DataType.G_COUNTER)
        client.increment(f"{tag}/stock", 10 * number)
        client.increment(f"{tag}/stock", -number)
        client.put(f"{tag}/status", f"seen by {name}", lww=True)
        client.put(f"{tag}/cart", f"put at {name}")


def check_everywhere(clients: Clients, tag: str, *, siblings: int) -> None:
    """What ``write_everywhere`` on three nodes adds up to, the same on all."""
    states = assert_same(clients)
    assert states[f"{tag}/likes".encode()].g_counter == 6
    assert states[f"{tag}/stock".encode()].pn_counter == 54
    assert states[f"{tag}/status".encode()].register is not None
    cart = {sibling.value.decode() for sibling in states[f"{tag}/cart".encode()].siblings}
    assert len(cart) == siblings
    assert cart <= {f"put at {name}" for name in clients}


def test_a_full_cut_loses_nothing_and_surfaces_concurrent_values(
    cluster: LocalCluster, clients: Clients
) -> None:
    for a, b in (("n1", "n2"), ("n1", "n3"), ("n2", "n3")):
        cluster.cut(a, b)
    write_everywhere(clients, "full")
    for client in clients.values():
        assert len(client.get("full/cart").siblings) == 1, "a write crossed the cut"
    cluster.heal()
    check_everywhere(clients, "full", siblings=3)
    assert faults_between(cluster, "n1", "n2"), "the cut never touched a connection"


def test_an_isolated_node_takes_reads_and_writes(cluster: LocalCluster, clients: Clients) -> None:
    clients["n1"].put("isolated/before", "known to all")
    wait_equal(clients.values())
    cluster.isolate("n3")
    assert clients["n3"].get("isolated/before").one().value == b"known to all"
    write_everywhere(clients, "isolated")
    wait_equal([clients["n1"], clients["n2"]])
    assert clients["n3"].get("isolated/likes").g_counter == 3
    assert clients["n1"].get("isolated/likes").g_counter == 3
    cluster.heal()
    states = assert_same(clients)
    assert states[b"isolated/likes"].g_counter == 6
    assert states[b"isolated/stock"].pn_counter == 54


def test_a_one_way_cut_delays_but_does_not_divert(cluster: LocalCluster, clients: Clients) -> None:
    """n1's bytes do not reach n2, n2's still reach n1; n3 carries the rest."""
    cluster.cut("n1", "n2", one_way=True)
    write_everywhere(clients, "oneway")
    wait_equal(clients.values())  # through n3, while the cut lasts
    counters = cluster.link("n1", "n2").counters
    cluster.heal()
    assert counters.faults, "the one-way cut never held anything"
    states = assert_same(clients)
    assert states[b"oneway/likes"].g_counter == 6
    assert states[b"oneway/stock"].pn_counter == 54


def test_a_cut_for_good_is_bridged_by_the_third_node(
    cluster: LocalCluster, clients: Clients
) -> None:
    """n1 and n3 never meet: anti-entropy passes on everyone's blocks, not just one's own."""
    cluster.cut("n1", "n3")
    write_everywhere(clients, "relay")
    clients["n1"].put("relay/from-n1", "through n2")
    wait_for(
        lambda: [state.key for state in clients["n3"].scan(prefix="relay/from-n1")] != [],
        "n1's write at n3, through n2",
    )
    states = assert_same(clients)
    assert states[b"relay/likes"].g_counter == 6
    status = clients["n1"].admin.status()
    assert {peer.name: peer.state for peer in status.peers}["n3"] != "connected"


def test_a_flapping_link_loses_and_doubles_nothing(cluster: LocalCluster, clients: Clients) -> None:
    rounds = 12
    for number in range(rounds):
        if number % 2:
            cluster.heal()
        else:
            cluster.set_links("n1", "n2", Mode.RESET if number % 4 else Mode.CUT)
            cluster.set_links("n2", "n3", Fault(Mode.DELAY, delay_ms=20))
        for client in clients.values():
            client.write([Increment("flap/count", 1), Increment("flap/count", 2)])
    cluster.heal()
    states = assert_same(clients)
    assert states[b"flap/count"].pn_counter == rounds * 3 * len(clients)
    assert faults_between(cluster, "n1", "n2") >= 2


def test_a_slow_link_delays_and_keeps_order(cluster: LocalCluster, clients: Clients) -> None:
    """An effect is never seen before its cause, whatever the links' speeds (P7)."""
    cluster.set_links("n1", "n3", Fault(Mode.DELAY, delay_ms=150))
    clients["n1"].put("causal/question", "what is it?")
    wait_for(lambda: visible(clients["n2"], "causal/question"), "the question at n2")
    clients["n2"].put("causal/answer", "42")
    wait_for(lambda: visible(clients["n3"], "causal/answer"), "the answer at n3")
    assert visible(clients["n3"], "causal/question"), "the answer came before its question"


def test_a_batch_is_seen_whole_or_not_at_all_while_links_break(
    cluster: LocalCluster, clients: Clients
) -> None:
    keys = [f"batch/{number:03}" for number in range(200)]
    torn: list[list[int]] = []
    rounds = 15
    with watching(clients["n3"], keys, torn):
        for number in range(rounds):
            clients["n1"].write([Increment(key, 1) for key in keys])
            cluster.set_links("n1", "n3", Mode.RESET if number % 2 else Mode.CUT)
            cluster.set_links("n1", "n3", Mode.PASS)
        wait_equal(clients.values())
    assert not torn, f"batches seen in part: {torn[:3]}"
    states = assert_same(clients)
    assert {states[key.encode()].pn_counter for key in keys} == {rounds}


def test_a_batch_with_one_bad_operation_does_nothing_anywhere(clients: Clients) -> None:
    clients["n1"].put("bad/text", "a value")
    before = wait_vector(clients)
    with pytest.raises(Exception, match="holds SIBLINGS"):
        clients["n1"].write([Put("bad/new", "x"), Increment("bad/text", 1)])
    assert wait_vector(clients) == before
    for client in clients.values():
        with pytest.raises(KeyNotFound):
            client.get("bad/new")


def wait_vector(clients: Clients) -> list[tuple[int, int]]:
    wait_equal(clients.values())
    return [(entry.origin, entry.seq) for entry in clients["n1"].admin.status().vector]


def visible(client: Client, key: str) -> bool:
    return client.batch_get([key])[0].visible


@contextmanager
def watching(client: Client, keys: list[str], torn: list[list[int]]) -> Iterator[None]:
    """Read all keys at once, again and again; note every reading with two different sums."""
    stop = threading.Event()
    readings: list[int] = []

    def read() -> None:
        while not stop.is_set():
            sums = [state.pn_counter or 0 for state in client.batch_get(keys)]
            readings.append(1)
            if len(set(sums)) > 1:
                torn.append(sums)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield
    finally:
        stop.set()
        reader.join()
    assert len(readings) > 10, "the watcher hardly looked"
