"""The log's floor, over LMDB and in memory: what leaves it, what is told of that, what stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb
import pytest

from kvnode.core.block import block_head, decode_block
from kvnode.core.dots import Vector
from kvnode.core.operations import Put
from kvnode.storage import environment
from kvnode.storage import log as log_module
from kvnode.storage.environment import Environment
from kvnode.storage.interfaces import Behind, BelowFloor, DiskFullError, StorageError
from kvnode.storage.log import LmdbLog
from kvnode.storage.tailed_log import TailedLog
from tests.core.memory_node import MemoryNode
from tests.storage.stores import ORIGIN, Stores, history

BLOCKS = history()
RAWS = [block.raw for block in BLOCKS]
END = {block.origin: block.last_seq for block in BLOCKS}
ALL = 2**63 - 1


def vector_at(arrival: int) -> Vector:
    """What a replica has that stopped after so many blocks."""
    return {block.origin: block.last_seq for block in BLOCKS[:arrival]}


def test_a_blocks_head_is_read_without_its_operations() -> None:
    for block in BLOCKS:
        assert block_head(block.raw[:64]) == (block.end, block.wall_ms)


def test_cut_removes_a_prefix_and_raises_the_floor(stores: Stores) -> None:
    log = stores.log
    log.append(BLOCKS)
    for upto in (0, 1, 5, 3, len(BLOCKS)):
        kept = max(upto, log.first_arrival - 1)
        assert log.cut(upto) == log.first_arrival == kept + 1
        for reopened in (False, True):
            if reopened:
                stores.reopen()
                log = stores.log
            assert log.floor == vector_at(kept)
            assert (log.first_arrival, log.last_arrival) == (kept + 1, len(BLOCKS))
            assert list(log.replay(kept)) == list(enumerate(RAWS, 1))[kept:]
            assert log.usage().records == len(BLOCKS) - kept
            assert all(log.chain_at(block.end) == block.chain for block in BLOCKS)


def test_numbers_go_on_when_everything_was_cut(stores: Stores) -> None:
    """With no block left the last arrival number stands in the bounds alone."""
    stores.log.append(BLOCKS[:7])
    stores.log.cut(7)
    stores.reopen()
    stores.log.append(BLOCKS[7:])
    stores.reopen()
    assert list(stores.log.replay(7)) == list(enumerate(RAWS, 1))[7:]


def test_replay_from_before_the_floor_is_refused(stores: Stores) -> None:
    """State and log do not belong together then; going on would leave writes out."""
    stores.log.append(BLOCKS)
    stores.log.cut(3)
    with pytest.raises(StorageError, match="block 3 has left the log"):
        list(stores.log.replay(2))
    stores.log.cut(len(BLOCKS))
    with pytest.raises(StorageError, match="block 1 has left the log"):
        list(stores.log.replay(0))


@pytest.mark.parametrize("upto", [1, 4, len(BLOCKS)])
def test_trap_12_a_peer_below_the_floor_is_told_never_served_a_hole(
    stores: Stores, upto: int
) -> None:
    """Trap 12 "log cut past a lagging peer without telling it" (antidote 457, KeyDB 111)."""
    stores.log.append(BLOCKS)
    stores.log.cut(upto)
    for arrival in range(len(BLOCKS) + 1):
        vector = vector_at(arrival)
        below = {o for o, seq in stores.log.floor.items() if vector.get(o, 0) < seq}
        if below:
            with pytest.raises(BelowFloor) as told:
                stores.log.lacking(vector, 1 << 20)
            assert told.value.origin in below
            assert told.value.floor == stores.log.floor[told.value.origin]
            vector |= dict.fromkeys(below, ALL)  # does not ask for these
        wanted = [b.raw for b in BLOCKS if b.last_seq > vector.get(b.origin, 0)]
        assert stores.log.lacking(vector, 1 << 20) == (wanted, True)


def test_behind_counts_what_lacking_would_send(stores: Stores) -> None:
    stores.log.append(BLOCKS[:9])
    stores.reopen()
    stores.log.append(BLOCKS[9:])
    for upto in (0, 2, 8):
        stores.log.cut(upto)
        floor = stores.log.floor
        for arrival in range(len(BLOCKS) + 1):
            vector = vector_at(arrival)
            lacked = [
                b
                for b in BLOCKS
                if b.last_seq > max(vector.get(b.origin, 0), floor.get(b.origin, 0))
            ]
            oldest = min((b.wall_ms for b in lacked), default=None)
            assert stores.log.behind(vector) == Behind(sum(len(b.raw) for b in lacked), oldest)


def test_behind_knows_the_oldest_wall_time(stores: Stores) -> None:
    node = MemoryNode(5)
    for wall_ms in (1000, 2000, 3000):
        node.write(Put(b"k", b"v"), wall_ms=wall_ms)
    stores.log.append([decode_block(raw) for _, raw in node.log.replay(0)])
    assert stores.log.behind({5: 1}).oldest_wall_ms == 2000
    stores.log.cut(2)
    assert stores.log.behind({}).oldest_wall_ms == 3000
    assert stores.log.behind({5: 3}) == Behind(0, None)


def test_heads_tell_of_blocks_from_outside(stores: Stores) -> None:
    stores.log.append(BLOCKS)
    stores.log.cut(2)
    heads = stores.log.heads(2, 5)
    assert heads == stores.log.heads(0, 5)
    assert [(h.arrival, h.end, h.bytes, h.wall_ms) for h in heads] == [
        (arrival, b.end, len(b.raw), b.wall_ms) for arrival, b in enumerate(BLOCKS[2:7], 3)
    ]


def test_ends_are_all_rows_at_or_behind_a_vector(stores: Stores) -> None:
    stores.log.append(BLOCKS)
    stores.log.cut(5)
    rows = sorted((block.end, block.chain) for block in BLOCKS)
    for arrival in (0, 3, len(BLOCKS)):
        after = vector_at(arrival)
        wanted = [row for row in rows if row[0][1] >= after.get(row[0][0], 0)]
        assert list(stores.log.ends(after)) == wanted


def test_ends_reads_more_rows_than_fit_one_transaction(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "ENDS_ROWS", 2)
    stores.log.append(BLOCKS)
    assert list(stores.log.ends({})) == sorted((block.end, block.chain) for block in BLOCKS)


def test_prune_forgets_ends_below_the_stable_vector_whose_blocks_are_cut(stores: Stores) -> None:
    stores.log.append(BLOCKS)
    assert stores.log.prune(END) == 0, "nothing is cut"
    stores.log.cut(6)
    stable = vector_at(8)
    gone = [b for b in BLOCKS[:6] if b.last_seq < stable[b.origin]]
    assert stores.log.prune(stable) == len(gone) > 0
    assert stores.log.prune(stable) == 0
    for reopened in (False, True):
        if reopened:
            stores.reopen()
        for block in BLOCKS:
            known = stores.log.chain_at(block.end)
            assert known == (None if block in gone else block.chain)
            assert block not in gone or block.last_seq < stores.log.pruned[block.origin]
        assert all(seq <= stable[origin] for origin, seq in stores.log.pruned.items())
        assert stores.log.lacking(vector_at(6), 1 << 20) == (RAWS[6:], True)


def test_cutting_and_pruning_are_bounded_per_call(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit waits for the log's one thread."""
    if isinstance(stores.log, TailedLog):
        monkeypatch.setattr(log_module, "CUT_BLOCKS", 2)
        monkeypatch.setattr(log_module, "PRUNE_ROWS", 2)
        stores.log.append(BLOCKS)
        assert stores.log.cut(5) == 3
        assert stores.log.cut(5) == 5
        assert stores.log.cut(5) == 6
        assert stores.log.floor == vector_at(5)
        stores.log.cut(len(BLOCKS))
        assert 0 < stores.log.prune(END) <= 2


