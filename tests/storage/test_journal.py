"""The loser journal on disk and in memory: bounded, numbered, and whole after a crash."""

from __future__ import annotations

import pytest

from kvnode.config import Config
from kvnode.core.losers import Loser
from kvnode.core.operations import Put
from kvnode.core.types import LWW_REGISTER
from kvnode.node.journal import Journal
from kvnode.storage.interfaces import DiskFullError, StateStore
from kvnode.storage.memory import MemoryState
from tests.core.memory_node import MemoryNode
from tests.storage.rig import CONFIG, Rig, checkpoint, rig, run
from tests.storage.stores import Stores
from tests.storage.test_state import checkpoint as saved


def loser(number: int, value: bytes = b"lost") -> Loser:
    return Loser(
        b"key %d" % number, value, number << 16, (1, number), 9 << 16, (2, 5), winner_deleted=True
    )


def journal(state: StateStore, rows_max: int = 100, bytes_max: int = 1 << 22) -> Journal:
    return Journal(state, rows_max=rows_max, bytes_max=bytes_max)


def save(state: StateStore, rows: Journal) -> None:
    """As a checkpoint does."""
    made = saved()
    made.journal, made.journal_floor = rows.unsaved(), rows.floor
    state.save(made)
    rows.saved(made.journal)


def everything(rows: Journal) -> list[tuple[int, Loser]]:
    return rows.page(b"", 0, 1000, 1 << 30)[0]


def test_rows_come_back_under_their_numbers(stores: Stores) -> None:
    rows = journal(stores.state)
    rows.add([loser(1), loser(2, bytes(1 << 20))])
    save(stores.state, rows)
    assert rows.unsaved() == []
    rows.add([loser(3)])
    before = everything(rows)
    assert [number for number, _ in before] == [3, 2, 1]
    save(stores.state, rows)
    stores.reopen()
    again = journal(stores.state)
    assert everything(again) == before
    again.add([loser(4)])
    assert everything(again)[0] == (4, loser(4))


def test_the_oldest_go(stores: Stores) -> None:
    rows = journal(stores.state, rows_max=3)
    rows.add(map(loser, range(1, 3)))
    save(stores.state, rows)
    rows.add(map(loser, range(3, 6)))
    assert [number for number, _ in everything(rows)] == [5, 4, 3]
    assert rows.get(1) is None
    save(stores.state, rows)
    stores.reopen()
    assert [number for number, _ in stores.state.rows("journal")] == [3, 4, 5]


def test_bytes_are_bounded_too_but_the_newest_row_stays() -> None:
    rows = journal(MemoryState(), bytes_max=1000)
    rows.add(loser(number, bytes(300)) for number in range(1, 20))
    assert [number for number, _ in everything(rows)] == [19, 18]
    rows.add([loser(20, bytes(5000))])
    assert [number for number, _ in everything(rows)] == [20]


def test_pages_are_bounded_and_go_on_where_the_last_ended() -> None:
    rows = journal(MemoryState())
    rows.add(map(loser, range(1, 8)))
    seen: list[int] = []
    before, pages = 0, 0
    while pages == 0 or before:
        page, before = rows.page(b"key", before, 3, 1 << 20)
        seen += [number for number, _ in page]
        pages += 1
    assert (seen, pages) == ([7, 6, 5, 4, 3, 2, 1], 3)
    assert [number for number, _ in rows.page(b"key 4", 0, 3, 1 << 20)[0]] == [4]
    assert len(rows.page(b"", 0, 100, 1)[0]) == 1


def test_a_damaged_row_is_left_out_and_said(
    stores: Stores, caplog: pytest.LogCaptureFixture
) -> None:
    rows = journal(stores.state)
    rows.add(map(loser, range(1, 4)))
    save(stores.state, rows)
    raw = stores.state.row("journal", 2)
    assert raw is not None
    stores.state.put_rows("journal", {2: raw[:-1] + bytes([raw[-1] ^ 1])})
    assert [number for number, _ in everything(journal(stores.state))] == [3, 1]
    assert "row 2 of the loser journal is left out" in caplog.text


async def lose(node: Rig, mark: int) -> None:
    """Two writers who did not know of each other, both heard of here."""
    early, late = MemoryNode(2 * mark), MemoryNode(2 * mark + 1)
    early.write(Put(b"k", b"early %d" % mark, LWW_REGISTER), wall_ms=1_000_000 + mark)
    late.write(Put(b"k", b"late %d" % mark, LWW_REGISTER), wall_ms=2_000_000 + mark)
    await node.engine.receive([late.last_block, early.last_block])


@pytest.mark.parametrize("checkpoints_after", [(), (1,), (2,), (1, 2, 3)])
def test_a_crash_loses_no_row_and_renumbers_none(
    stores: Stores, checkpoints_after: tuple[int, ...]
) -> None:
    """Rows behind the checkpoint come back from the log."""

    async def test() -> None:
        node = rig(stores.log, stores.state)
        for mark in (1, 2, 3):
            await lose(node, mark)
            if mark in checkpoints_after:
                await checkpoint(node.engine)
        before = everything(node.engine.journal)
        assert [lost.value for _, lost in before] == [
            b"early 3", b"late 2", b"early 2", b"late 1", b"early 1",
        ]  # fmt: skip
        stores.reopen()
        again = rig(stores.log, stores.state)
        assert everything(again.engine.journal) == before
        await again.engine.close()

    run(test)


def test_rows_of_a_failed_checkpoint_wait_for_the_next(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        state = MemoryState()
        node = rig(state=state)
        await lose(node, 1)
        state.full = True
        await checkpoint(node.engine)
        assert "put off" in caplog.text
        state.full = False
        assert not list(state.rows("journal"))
        await checkpoint(node.engine)
        assert len(list(state.rows("journal"))) == len(node.engine.journal) == 1
        await node.engine.close()

    run(test)


def test_lost_values_count_for_the_next_checkpoint() -> None:
    """Small writes can displace large values: memory must not grow behind the bounds."""

    async def test() -> None:
        node = rig(config=Config(checkpoint_interval_ms=CONFIG.checkpoint_interval_ms))
        large, small = MemoryNode(1), MemoryNode(2)
        large.write(Put(b"k", bytes(500_000), LWW_REGISTER), wall_ms=1_000_000)
        small.write(Put(b"k", b"", LWW_REGISTER), wall_ms=2_000_000)
        await node.engine.receive([large.last_block])
        await checkpoint(node.engine)
        await node.engine.receive([small.last_block])
        assert node.engine.memtable.bytes_held > 500_000
        await node.engine.close()

    run(test)


def test_rows_are_written_apart_from_checkpoints(stores: Stores) -> None:
    """What the quarantine uses."""
    state = stores.state
    state.put_rows("quarantine", {2: b"two", 10: b"ten", 300: b"gone"})
    state.put_rows("quarantine", {300: None, 4: None})
    stores.reopen()
    assert list(stores.state.rows("quarantine")) == [(2, b"two"), (10, b"ten")]
    assert stores.state.row("quarantine", 10) == b"ten"
    assert stores.state.row("quarantine", 300) is None
    assert stores.state.row("journal", 2) is None


def test_a_full_disk_keeps_the_rows_as_they_were() -> None:
    state = MemoryState()
    state.put_rows("quarantine", {1: b"one"})
    state.full = True
    with pytest.raises(DiskFullError):
        state.put_rows("quarantine", {1: None})
    assert list(state.rows("quarantine")) == [(1, b"one")]
