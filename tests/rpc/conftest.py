"""Real nodes, reached over gRPC."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.node.process import NodeProcess

from .api import Api

CLUSTER = "testing"
PEERS = ("--found", "--peer", "impostor=127.0.0.1:9")
"""The node takes pushes from members only; at this address nobody answers."""


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """The node that most tests share. Whatever they ask of it, it logs no error and stops well."""
    folder = tmp_path_factory.mktemp("shared")
    found = NodeProcess(folder / "data", "--cluster", CLUSTER, "--name", "shared", *PEERS)
    try:
        yield found.ready()
        found.stop()
    finally:
        found.kill()


@pytest.fixture(scope="session")
def api(node: NodeProcess) -> Iterator[Api]:
    """Its API."""
    found = Api(node.address)
    yield found
    found.close()


@pytest.fixture
def key(request: pytest.FixtureRequest) -> bytes:
    """A key that no other test uses."""
    name: str = request.node.nodeid
    return name.encode()[-300:]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., tuple[NodeProcess, Api]]]:
    """Starts nodes for one test only, each in the folder named; again after a stop."""
    processes: list[NodeProcess] = []
    apis: list[Api] = []

    def run(folder: str = "own", *options: str) -> tuple[NodeProcess, Api]:
        process = NodeProcess(tmp_path / folder, "--cluster", CLUSTER, *PEERS, *options)
        processes.append(process)
        apis.append(Api(process.ready().address))
        return process, apis[-1]

    try:
        yield run
    finally:
        for api in apis:
            api.close()
        for process in processes:
            process.kill()