def test_adopt_takes_over_floor_and_chains_of_a_snapshot(stores: Stores) -> None:
    """The receiver had 3 blocks; the snapshot stands for the first 9 and knows ends from 5 on."""
    stores.log.append(BLOCKS[:3])
    rows = [(block.end, block.chain) for block in BLOCKS[4:9]]
    stores.log.adopt(vector_at(9), [*rows, (BLOCKS[0].end, b"another history!")])
    for reopened in (False, True):
        if reopened:
            stores.reopen()
        assert stores.log.floor == vector_at(9)
        assert stores.log.last_arrival == 3
        for block in BLOCKS[4:9]:
            assert stores.log.chain_at(block.end) == block.chain
        assert stores.log.chain_at(BLOCKS[0].end) == BLOCKS[0].chain, "kept as it was"
        unknown = BLOCKS[3]
        assert stores.log.chain_at(unknown.end) is None
        assert unknown.last_seq < stores.log.pruned[unknown.origin]
    stores.log.append(BLOCKS[9:])
    assert stores.log.last_arrival == len(BLOCKS) - 6
    assert stores.log.lacking(vector_at(9), 1 << 20) == (RAWS[9:], True)
    with pytest.raises(BelowFloor):
        stores.log.lacking(vector_at(8), 1 << 20)
    size = sum(len(raw) for raw in RAWS[9:])
    assert stores.log.behind(vector_at(3)).bytes == size
    assert stores.log.cut(3) == 4
    gone = [b.end for b in (*BLOCKS[:3], *BLOCKS[4:9]) if b.last_seq < vector_at(9)[b.origin]]
    assert stores.log.prune(vector_at(9)) == len(gone) > 3
    assert not any(map(stores.log.chain_at, gone))
    stores.log.adopt({}, [])
    assert stores.log.floor == vector_at(9), "the floor never falls"


