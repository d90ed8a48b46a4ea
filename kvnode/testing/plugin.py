"""The pytest fixture; installed with kvnode, loaded by pytest itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from kvnode.testing.nodes import LocalNodes


@pytest.fixture
def kvnode_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalNodes]:
    """Three nodes, n1 to n3, in this process; links can be cut and healed.

    Their files are where a later run of pytest clears up, should this one be killed.
    """
    from kvnode.testing.nodes import LocalNodes

    with LocalNodes(3, directory=tmp_path_factory.getbasetemp()) as nodes:
        yield nodes
