"""Stores of both forms as fixtures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kvnode.storage import tail
from tests.storage.stores import LmdbStores, MemoryStores, Stores


@pytest.fixture(params=["lmdb", "lmdb, small tail", "memory"])
def stores(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stores]:
    """With a small tail every third round moves what waits to LMDB."""
    if "small" in request.param:
        monkeypatch.setattr(tail, "TAIL_BYTES", 2 * tail.PAGE_BYTES)
    opened: Stores = MemoryStores() if request.param == "memory" else LmdbStores(tmp_path)
    yield opened
    opened.close()