def test_adopting_a_row_above_the_floor_is_refused(stores: Stores) -> None:
    """It would be a block that is neither here nor told of."""
    stores.log.append(BLOCKS[:1])
    with pytest.raises(ValueError, match="above the floor"):
        stores.log.adopt({5: 7}, [((5, 8), bytes(16))])
    assert stores.log.floor == {}


def test_an_empty_log_adopts_a_snapshot_and_goes_on(stores: Stores) -> None:
    stores.log.adopt(vector_at(9), [])
    assert stores.log.pruned == {origin: seq + 1 for origin, seq in vector_at(9).items()}
    stores.log.append(BLOCKS[9:])
    stores.reopen()
    assert list(stores.log.replay(0)) == list(enumerate(RAWS[9:], 1))


def test_records_are_kept_beside_the_log(stores: Stores) -> None:
    assert stores.log.get_record(b"roster") is None
    stores.log.put_record(b"roster", b"one")
    stores.log.put_record(b"roster", b"two")
    stores.reopen()
    assert stores.log.get_record(b"roster") == b"two"
    assert stores.log.get_record(b"owner") is None, "names of records are their own"


# ---- LMDB alone


class DiesBeforeCommit(Exception):
    """The process is gone before the transaction is on disk."""


@pytest.mark.parametrize("step", ["cut", "prune", "adopt"])
def test_a_crash_inside_a_change_leaves_the_log_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Blocks and floor change in one transaction, so there is no step between them."""
    log = LmdbLog(tmp_path, ORIGIN)
    log.append(BLOCKS)
    log.cut(4)
    before = (log.first_arrival, log.last_arrival, log.floor, list(log.ends({})))
    write = Environment.write

    def dying_write(env: Environment, change: Callable[[Any], Any], **options: bool) -> object:
        def dies(txn: Any) -> None:
            change(txn)
            raise DiesBeforeCommit

        return write(env, dies, **options)

    monkeypatch.setattr(Environment, "write", dying_write)
    steps: dict[str, Callable[[], object]] = {
        "cut": lambda: log.cut(8),
        "prune": lambda: log.prune(END),
        "adopt": lambda: log.adopt({77: 5}, [((77, 5), bytes(16))]),
    }
    with pytest.raises(DiesBeforeCommit):
        steps[step]()
    monkeypatch.undo()
    log.close()
    log = LmdbLog(tmp_path, ORIGIN)
    assert (log.first_arrival, log.last_arrival, log.floor, list(log.ends({}))) == before
    assert log.lacking(log.floor, 1 << 20) == (RAWS[4:], True)
    log.close()


def test_trap_21_a_full_disk_is_cut_in_smaller_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trap 21 "disk or map full stops replication and collection too"."""
    monkeypatch.setattr(log_module, "CUT_BLOCKS", 16)
    log = LmdbLog(tmp_path, ORIGIN)
    log.append(BLOCKS)
    tried: list[int] = []
    write = Environment.write

    def little_room(env: Environment, change: Callable[[Any], Any], **options: bool) -> object:
        def counted(txn: Any) -> Any:
            bounds = change(txn)
            tried.append(bounds.first_arrival - 1)
            if tried[-1] > 2:
                raise lmdb.DiskError(f"no room to remove {tried[-1]} blocks")
            return bounds

        return write(env, counted, **options)

    monkeypatch.setattr(Environment, "write", little_room)
    assert log.cut(8) == 3
    assert tried == [8, 2]
    log.close()


