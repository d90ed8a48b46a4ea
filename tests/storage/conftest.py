"""Stores of both forms as fixtures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.storage.stores import LmdbStores, MemoryStores, Stores


@pytest.fixture(params=["lmdb", "memory"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stores]:
    opened: Stores = LmdbStores(tmp_path) if request.param == "lmdb" else MemoryStores()
    yield opened
    opened.close()
