"""The log, over LMDB and in memory: one suite, because the model tests trust the twin."""

from __future__ import annotations

from pathlib import Path

import lmdb
import pytest

from kvnode.core.block import decode_block
from kvnode.core.operations import Put
from kvnode.storage import environment
from kvnode.storage.interfaces import StorageError
from kvnode.storage.log import LmdbLog
from tests.core.memory_node import MemoryNode
from tests.storage.stores import ORIGIN, Stores, history

BLOCKS = history()
RAWS = [block.raw for block in BLOCKS]
END = {block.origin: block.last_seq for block in BLOCKS}


def test_a_new_log_is_empty(stores: Stores) -> None:
    log = stores.log
    assert (log.first_arrival, log.last_arrival) == (1, 0)
    assert list(log.replay(0)) == []
    assert log.lacking({}, 1000) == ([], True)
    assert log.chain_at((1, 1)) is None
    assert log.usage().records == 0


def test_blocks_come_back_in_arrival_order_byte_for_byte(stores: Stores) -> None:
    stores.log.append(BLOCKS[:5])
    stores.log.append(BLOCKS[5:])
    for reopened in (False, True):
        if reopened:
            stores.reopen()
        assert stores.log.last_arrival == len(BLOCKS)
        assert list(stores.log.replay(0)) == list(enumerate(RAWS, 1))
        assert list(stores.log.replay(7)) == list(enumerate(RAWS, 1))[7:]
        assert list(stores.log.replay(len(RAWS))) == []
        assert stores.log.usage().records == len(RAWS)


def test_replay_reads_more_blocks_than_fit_one_transaction(stores: Stores) -> None:
    node = MemoryNode(5)
    for number in range(600):
        node.write(Put(b"k", b"%d" % number))
    raws = [raw for _, raw in node.log.replay(0)]
    stores.log.append([decode_block(raw) for raw in raws])
    assert [raw for _, raw in stores.log.replay(0)] == raws
    assert [arrival for arrival, _ in stores.log.replay(255)] == list(range(256, 601))


def test_appending_goes_on_behind_what_is_there_after_a_restart(stores: Stores) -> None:
    stores.log.append(BLOCKS[:3])
    stores.reopen()
    stores.log.append(BLOCKS[3:])
    assert list(stores.log.replay(0)) == list(enumerate(RAWS, 1))


def test_chain_values_are_known_for_block_ends_only(stores: Stores) -> None:
    stores.log.append(BLOCKS)
    stores.reopen()
    ends = {block.end for block in BLOCKS}
    for block in BLOCKS:
        assert stores.log.chain_at(block.end) == block.chain
        for seq in range(block.first_seq, block.last_seq):
            assert (block.origin, seq) not in ends
            assert stores.log.chain_at((block.origin, seq)) is None
    assert stores.log.chain_at((4711, 1)) is None


def cuts() -> list[dict[int, int]]:
    """Vectors of replicas that stopped anywhere in the history, or know only some origins."""
    vectors: list[dict[int, int]] = [{}]
    for block in BLOCKS:
        vectors.append({**vectors[-1], block.origin: block.last_seq})
    return vectors + [{origin: seq} for origin, seq in END.items()] + [{4711: 5}]


@pytest.mark.parametrize("bytes_max", [1, 200, 1 << 20])
def test_lacking_is_what_the_vector_lacks_in_arrival_order(stores: Stores, bytes_max: int) -> None:
    stores.log.append(BLOCKS)
    for vector in cuts():
        wanted = [b.raw for b in BLOCKS if b.last_seq > vector.get(b.origin, 0)]
        found, complete = stores.log.lacking(vector, bytes_max)
        assert found == wanted[: len(found)]
        assert complete == (len(found) == len(wanted))
        assert found or not wanted, "at least one, or repair would never go on"
        assert len(found) <= 1 or sum(map(len, found)) <= bytes_max


