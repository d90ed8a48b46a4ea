"""A node that runs finds out what is damaged and was not asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from kvnode.config import Config
from kvnode.core.operations import Put
from kvnode.core.replica import Request
from kvnode.node.node import Node
from kvnode.storage.interfaces import StorageError
from tests.storage.faulty import until

KEYS = [b"key %04d" % number for number in range(300)]


def config(path: Path, scrub_first_ms: int = 10_000) -> Config:
    return Config(name="n", data=str(path), listen="127.0.0.1:0", scrub_first_ms=scrub_first_ms)


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 60))


def fill(path: Path) -> None:
    """Keys in the state, and a clean stop."""

    async def write() -> None:
        node = Node(config(path))
        await node.start()
        await node.engine.submit(Request([Put(key, b"value") for key in KEYS], b""), 0)
        await node.close()

    run(write)


def change(path: Path, old: bytes, new: bytes) -> None:
    file = path / "v1" / "state" / "data.mdb"
    raw = file.read_bytes()
    assert old in raw
    file.write_bytes(raw.replace(old, new))


def test_an_entry_under_a_changed_key_is_in_the_status(tmp_path: Path) -> None:
    fill(tmp_path)
    change(tmp_path, b"key 0299", b"key 0399")

    async def look() -> None:
        node = Node(config(tmp_path, scrub_first_ms=1))
        await node.start()
        await until(lambda: bool(node.scrub.looks))
        assert "1 stored entries fail their checksum" in node.status().problem
        await node.close()

    run(look)


def test_files_that_cannot_be_used_stop_the_node_and_its_next_start(tmp_path: Path) -> None:
    """Out of order: whoever asks for the key, or one behind it, may be told it is not there."""
    fill(tmp_path)
    change(tmp_path, b"key 0150", b"key 0950")

    async def look() -> None:
        node = Node(config(tmp_path, scrub_first_ms=1))
        await node.start()
        assert node.read(b"key 0001")
        await node.wait_failed()
        assert isinstance(node.failure, StorageError)
        assert "cannot be found by its key" in str(node.failure)
        await node.close()

    run(look)
    with pytest.raises(StorageError, match=r"is damaged: .* cannot be found"):
        Node(config(tmp_path))


def test_nodes_that_start_together_look_at_different_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So long after the start as is configured, or up to three times that."""
    waits: list[float] = []

    async def sleep(delay_s: float) -> None:
        waits.append(delay_s)
        raise asyncio.CancelledError

    async def look() -> None:
        for _ in range(20):
            node = Node(config(tmp_path))
            await node.start()
            with monkeypatch.context() as patched:
                patched.setattr("kvnode.node.scrub.asyncio", SimpleNamespace(sleep=sleep))
                with pytest.raises(asyncio.CancelledError):
                    await node.scrub.run()
            await node.close()

    run(look)
    assert all(10 <= wait <= 30 for wait in waits)
    assert len(set(waits)) == len(waits) == 20


def test_a_node_that_closes_does_not_wait_for_a_look(tmp_path: Path) -> None:
    fill(tmp_path)

    async def stop() -> None:
        node = Node(config(tmp_path, scrub_first_ms=1))
        await node.start()
        await until(lambda: node.scrub.begun)
        await node.close()
        assert node.failure is None

    run(stop)
    assert not (tmp_path / "LOCK").read_bytes(), "it was a clean stop"
