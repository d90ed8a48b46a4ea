"""A disk that fails while a node starts ends the start: nobody waits for what will not come."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from kvnode.config import Config
from kvnode.node.engine import Engine
from kvnode.node.node import Node
from kvnode.storage.interfaces import StorageError


def test_a_start_ends_when_the_roster_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It used to wait for ever: not serving, and not ending either."""

    def fails(_name: bytes, _value: bytes) -> None:
        raise StorageError("input/output error")

    async def start() -> None:
        node = Node(Config(data=str(tmp_path / "data"), listen="127.0.0.1:0"))
        monkeypatch.setattr(node.directory.log, "put_record", fails)
        try:
            await asyncio.wait_for(node.start(), 100)
            await asyncio.wait_for(node.wait_failed(), 100)
            assert isinstance(node.failure, StorageError)
        finally:
            await node.close()

    asyncio.run(start())


def test_a_start_that_finds_something_wrong_is_no_clean_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_engine: Engine, *_: object) -> None:
        raise StorageError("pages")

    monkeypatch.setattr(Engine, "__init__", fails)
    with pytest.raises(StorageError, match="pages"):
        Node(Config(data=str(tmp_path / "data")))
    assert (tmp_path / "data" / "LOCK").read_text().endswith("suspect")