def test_repair_in_small_messages_brings_everything(stores: Stores) -> None:
    stores.log.append(BLOCKS)
    have: dict[int, int] = {}
    found: list[bytes] = []
    complete = False
    while not complete:
        raws, complete = stores.log.lacking(have, 300)
        found += raws
        for raw in raws:
            block = decode_block(raw)
            have[block.origin] = block.last_seq
    assert found == RAWS


# ---- LMDB alone


def lmdb_log(path: Path) -> LmdbLog:
    return LmdbLog(path, ORIGIN)


def test_who_claims_the_largest_number_lacks_nothing(tmp_path: Path) -> None:
    """A peer may say anything: a field has 64 bits, and no key of the index lies behind those."""
    log = lmdb_log(tmp_path)
    log.append(BLOCKS)
    claimed = dict.fromkeys(END, 2**64 - 1)
    assert log.lacking(claimed, 1 << 20) == ([], True)
    assert log.behind(claimed) == (0, None)
    log.close()


def test_the_map_grows_while_blocks_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "MAP_BYTES_START", 64 << 10)
    log = lmdb_log(tmp_path)
    start = log.usage().map_bytes
    node = MemoryNode(5)
    for number in range(40):
        node.write(Put(b"k%d" % number, bytes(20_000)))
        log.append([node.last_block])
    assert log.usage().map_bytes >= 8 * start
    assert log.usage().used_bytes > 40 * 20_000
    wanted = list(node.log.replay(0))
    assert list(log.replay(0)) == wanted
    log.close()
    again = lmdb_log(tmp_path)
    assert list(again.replay(0)) == wanted
    again.close()


def test_one_round_larger_than_the_map_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Doubling once is not enough here; the round is written once all the same."""
    monkeypatch.setattr(environment, "MAP_BYTES_START", 64 << 10)
    log = lmdb_log(tmp_path)
    node = MemoryNode(5)
    node.write(Put(b"k", bytes(1 << 20)))
    log.append([node.last_block])
    assert list(log.replay(0)) == list(node.log.replay(0))
    assert log.last_arrival == 1
    log.close()


def overwrite(file: Path, old: bytes, new: bytes) -> None:
    raw = file.read_bytes()
    assert raw.count(old) >= 1
    file.write_bytes(raw.replace(old, new))


@pytest.mark.parametrize("at", [0, 10, -1])
def test_a_flipped_byte_in_a_block_is_found(tmp_path: Path, at: int) -> None:
    log = lmdb_log(tmp_path)
    node = MemoryNode(5)
    for value in (b"first", b"the value that rots", b"last"):
        node.write(Put(b"k", value))
        log.append([node.last_block])
    log.close()
    rotten = bytearray(b"the value that rots")
    rotten[at] ^= 0x20
    overwrite(tmp_path / "data.mdb", b"the value that rots", bytes(rotten))

    log = lmdb_log(tmp_path)
    with pytest.raises(StorageError, match="block 2 fails its checksum"):
        list(log.replay(0))
    with pytest.raises(StorageError, match="block 2 fails its checksum"):
        log.lacking({}, 1 << 20)  # a peer must not get it either
    assert len(log.lacking({5: 2}, 1 << 20)[0]) == 1
    log.close()


def test_a_missing_block_is_found(tmp_path: Path) -> None:
    log = lmdb_log(tmp_path)
    log.append(BLOCKS[:3])
    log.close()
    with lmdb.open(str(tmp_path), max_dbs=3) as raw, raw.begin(write=True) as txn:
        txn.delete((2).to_bytes(8, "big"), db=raw.open_db(b"blocks", txn=txn))
    log = lmdb_log(tmp_path)
    with pytest.raises(StorageError, match="block 2 is missing"):
        list(log.replay(0))
    log.close()


def test_a_log_of_another_origin_is_refused(tmp_path: Path) -> None:
    lmdb_log(tmp_path).close()
    with pytest.raises(StorageError, match="directories were mixed up"):
        LmdbLog(tmp_path, 1)
    lmdb_log(tmp_path).close()
