"""Convergence is proved, differences are found and healed, on real nodes (P10)."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from cluster.processes import LocalCluster
from kvnode import Client, DataDamaged, Put
from kvnode.cli.commands import run
from kvnode.core.entry import Entry
from kvnode.core.types import SIBLINGS
from kvnode.storage.state import LmdbState
from kvnode.v1 import verify_pb2 as pb
from tests.cluster.convergence import vector, wait_equal, wait_for

pytestmark = pytest.mark.cluster

Clients = dict[str, Client]
KEYS = 3_000


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Three nodes that compare themselves often, with some thousand keys."""
    folder = tmp_path_factory.mktemp("verify")
    config = folder / "config.toml"
    config.write_text("compare_interval_ms = 100\n")
    with LocalCluster(3, directory=folder, node_config=config) as running:
        running.wait_connected()
        with Client(running.endpoint("n1")) as client:
            client.write([Put(f"k{number:05}", f"value {number}") for number in range(KEYS)])
        yield running


@pytest.fixture
def clients(cluster: LocalCluster) -> Iterator[Clients]:
    """One per node; the nodes are equal before and after each test."""
    with ExitStack() as stack:
        found = {
            name: stack.enter_context(Client(endpoint, timeout_s=30.0))
            for name, endpoint in cluster.endpoints.items()
        }
        wait_equal(found.values())
        yield found
        wait_for(
            lambda: verified(found["n1"], full=True).verdict == pb.VERDICT_EQUAL,
            "the nodes are equal again",
        )


def verified(client: Client, **options: object) -> pb.VerifyReply:
    """The verdict, after the progress."""
    *progress, last = client.admin.verify(**options)  # type: ignore[arg-type]
    assert all(reply.progress for reply in progress)
    assert not last.progress
    return last


def repaired(client: Client, *keys: str) -> dict[bytes, str]:
    """What became of each key."""
    *_, last = client.admin.repair(keys)
    return {each.key: each.outcome for each in last.keys}


def differences(found: pb.VerifyReply) -> set[tuple[str, bytes, str]]:
    """Node, key and kind of all."""
    return {
        (member.name, each.key, each.kind)
        for member in found.members
        for each in member.differences
    }


@contextmanager
def state_of(cluster: LocalCluster, name: str) -> Iterator[Path]:
    """The stopped node's state file."""
    cluster.stop(name)
    yield cluster.directory / name / "data" / "v1" / "state"
    cluster.start(name)
    cluster.wait_connected()


def flip(folder: Path, value: bytes) -> None:
    """Change a byte of a value wherever it is in the file, as a rotten disk would."""
    file = folder / "data.mdb"
    raw = file.read_bytes()
    assert value in raw
    file.write_bytes(raw.replace(value, value[:-1] + bytes([value[-1] ^ 1])))


def plant(folder: Path, key: bytes, change: Callable[[Entry], Entry]) -> None:
    """Let the node's state say something that no write said; its digests know of it."""
    identity = json.loads((folder.parent / "identity.json").read_text())
    state = LmdbState(folder, int(identity["store"], 16))
    checkpoint = state.load(10)
    assert checkpoint is not None
    checkpoint.entries = {key: change(state.get(key) or {})}
    state.save(checkpoint)
    state.close()


def origin(client: Client) -> int:
    """The node's origin id."""
    return client.admin.status().origin


def test_equal_nodes_are_proved_equal(clients: Clients) -> None:
    found = verified(clients["n2"])
    assert found.verdict == pb.VERDICT_EQUAL
    assert [member.name for member in found.members] == ["n2", "n1", "n3"]
    assert len({member.vector.SerializeToString() for member in found.members}) == 1
    assert len({member.digest.SerializeToString() for member in found.members}) == 1
    assert {entry.origin: entry.seq for entry in found.vector.entries} == vector(clients["n2"])
    assert found.digest.keys >= KEYS
    assert found.bytes_moved < 2_000
    part = verified(clients["n2"], prefix="k0000")
    assert (part.verdict, part.digest.keys) == (pb.VERDICT_EQUAL, 10)


def test_a_silent_member_is_named(cluster: LocalCluster, clients: Clients) -> None:
    cluster.stop("n3")
    found = verified(clients["n1"], deadline_s=1.0)
    assert run(["verify", "-e", cluster.endpoint("n1"), "--timeout", "1"]) == 12
    cluster.start("n3")
    assert found.verdict == pb.VERDICT_SILENT
    verdicts = {member.name: member.verdict for member in found.members}
    assert verdicts == {
        "n1": pb.VERDICT_EQUAL,
        "n2": pb.VERDICT_EQUAL,
        "n3": pb.VERDICT_SILENT,
    }
    assert [member.name for member in found.members if member.problem] == ["n3"]
    cluster.wait_connected()


