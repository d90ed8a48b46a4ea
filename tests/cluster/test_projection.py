"""A read model outside the cluster survives what befalls it and the nodes it follows."""

from __future__ import annotations

import itertools
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

from cluster.processes import ROOT, LocalCluster
from kvnode import Client, Increment, KvnodeError, OutcomeUnknown, Put
from kvnode.client.watching import BEGINNING, Watch
from kvnode.v1 import watch_pb2, watch_pb2_grpc
from tests.cluster.convergence import assert_same, wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(300)]

ROUNDS = 8
PATIENCE_S = 60.0


class Model:
    """The program, and its file as others can read it."""

    def __init__(self, folder: Path, endpoints: str) -> None:
        self.path = folder / "carts.sqlite"
        self.log = folder / "projection.log"
        self._endpoints = endpoints
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cluster.projection", self.path, self._endpoints, "cart/"],
                cwd=ROOT,
                stderr=log,
            )

    def kill(self) -> None:
        """SIGKILL; until then it had not ended by itself."""
        assert self.process is not None
        code = self.process.poll()
        self.process.kill()
        self.process.wait()
        assert code is None, self.log.read_text()

    def rows(self, query: str) -> list[tuple[object, ...]]:
        if not self.path.exists():
            return []
        with closing(sqlite3.connect(self.path, timeout=100)) as file:
            try:
                return file.execute(query).fetchall()
            except sqlite3.OperationalError:  # it is making its tables
                return []

    def writes(self) -> int:
        return len(self.rows("SELECT * FROM writes"))

    def carts(self) -> dict[object, object]:
        return dict(self.rows("SELECT key, items FROM carts"))  # type: ignore[arg-type]


@dataclass
class Writer:
    """Writes to one node, and keeps what it was told of keys that the model follows."""

    client: Client
    name: str
    acknowledged: list[tuple[str, int]] = field(default_factory=list)
    turn: threading.Lock = field(default_factory=threading.Lock)
    """Who waits for ``writing`` takes it before: the writer never waits, and would be first."""
    writing: threading.Lock = field(default_factory=threading.Lock)

    def run(self, stop: threading.Event) -> None:
        for number in itertools.count():
            if stop.is_set():
                return
            with self.turn:
                pass
            with self.writing:
                self.write(number, stop)

    def write(self, number: int, stop: threading.Event) -> None:
        """One batch; a while later, if it was not taken."""
        batch: list[Put | Increment] = [
            Put(f"cart/{self.name}", str(number)),
            Increment("cart/shared", 1),
            Put(f"other/{number % 5}", "x"),
        ]
        try:
            receipt = self.client.write(batch)
        except OutcomeUnknown:
            return
        except KvnodeError:
            stop.wait(0.05)
            return
        for operation in receipt.receipts[:2]:
            self.acknowledged.append((f"{operation.dot.origin:016x}", operation.dot.seq))

    def known_everywhere(self) -> bool:
        """Whether all that its node wrote is on every node; only while it does not write."""
        try:
            self.client.put("other/last", self.name, durability="all", timeout_s=PATIENCE_S)
        except KvnodeError:  # the node is starting
            return False
        return True


@contextmanager
def load(clients: dict[str, Client]) -> Iterator[list[Writer]]:
    stop = threading.Event()
    writers = [Writer(client, name) for name, client in clients.items()]
    threads = [threading.Thread(target=writer.run, args=(stop,)) for writer in writers]
    for thread in threads:
        thread.start()
    try:
        yield writers
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_read_model_survives_kills_of_itself_and_of_nodes(tmp_path: Path) -> None:
    """Each write is in the file exactly once, and in the end the file is what the nodes show."""
    with LocalCluster(3, directory=tmp_path) as cluster:
        cluster.wait_connected()
        model = Model(tmp_path, ",".join(cluster.endpoints.values()))
        clients = {
            name: Client(address, timeout_s=1) for name, address in cluster.endpoints.items()
        }
        try:
            wait_for(lambda: bool(model.rows("SELECT * FROM place")), "it begins", PATIENCE_S)
            with load(clients) as writers:
                for round_ in range(ROUNDS):
                    befall(round_, cluster, model, writers)
            expected = {
                state.key: ", ".join(sorted(map(str, state.values)))
                for state in assert_same(clients).values()
                if state.key.startswith(b"cart/")
            }
            wait_for(lambda: model.carts() == expected, "the file follows", PATIENCE_S)
            told = set(model.rows("SELECT origin, seq FROM writes"))
            for writer in writers:
                assert len(writer.acknowledged) > ROUNDS
                assert told.issuperset(writer.acknowledged)
        finally:
            model.kill()
            for client in clients.values():
                client.close()
        assert "Traceback" not in model.log.read_text()


def befall(round_: int, cluster: LocalCluster, model: Model, writers: Sequence[Writer]) -> None:
    """What happens while changes flow: the program, then nodes, are killed; links are cut.

    The program follows n1 if it is there.
    """
    flows(model)
    match round_ % 4:
        case 0:
            model.kill()
            model.start()
        case 1:  # others lack what it told last, until it is back
            cluster.kill("n1")
            cluster.start("n1")
        case 2:
            cluster.isolate("n1")
            model.kill()
            cluster.kill("n1")
            model.start()
            cluster.start("n1")
            cluster.heal()
        case _:  # others have all that it told: they need not wait for it
            model.kill()
            model.start()
            flows(model)
            with writers[0].turn, writers[0].writing:
                wait_for(writers[0].known_everywhere, "n1 has written everywhere", PATIENCE_S)
                cluster.kill("n1")
                later = writers[1].client.put(f"cart/later/{round_}", "x").dot
                row = (f"{later.origin:016x}", later.seq)
                query = "SELECT origin, seq FROM writes"
                wait_for(lambda: row in model.rows(query), "another node goes on", PATIENCE_S)
            cluster.start("n1")


def flows(model: Model) -> None:
    """Wait until changes come."""
    before = model.writes()
    wait_for(lambda: model.writes() > before, "changes flow", PATIENCE_S)


def test_a_reader_waits_for_what_it_has_seen_to_reach_its_next_node(
    cluster: LocalCluster, clients: dict[str, Client]
) -> None:
    """The other side of a cut does not have it: it must neither be left out nor told again."""
    here, there = cluster.endpoint("n1"), cluster.endpoint("n2")
    with Watch(here, prefix="moved/", since=BEGINNING, heartbeat_s=0.2) as watch:
        steps = watch.steps()
        next(steps)
        cluster.isolate("n1")
        clients["n1"].put("moved/a", "here")
        clients["n2"].put("moved/b", "there")
        told: list[bytes] = []
        while not told:
            told += [change.key for change in next(steps).changes]
    assert told == [b"moved/a"]
    with grpc.insecure_channel(there) as channel:
        stub: Any = watch_pb2_grpc.WatchesStub(channel)  # type: ignore[no-untyped-call]
        request = watch_pb2.WatchRequest(prefix=b"moved/", since=watch.token, heartbeat_ms=100)
        responses = stub.Watch(request, timeout=PATIENCE_S)
        first = next(responses)
        assert (first.waiting, first.token) == (True, watch.token)
        cluster.heal()
        later = next(response for response in responses if not response.waiting)
        while not later.changes:
            later = next(responses)
        assert [change.state.key for change in later.changes] == [b"moved/b"]
