"""Fixtures of the client's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kvnode import Client
from tests.client.scripted import ScriptedNode, scripted_node
from tests.node.process import NodeProcess


@pytest.fixture
def node() -> Iterator[ScriptedNode]:
    """A node that answers everything with success until its script says otherwise."""
    with scripted_node() as found:
        yield found


@pytest.fixture
def client(node: ScriptedNode) -> Iterator[Client]:
    """A client of that node."""
    with Client(node.address, timeout_s=5) as found:
        yield found


@pytest.fixture
def other() -> Iterator[ScriptedNode]:
    """A second node."""
    with scripted_node() as found:
        yield found


@pytest.fixture
def both(node: ScriptedNode, other: ScriptedNode) -> Iterator[Client]:
    """A client of ``node``, then ``other``."""
    with Client([node.address, other.address], timeout_s=4) as found:
        yield found


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., NodeProcess]]:
    """Starts processes over one directory; whatever happens, none is left."""
    processes: list[NodeProcess] = []

    def run(*options: str, listen: str = "127.0.0.1:0") -> NodeProcess:
        processes.append(NodeProcess(tmp_path / "data", *options, listen=listen))
        return processes[-1].ready()

    try:
        yield run
    finally:
        for process in processes:
            process.kill()


@pytest.fixture
def process(start: Callable[..., NodeProcess]) -> NodeProcess:
    """A node."""
    return start()
