"""Cases that other stores got wrong, by name, on real nodes."""

from __future__ import annotations

import threading

import pytest

from cluster.processes import LocalCluster
from kvnode import Client
from tests.cluster.convergence import assert_same, wait_equal

pytestmark = pytest.mark.cluster

Clients = dict[str, Client]


def test_balance_1000_minus_100_and_plus_50_during_a_cut_is_950_everywhere(
    cluster: LocalCluster, clients: Clients
) -> None:
    clients["n1"].increment("balance", 1000)
    wait_equal(clients.values())
    cluster.cut("n1", "n2")
    cluster.cut("n1", "n3")
    cluster.cut("n2", "n3")
    assert clients["n1"].increment("balance", -100).counter == 900
    assert clients["n2"].increment("balance", 50).counter == 1050
    cluster.heal()
    wait_equal(clients.values())
    assert {client.get("balance").pn_counter for client in clients.values()} == {950}


def test_different_values_set_on_both_sides_of_a_cut_agree_keydb_366(
    cluster: LocalCluster, clients: Clients
) -> None:
    """KeyDB issue 366: after the cut each side kept its own value for good."""
    cluster.isolate("n1")
    clients["n1"].put("setting", "left", lww=True)
    clients["n2"].put("setting", "right", lww=True)
    clients["n1"].put("note", "left")
    clients["n2"].put("note", "right")
    cluster.heal()
    states = assert_same(clients)
    assert states[b"setting"].register is not None
    assert states[b"setting"].register.value in (b"left", b"right")
    assert {sibling.value for sibling in states[b"note"].siblings} == {b"left", b"right"}


def test_a_delete_during_a_cut_takes_only_what_it_had_seen(
    cluster: LocalCluster, clients: Clients
) -> None:
    """Counter 10; deleted at one node, +5 at another: 5 everywhere. And it stays deleted (P6)."""
    clients["n1"].increment("reset/a", 10)
    clients["n1"].increment("reset/b", 10)
    clients["n1"].put("reset/c", "old")
    clients["n1"].put("reset/d", "old", lww=True)
    wait_equal(clients.values())
    cluster.isolate("n2")
    for key in ("reset/a", "reset/b", "reset/c", "reset/d"):
        clients["n1"].delete(key)
    clients["n2"].increment("reset/a", 5)
    cluster.heal()
    states = assert_same(clients)
    assert {key for key in states if key.startswith(b"reset/")} == {b"reset/a"}
    assert states[b"reset/a"].pn_counter == 5


def test_three_masters_incrementing_while_one_is_killed_and_restarted_keydb_111(
    cluster: LocalCluster, clients: Clients
) -> None:
    """KeyDB issue 111: after the restart the counters of the masters never agreed again."""
    per_node = 300
    halfway = threading.Barrier(3)

    def increment(name: str) -> None:
        for number in range(per_node):
            if number == per_node // 2:
                halfway.wait()
                if name == "n3":
                    cluster.kill("n3")
                    cluster.start("n3")
            clients[name].increment("masters", 1)

    threads = [threading.Thread(target=increment, args=(name,)) for name in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_equal(clients.values())
    assert {client.get("masters").pn_counter for client in clients.values()} == {3 * per_node}


def test_a_register_written_after_reading_always_wins(
    cluster: LocalCluster, clients: Clients
) -> None:
    """The clock follows what was received, so a later write beats the value it has seen."""
    for turn in range(20):
        name = ("n1", "n2", "n3")[turn % 3]
        clients[name].put("turns", f"turn {turn}", lww=True)
        wait_equal(clients.values())
        assert {client.get("turns").one().value for client in clients.values()} == {
            f"turn {turn}".encode()
        }
    assert cluster.status().links, "nothing was replicated through the links"
