"""The state store, over LMDB and in memory: what a checkpoint keeps, and that it is one thing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from kvnode.core.entry import Entry, encode_entry
from kvnode.core.operations import Delete, Increment, Put
from kvnode.core.replica import Durable
from kvnode.core.requests import Remembered, RequestWindow
from kvnode.core.types import LWW_REGISTER
from kvnode.storage import entry_rows, environment
from kvnode.storage.interfaces import Checkpoint, DiskFullError, StorageError
from kvnode.storage.memory import MemoryState
from kvnode.storage.memtable import Memtable
from kvnode.storage.state import LmdbState
from tests.core.memory_node import MemoryNode
from tests.storage.stores import ORIGIN, Stores

WINDOW = 100


def durable(**changes: object) -> Durable:
    made = Durable(
        RequestWindow(WINDOW),
        vector={ORIGIN: 7, 1: 2**40},
        chains={ORIGIN: b"a" * 16, 1: b"b" * 16},
        hlc=(1 << 62) + 5,
        forks={3: "it does not fit"},
        fence="an old copy was put back",
        reports={1: {ORIGIN: 5, 1: 2**40}, 4: {}},
    )
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def checkpoint(
    entries: dict[bytes, Entry] | None = None,
    *,
    arrival: int = 42,
    requests: list[tuple[bytes, Remembered]] | None = None,
    forgotten: Sequence[int] = (),
) -> Checkpoint:
    return Checkpoint(
        arrival, durable(), {ORIGIN: "ewr", 1: "jfk"}, entries or {}, [*(requests or [])], forgotten
    )


def remembered(number: int) -> tuple[bytes, Remembered]:
    return number.to_bytes(16, "big"), Remembered(number, ORIGIN, 10 * number, 3)


def test_a_new_store_has_no_checkpoint(stores: Stores) -> None:
    assert stores.state.load(WINDOW) is None
    assert stores.state.get(b"k") is None
    assert stores.state.keys(b"", b"", 10, conflicts=False) == []


def test_everything_replay_cannot_rebuild_comes_back(stores: Stores) -> None:
    stores.state.save(checkpoint())
    stores.reopen()
    loaded = stores.state.load(WINDOW)
    assert loaded is not None
    assert loaded.arrival == 42
    assert loaded.names == {ORIGIN: "ewr", 1: "jfk"}
    expected = durable(requests=loaded.durable.requests)
    assert loaded.durable == expected


def test_the_latest_checkpoint_counts(stores: Stores) -> None:
    stores.state.save(checkpoint(arrival=1))
    stores.state.save(checkpoint(arrival=2))
    loaded = stores.state.load(WINDOW)
    assert loaded is not None
    assert loaded.arrival == 2


def entries_of(node: MemoryNode, *keys: bytes) -> dict[bytes, Entry]:
    return {key: node.entry(key) for key in keys}


def written() -> MemoryNode:
    node = MemoryNode(ORIGIN)
    node.write(Put(b"a", b"1"), Put(b"b", b"1"), Increment(b"c", -5), Put(b"d", b"", LWW_REGISTER))
    node.write(Put(b"b", b"2", blind=True))
    return node


def test_entries_come_back_and_empty_ones_go(stores: Stores) -> None:
    node = written()
    entries = entries_of(node, b"a", b"b", b"c", b"d")
    stores.state.save(checkpoint(entries))
    stores.reopen()
    assert {key: stores.state.get(key) for key in entries} == entries
    assert stores.state.usage().records == 4
    raws = stores.state.get_many([b"d", b"absent", b"a"])
    assert raws == [encode_entry(entries[b"d"], b"d"), None, encode_entry(entries[b"a"], b"a")]
    node.write(Delete(b"a"), Put(b"b", b"3"))
    stores.state.save(checkpoint(entries_of(node, b"a", b"b")))
    stores.reopen()
    assert stores.state.get(b"a") is None
    assert stores.state.get(b"b") == node.entry(b"b")
    assert stores.state.keys(b"", b"", 10, conflicts=False) == [b"b", b"c", b"d"]


def test_many_large_entries_are_not_read_all_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entry_rows, "READ_BYTES_MAX", 3_000)
    node = MemoryNode(ORIGIN)
    keys = [b"%d" % number for number in range(9)]
    node.write(*(Put(key, bytes(1_000)) for key in keys))
    state = LmdbState(tmp_path, ORIGIN)
    state.save(checkpoint(entries_of(node, *keys)))
    assert len(state.get_many(keys)) == 3
    memtable = Memtable(state)
    assert memtable.read_many(keys) == entries_of(node, *keys[:3])
    assert memtable.read(keys[8]) == node.entry(keys[8])
    state.close()


def test_keys_are_ranges_in_order(stores: Stores) -> None:
    node = MemoryNode(ORIGIN)
    keys = sorted([b"\0", b"\0\0", b"a", b"a\0", b"ab", b"b", b"\xff", b"\xff\xff"])
    node.write(*(Put(key, b"v") for key in keys))
    stores.state.save(checkpoint(entries_of(node, *keys)))
    bounds = [b"", *keys, b"aa", b"\xff\xff\xff"]
    for start in bounds:
        for end in bounds:
            for limit in (1, 3, 100):
                wanted = [k for k in keys if k >= start and (not end or k < end)][:limit]
                assert stores.state.keys(start, end, limit, conflicts=False) == wanted


def test_conflicts_are_marked_while_they_last(stores: Stores) -> None:
    node = written()
    stores.state.save(checkpoint(entries_of(node, b"a", b"b", b"c", b"d")))
    assert stores.state.keys(b"", b"", 10, conflicts=True) == [b"b"]
    node.write(Put(b"a", b"2", blind=True), Put(b"b", b"resolved"))
    stores.state.save(checkpoint(entries_of(node, b"a", b"b")))
    stores.reopen()
    assert stores.state.keys(b"", b"", 10, conflicts=True) == [b"a"]
    node.write(Delete(b"a"))
    stores.state.save(checkpoint(entries_of(node, b"a")))
    assert stores.state.keys(b"", b"", 10, conflicts=True) == []


def test_request_ids_are_added_kept_and_forgotten(stores: Stores) -> None:
    stores.state.save(checkpoint(requests=[remembered(n) for n in (1, 2, 3)]))
    stores.reopen()
    stores.state.save(checkpoint(requests=[remembered(4)], forgotten=[1, 2]))
    stores.reopen()
    loaded = stores.state.load(WINDOW)
    assert loaded is not None
    assert loaded.requests == [remembered(3), remembered(4)]
    window = loaded.durable.requests
    assert window.all() == [remembered(3), remembered(4)]
    assert window.next_number == 5


def test_a_smaller_window_keeps_the_newest_request_ids(stores: Stores) -> None:
    stores.state.save(checkpoint(requests=[remembered(n) for n in range(1, 11)]))
    loaded = stores.state.load(4)
    assert loaded is not None
    assert loaded.durable.requests.all() == [remembered(n) for n in (7, 8, 9, 10)]


def test_what_waits_for_collection_is_found_by_the_deletes_dots(stores: Stores) -> None:
    node, other = MemoryNode(ORIGIN), MemoryNode(1)
    node.write(*(Put(b"r%d" % number, b"1", LWW_REGISTER) for number in range(5)))
    other.write(Increment(b"c", 5))
    node.pull(other)
    node.write(*(Delete(b"r%d" % number) for number in range(4)), Delete(b"c"))
    stores.state.save(checkpoint(node.entries()))
    stores.reopen()
    everything = {ORIGIN: 99, 1: 99, 0: 99, 2**64 - 1: 99}
    rows = [((ORIGIN, 6 + number), b"r%d" % number) for number in range(4)]
    rows.append(((ORIGIN, 10), b"c"))
    assert stores.state.garbage(everything, 100) == rows
    assert stores.state.garbage({ORIGIN: 8, 1: 1}, 100) == rows[:3]
    assert stores.state.garbage({1: 99}, 100) == []
    assert stores.state.garbage(everything, 2) == rows[:2]
    assert stores.state.garbage(everything, 2, rows[1][0]) == rows[2:4]
    assert stores.state.garbage(everything, 2, rows[4][0]) == []
    assert stores.state.waiting() == {ORIGIN: 5}


def test_a_collected_row_goes_and_one_that_still_waits_stays(stores: Stores) -> None:
    """A round on its way to disk may put back what was collected: its row must come back too."""
    node = MemoryNode(ORIGIN)
    node.write(Put(b"a", b"1", LWW_REGISTER), Put(b"b", b"1", LWW_REGISTER))
    node.write(Delete(b"a"), Delete(b"b"))
    stores.state.save(checkpoint(node.entries()))
    looked = checkpoint({b"a": {}, b"b": node.entry(b"b")})
    looked.collected = [(ORIGIN, 3), (ORIGIN, 4), (ORIGIN, 77)]
    stores.state.save(looked)
    stores.reopen()
    assert stores.state.garbage({ORIGIN: 99}, 100) == [((ORIGIN, 4), b"b")]
    assert stores.state.waiting() == {ORIGIN: 1}
    assert stores.state.get(b"a") is None


# ---- what only one of them does


def test_a_full_memory_state_keeps_the_checkpoint_before() -> None:
    state = MemoryState()
    state.save(checkpoint(arrival=1))
    state.full = True
    with pytest.raises(DiskFullError):
        state.save(checkpoint(arrival=2))
    loaded = state.load(WINDOW)
    assert loaded is not None
    assert loaded.arrival == 1


def test_the_map_grows_with_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "MAP_BYTES_START", 64 << 10)
    state = LmdbState(tmp_path, ORIGIN)
    node = MemoryNode(ORIGIN)
    keys = [b"%d" % number for number in range(200)]
    node.write(*(Put(key, bytes(5000)) for key in keys))
    state.save(checkpoint(entries_of(node, *keys)))
    assert state.usage().map_bytes > 1 << 20
    assert all(state.get(key) == node.entry(key) for key in keys)
    state.close()


def test_a_state_of_another_origin_is_refused(tmp_path: Path) -> None:
    LmdbState(tmp_path, ORIGIN).close()
    with pytest.raises(StorageError, match="directories were mixed up"):
        LmdbState(tmp_path, 1)


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    state = LmdbState(tmp_path, ORIGIN)
    state.save(checkpoint())
    state.close()
    file = tmp_path / "data.mdb"
    raw = file.read_bytes()
    assert raw.count(b"an old copy was put back") == 1
    file.write_bytes(raw.replace(b"an old copy was put back", b"an old copy was put bacK"))
    state = LmdbState(tmp_path, ORIGIN)
    with pytest.raises(StorageError, match="damaged"):
        state.load(WINDOW)
    state.close()
