"""Replies that never reach the client, on a real node: retries are recognised, none counts twice.

P5, trap 17 (riak-python-client 255): other stores' clients repeat such a write and count it again.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cluster.processes import LocalCluster
from kvnode import Client, NodeUnavailable, OutcomeUnknown

pytestmark = pytest.mark.cluster

INCREMENTS = 10_000
CALLERS = 8
LOSS = 0.03
"""Of the chunks a node sends, the share that is thrown away together with its connection."""


class LossyDoor:
    """A TCP proxy in front of one node; requests always pass, replies are lost now and then."""

    def __init__(self, endpoint: str) -> None:
        host, _, port = endpoint.rpartition(":")
        self.lost = 0
        self._node = (host, int(port))
        self._chance = random.Random(1)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"127.0.0.1:{self._server.getsockname()[1]}"
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        """Close every connection and wait for the threads."""
        for each in (self._server, *self._open):
            with contextlib.suppress(OSError):  # the other side may have gone first
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for each in (self._server, *self._open):
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:  # closed
                return
            node = socket.create_connection(self._node)
            self._open += (client, node)
            for source, target, lossy in ((client, node, False), (node, client, True)):
                thread = threading.Thread(target=self._pass, args=(source, target, lossy))
                self._threads.append(thread)
                thread.start()

    def _pass(self, source: socket.socket, target: socket.socket, lossy: bool) -> None:  # noqa: FBT001
        with contextlib.suppress(OSError):  # either side may end the connection
            while chunk := source.recv(65536):
                if lossy and self._chance.random() < LOSS:
                    self.lost += 1
                    break
                target.sendall(chunk)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def door(tmp_path: Path) -> Iterator[tuple[LossyDoor, str]]:
    """A node behind a lossy door, and its address without it."""
    with LocalCluster(1, directory=tmp_path) as cluster:
        lossy = LossyDoor(cluster.endpoint("n1"))
        try:
            yield lossy, cluster.endpoint("n1")
        finally:
            lossy.close()


def add(client: Client, times: int) -> int:
    """How many of so many increments were repeated ones: done at an earlier request."""
    repeated = 0
    for _ in range(times):
        request_id = os.urandom(16)
        receipt = None
        while receipt is None:
            # asked again under the same id; the second is certain that nothing was done
            with contextlib.suppress(OutcomeUnknown, NodeUnavailable):
                receipt = client.increment("count", 1, request_id=request_id)
        repeated += receipt.repeated
    return repeated


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_increments_whose_replies_are_lost_count_once(door: tuple[LossyDoor, str]) -> None:
    lossy, direct = door
    with Client(lossy.endpoint) as client, ThreadPoolExecutor(CALLERS) as callers:
        parts = [callers.submit(add, client, INCREMENTS // CALLERS) for _ in range(CALLERS)]
        repeated = sum(part.result() for part in parts)
    with Client(direct) as client:
        assert client.get("count").one().counter == INCREMENTS
    assert lossy.lost > 20, f"only {lossy.lost} connections lost a reply"
    assert repeated > 20, f"only {repeated} lost replies were those of writes"