def test_flipped_bytes_are_found_and_healed(cluster: LocalCluster, clients: Clients) -> None:
    """The damaged node cannot take writes of others to the key either, until it is healed."""
    clients["n1"].put("rotten", "a value that will rot")
    clients["n1"].put("rotten too", "another value that rots")
    wait_equal(clients.values())
    with state_of(cluster, "n3") as folder:
        flip(folder, b"a value that will rot")
        flip(folder, b"another value that rots")
    with pytest.raises(DataDamaged):
        clients["n3"].get("rotten")
    found = verified(clients["n1"], full=True)
    assert found.verdict == pb.VERDICT_DIFFERENT
    assert differences(found) == {
        ("n3", b"rotten", "damaged there"),
        ("n3", b"rotten too", "damaged there"),
    }
    assert run(["verify", "-e", cluster.endpoint("n2"), "--full"]) == 11
    assert ("n3", b"rotten", "damaged here") in differences(verified(clients["n3"], full=True))
    clients["n2"].put("rotten", "written after the damage")
    assert repaired(clients["n3"], "rotten") == {b"rotten": "healed"}
    wait_equal(clients.values())
    assert clients["n3"].get("rotten").one().value == b"written after the damage"
    assert repaired(clients["n3"]) == {b"rotten too": "healed"}
    assert clients["n3"].get("rotten too").one().value == b"another value that rots"
    cluster.kill("n3")
    cluster.start("n3")
    assert repaired(clients["n3"], "rotten", "k00001") == {b"rotten": "fine", b"k00001": "fine"}


def test_nodes_that_differ_raise_an_alarm_until_they_are_repaired(
    cluster: LocalCluster, clients: Clients
) -> None:
    """One vector, two states: found without being asked; no value that anybody has is lost."""
    clients["n1"].put("contested", "what was written")
    wait_equal(clients.values())
    number = origin(clients["n3"])
    with state_of(cluster, "n3") as folder:
        plant(
            folder,
            b"contested",
            lambda _: {SIBLINGS: ({(number, 1): (1 << 20, b"never written")}, frozenset())},
        )
    wait_for(lambda: alarms(clients["n1"]) == {"n3"}, "n1's alarm about n3")
    wait_for(lambda: alarms(clients["n3"]) == {"n1", "n2"}, "n3's alarm about the others")
    assert "run kvnode verify" in clients["n1"].admin.status().problem
    found = verified(clients["n1"])
    assert found.verdict == pb.VERDICT_DIFFERENT
    assert differences(found) == {("n3", b"contested", "different")}
    (difference,) = found.members[2].differences
    assert [dot.seq for dot in difference.only_there] == [1]
    assert found.bytes_moved < 20_000, "one key of thousands differs"
    assert repaired(clients["n1"]) == {b"contested": "healed"}
    for client in clients.values():
        values = {sibling.value for sibling in client.get("contested").siblings}
        assert values == {b"what was written", b"never written"}
    wait_for(lambda: not any(map(alarms, clients.values())), "the end of the alarms")


def alarms(client: Client) -> set[str]:
    """Whom the node's status names."""
    return {each.peer for each in client.admin.status().diverged}


@contextmanager
def load(clients: Clients) -> Iterator[None]:
    """All nodes write the same few keys all the time."""
    stop = threading.Event()

    def write(client: Client, name: str) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            client.write([Put(f"hot{number % 7}", f"{name} {number}"), Put(name, str(number))])

    threads = [
        threading.Thread(target=write, args=(client, name)) for name, client in clients.items()
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_writes_on_their_way_are_no_differences(cluster: LocalCluster, clients: Clients) -> None:
    """Under load only what no write explains is reported, and what cannot be told is not equal."""
    before = vector(clients["n1"])
    with load(clients):
        wait_for(lambda: vector(clients["n1"]) != before, "the load")
        found = verified(clients["n1"], deadline_s=2.0)
    assert found.verdict in (pb.VERDICT_MOVING, pb.VERDICT_EQUAL)
    assert differences(found) == set()
    wait_equal(clients.values())
    with state_of(cluster, "n3") as folder:
        plant(folder, b"k00007", lambda _: {})
    with load(clients):
        found = verified(clients["n1"], deadline_s=6.0)
    assert differences(found) == {("n3", b"k00007", "different")}
    wait_equal(clients.values())
    assert repaired(clients["n3"], "k00007", "k00008") == {b"k00007": "healed", b"k00008": "fine"}
    assert clients["n3"].get("k00007").one().value == b"value 7"