def test_an_index_that_disagrees_stops_the_cut(tmp_path: Path) -> None:
    """A wrong floor would turn every peer away."""
    log = LmdbLog(tmp_path, ORIGIN)
    log.append(BLOCKS[:3])
    log.close()
    with lmdb.open(str(tmp_path), max_dbs=4) as raw, raw.begin(write=True) as txn:
        origin, seq = BLOCKS[1].end
        end = origin.to_bytes(8, "big") + seq.to_bytes(8, "big")
        txn.delete(end, db=raw.open_db(b"ends", txn=txn))
    log = LmdbLog(tmp_path, ORIGIN)
    with pytest.raises(StorageError, match="block 2 is in no index"):
        log.cut(3)
    assert log.first_arrival == 1
    log.close()


@pytest.mark.parametrize("at", range(4, 44, 3))
def test_a_block_with_a_damaged_head_leaves_the_log_like_any_other(at: int, tmp_path: Path) -> None:
    """Else the log would grow from there until the disk is full, and no status would be told."""
    log = LmdbLog(tmp_path, ORIGIN)
    log.append(BLOCKS[:3])
    heads = log.heads(0, 3)
    log.close()
    with lmdb.open(str(tmp_path), max_dbs=4) as raw, raw.begin(write=True) as txn:
        blocks = raw.open_db(b"blocks", txn=txn)
        block = bytearray(txn.get((1).to_bytes(8, "big"), db=blocks) or b"")
        block[at] ^= 0x41
        txn.put((1).to_bytes(8, "big"), bytes(block), db=blocks)
    log = LmdbLog(tmp_path, ORIGIN)
    assert log.heads(0, 3) == heads
    assert log.cut(1) == 2
    assert log.floor == dict([BLOCKS[0].end])
    log.close()


def test_a_damaged_floor_is_refused_at_opening(tmp_path: Path) -> None:
    log = LmdbLog(tmp_path, ORIGIN)
    log.append(BLOCKS[:3])
    log.cut(2)
    log.close()
    with lmdb.open(str(tmp_path), max_dbs=4) as raw, raw.begin(write=True) as txn:
        meta = raw.open_db(b"meta", txn=txn)
        bounds = txn.get(b"bounds", db=meta)
        assert bounds is not None
        txn.put(b"bounds", bounds[:-1] + bytes([bounds[-1] ^ 1]), db=meta)
    with pytest.raises(StorageError, match="floor fails its checksum"):
        LmdbLog(tmp_path, ORIGIN)


def test_trap_21_a_log_that_fills_all_there_is_can_still_be_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every page taken, removing takes pages too: what earlier changes freed must do."""
    monkeypatch.setattr(environment, "MAP_BYTES_START", 512 << 10)

    def cannot_grow(env: Environment) -> None:
        raise DiskFullError(f"no room to write {env.path}")

    monkeypatch.setattr(Environment, "_grow", cannot_grow)
    log = LmdbLog(tmp_path, ORIGIN)
    node = MemoryNode(5)
    for _ in range(3):
        written = full = 0
        while not full:
            node.write(Put(b"k", bytes(1000 if written % 2 else 100)))
            try:
                log.append([node.last_block])
            except DiskFullError:
                full = log.last_arrival
                refused = node.last_block
            written += 1
        assert log.usage().used_bytes > 256 << 10
        while log.first_arrival <= full:
            log.cut(full)
        log.append([refused])
        assert list(log.replay(full)) == [(full + 1, refused.raw)]
        log.prune({5: refused.last_seq})
    log.close()
