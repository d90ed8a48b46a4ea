"""The quarantine over an engine and its stores: written at once, settled by good copies."""

from __future__ import annotations

import pytest

from kvnode.core.block import GENESIS, decode_block, encode_block
from kvnode.core.operations import Put
from kvnode.core.receive import Verdict
from kvnode.node.quarantine import retry
from kvnode.storage.interfaces import DamagedBlock
from kvnode.storage.memory import MemoryLog, MemoryState
from kvnode.storage.tailed_log import TailedLog
from tests.core.memory_node import MemoryNode
from tests.storage.faulty import until
from tests.storage.rig import Rig, rig, run
from tests.storage.stores import LmdbStores, Stores, history


def malformed(origin: int) -> bytes:
    """A block with an operation of a type that nobody knows."""
    return encode_block(
        origin=origin, first_seq=1, hlc=1, wall_ms=1, deps={}, ops=[[99, b"k", b"?"]],
        requests=[], previous=GENESIS, dep_chains=[],
    ).raw  # fmt: skip


async def written(node: Rig) -> None:
    """Until the state's thread has done what it was told."""
    done: list[bool] = []
    node.engine.checkpoints.enqueue(lambda: None, lambda _: done.append(True))
    await until(lambda: bool(done))


def test_a_block_that_breaks_a_rule_is_kept_and_others_go_on(stores: Stores) -> None:
    async def test() -> None:
        node = rig(stores.log, stores.state)
        other = MemoryNode(3)
        other.write(Put(b"k", b"v"))
        verdicts = await node.engine.receive(
            [decode_block(malformed(2)), other.last_block], sender="jfk"
        )
        assert verdicts == [Verdict.MALFORMED, Verdict.APPLIED]
        (record,) = node.engine.quarantine.records()
        assert (record.origin, record.first_seq, record.last_seq) == (2, 1, 1)
        assert (record.peer, record.raw, record.awaits) == ("jfk", malformed(2), {2: 1})
        assert "unknown type" in record.reason
        assert "0000000000000002:1" in node.engine.quarantine.problem({2: "lga"})
        await written(node)
        stores.reopen()  # a crash: nothing else was written
        again = rig(stores.log, stores.state)
        assert again.engine.quarantine.records() == [record]
        assert "unknown type" in await retry(again.engine, record)
        assert len(again.engine.quarantine) == 1
        again.engine.quarantine.remove(record.number)
        await again.engine.close()
        stores.reopen()
        assert list(stores.state.rows("quarantine")) == []

    run(test)


def test_a_good_copy_settles_the_record_by_itself(stores: Stores) -> None:
    """And what waited behind it comes too."""

    async def test() -> None:
        node = rig(stores.log, stores.state)
        other = MemoryNode(3)
        other.write(Put(b"k", b"first"))
        good = other.last_block
        other.write(Put(b"k", b"second"))
        bad = good.raw[:-1] + bytes([good.raw[-1] ^ 1])
        node.engine.quarantine.received(bad, "checksum", peer="jfk", awaits={3: 2})
        assert await node.engine.receive([other.last_block]) == [Verdict.HELD]
        (record,) = node.engine.quarantine.records()
        assert "checksum" in await retry(node.engine, record)
        await node.engine.receive([good])
        assert node.engine.vector == {3: 2}
        assert node.engine.quarantine.records() == []
        assert node.engine.quarantine.problem({}) == ""
        await written(node)
        assert list(stores.state.rows("quarantine")) == []
        await node.engine.close()

    run(test)


def test_a_full_disk_keeps_the_record_in_memory(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        state = MemoryState()
        node = rig(state=state)
        state.full = True
        node.engine.quarantine.received(b"noise", "bad", peer="jfk")
        await written(node)
        assert "in memory only" in caplog.text
        assert len(node.engine.quarantine) == 1
        state.full = False
        node.engine.quarantine.received(b"more noise", "bad", peer="jfk")
        await written(node)
        assert [number for number, _ in state.rows("quarantine")] == [1, 2]
        assert not node.failures
        await node.engine.close()

    run(test)


def test_a_damaged_record_is_left_out_and_said(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        state = MemoryState()
        state.put_rows("quarantine", {1: b"rubbish"})
        node = rig(state=state)
        assert len(node.engine.quarantine) == 0
        assert "record 1 of the quarantine is left out" in caplog.text
        await node.engine.close()

    run(test)


def test_a_damaged_block_of_the_log_is_named_by_the_index(stores: Stores) -> None:
    """The twins alike: nothing of the bytes themselves can be trusted."""
    blocks = history()
    stores.log.append(blocks)
    victim = blocks[3]
    rot(stores, 4)
    with pytest.raises(DamagedBlock) as damage:
        stores.log.lacking({}, 1 << 30)
    assert damage.value.end == victim.end
    others = {victim.origin: 2**62}
    raws, complete = stores.log.lacking(others, 1 << 30)
    assert complete
    assert raws == [block.raw for block in blocks if block.origin != victim.origin]


def test_a_damaged_block_of_the_log_is_settled_when_it_reads_well_again() -> None:
    async def test() -> None:
        log = MemoryLog()
        other = MemoryNode(3)
        other.write(Put(b"k", b"v"))
        node = rig(log)
        await node.engine.receive([other.last_block])
        log.rotten.add((3, 1))
        with pytest.raises(DamagedBlock) as damage:
            log.lacking({}, 1)
        node.engine.quarantine.own_log(damage.value)
        (record,) = node.engine.quarantine.records()
        assert (record.source, record.origin, record.last_seq) == ("own log", 3, 1)
        assert "own log" in node.engine.quarantine.problem({})
        assert "rotten" in await retry(node.engine, record)
        log.rotten.clear()
        assert await retry(node.engine, record) == ""
        assert len(node.engine.quarantine) == 0
        await node.engine.close()

    run(test)


def rot(stores: Stores, arrival: int) -> None:
    """Flip a bit of a logged block."""
    if isinstance(stores, LmdbStores):
        flip_stored_block(stores, arrival)
    else:
        assert isinstance(stores.log, MemoryLog)
        stores.log.rotten.add(history()[arrival - 1].end)


def flip_stored_block(stores: LmdbStores, arrival: int) -> None:
    assert isinstance(stores.log, TailedLog)
    stores.log._move()  # noqa: SLF001 - what waits is no row yet
    log = stores.log.in_lmdb
    environment, blocks = log._env, log._blocks  # noqa: SLF001
    key = arrival.to_bytes(8, "big")
    with environment.read() as txn:
        value = bytearray(txn.get(key, db=blocks))
    value[-1] ^= 1
    environment.write(lambda txn: txn.put(key, bytes(value), db=blocks))
