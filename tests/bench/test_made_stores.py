"""Files that were put together are those of a node that has it all in a checkpoint."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bench import made_stores
from bench.made_stores import add_entries, add_keys, opened, recovered


def test_keys_and_log_entries_are_as_many_as_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(made_stores, "STAGE", 8)
    told: list[str] = []

    async def make() -> tuple[int, int, int]:
        await add_keys(tmp_path / "data", 25, 10, told.append)
        await add_entries(tmp_path / "data", 20, told.append)
        directory = opened(tmp_path / "data")
        engine = recovered(directory)
        (seq,) = engine.vector.values()
        found = directory.log.last_arrival, engine.replayed, seq
        await engine.close()
        directory.close()
        return found

    entries, replayed, operations = asyncio.run(make())
    assert entries == 3 + 20
    assert replayed == 0
    assert operations == 25 + 20
    assert told
