"""A file that random writes have left loose is written anew while nobody writes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import lmdb
import pytest

from kvnode.storage import compaction
from kvnode.storage.compaction import dense_bytes, repack_if_loose
from kvnode.storage.environment import Environment
from kvnode.storage.interfaces import DiskFullError, StorageError

TABLES = ("rows", "few", "none")
ROWS = 20_000


def always() -> bool:
    return True


def never() -> bool:
    return False


@pytest.fixture(autouse=True)
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "REPACK_BYTES_MIN", 1 << 20)
    monkeypatch.setattr(compaction, "PIECES", 3)


@pytest.fixture
def env(tmp_path: Path) -> Iterator[Environment]:
    made = opened(tmp_path)
    yield made
    made.close()


def opened(path: Path) -> Environment:
    return Environment(path, TABLES, part="state", origin=1)


def scatter(env: Environment, seed: int, value_bytes: int = 100) -> None:
    """Rows in random order, in several commits, some of them on pages of their own."""
    chance = random.Random(seed)
    for _ in range(8):

        def change(txn: Any) -> None:
            for _ in range(ROWS // 8):
                txn.put(chance.randbytes(16), bytes(value_bytes), db=env.tables["rows"])
            txn.put(b"large %d" % chance.randrange(99), bytes(9_000), db=env.tables["few"])

        env.write(change)


def contents(env: Environment) -> dict[str, list[tuple[bytes, bytes]]]:
    with env.read() as txn:
        return {name: list(txn.cursor(table)) for name, table in env.tables.items()}


def test_a_loose_file_gets_full_pages_and_the_same_rows(env: Environment, tmp_path: Path) -> None:
    scatter(env, 1)
    before, loose = contents(env), env.usage("rows")
    assert repack_if_loose(env, always)
    dense = env.usage("rows")
    assert contents(env) == before
    assert dense.file_bytes < 0.7 * loose.file_bytes
    assert dense.used_bytes > 0.97 * dense.file_bytes
    assert (tmp_path / "data.mdb").stat().st_size == dense.file_bytes
    scatter(env, 2)
    later = contents(env)
    env.close()
    again = opened(tmp_path)
    assert contents(again) == later
    again.close()


def test_once_is_enough(env: Environment) -> None:
    """What is expected of it is what comes of it, or it would be done again and again."""
    scatter(env, 1)
    assert repack_if_loose(env, always)
    assert not repack_if_loose(env, always)


@pytest.mark.parametrize("value_bytes", [0, 100, 500, 3_000])
def test_what_it_would_bring_is_known_for_rows_of_any_size(
    env: Environment, value_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where LMDB puts values on pages of their own."""
    monkeypatch.setattr(compaction, "WASTE_MIN", -9.0)
    scatter(env, 1, value_bytes)
    expected = dense_bytes(env)
    assert repack_if_loose(env, always)
    assert 0.93 * env.file_bytes < expected < 1.07 * env.file_bytes


def test_small_and_dense_files_are_left_alone(env: Environment) -> None:
    scatter(env, 1)
    compaction.REPACK_BYTES_MIN = 1 << 30
    assert not repack_if_loose(env, always)


def test_it_is_given_up_as_soon_as_somebody_wants_to_write(
    env: Environment, tmp_path: Path
) -> None:
    scatter(env, 1)
    before, loose = contents(env), env.usage("rows")
    asked = []

    def for_a_while() -> bool:
        asked.append(True)
        return len(asked) < 10

    for goes_on in (never, for_a_while):
        assert not repack_if_loose(env, goes_on)
    assert len(asked) == 10
    assert (contents(env), env.usage("rows")) == (before, loose)
    assert not (tmp_path / "compact").exists()


def test_readers_go_on_meanwhile(env: Environment) -> None:
    scatter(env, 1)
    counts = []

    def look() -> bool:
        with env.read() as txn:
            counts.append(txn.stat(env.tables["rows"])["entries"])
        return True

    assert repack_if_loose(env, look)
    assert set(counts) == {ROWS}


def test_without_room_for_it_nothing_changes(env: Environment, tmp_path: Path) -> None:
    scatter(env, 1)
    before = contents(env)
    open_ = lmdb.open

    def full(*_: object, **__: object) -> object:
        raise lmdb.DiskError("no space left on device")

    compaction.lmdb.open = full  # type: ignore[attr-defined]
    try:
        assert not repack_if_loose(env, always)
    finally:
        compaction.lmdb.open = open_  # type: ignore[attr-defined]
    assert contents(env) == before
    assert not (tmp_path / "compact").exists()


def test_rows_that_cannot_be_read_are_not_left_out(
    env: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of which a part is gone must not take the place of one that may be mended."""
    scatter(env, 1)
    before = contents(env)

    def short(rows: Iterator[Any], count: int) -> Iterator[Any]:
        return islice(rows, count - 1 if count == compaction.PIECE_ROWS else count)

    monkeypatch.setattr(compaction, "islice", short)
    with pytest.raises(StorageError, match="a table of 20000 rows"):
        repack_if_loose(env, always)
    assert contents(env) == before


def test_compaction_without_room_is_put_off(
    env: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    scatter(env, 1)

    def full(_: Path) -> None:
        raise DiskFullError("no room")

    monkeypatch.setattr(env, "copy", full)
    monkeypatch.setattr(compaction, "COMPACT_BYTES_MIN", 0)
    assert not compaction.compact_if_wasteful(env, 0.0)
