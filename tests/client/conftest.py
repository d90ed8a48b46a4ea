"""Fixtures of the client's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kvnode import Client
from tests.client.scripted import ScriptedNode, scripted_node


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
