"""Snapshots on disk: copied, chunked, staged and merged, and what a crash leaves at each step."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import lmdb
import pytest

from kvnode.core.block import decode_block
from kvnode.core.entry import encode_entry
from kvnode.core.errors import StateError
from kvnode.core.operations import Delete, Increment, Operation, Put
from kvnode.core.snapshot import CHUNK_BYTES, START, Chunk, Section
from kvnode.core.types import LWW_REGISTER, State
from kvnode.storage import environment
from kvnode.storage.incoming import Incoming, Source
from kvnode.storage.interfaces import Checkpoint, DiskFullError
from kvnode.storage.merging import Losers, Merge
from kvnode.storage.snapshot import Snapshot, SnapshotGoneError, make_snapshot
from kvnode.storage.state import LmdbState
from kvnode.storage.tailed_log import TailedLog
from tests.core.memory_node import MemoryNode

WINDOW = 1000


class Site:
    """A node's directory with what a core node has put there."""

    def __init__(self, folder: Path, origin: int) -> None:
        self.folder = folder
        self.origin = origin
        self.node = MemoryNode(origin)
        self.writes = 0
        for part in ("log", "state"):
            (folder / part).mkdir(parents=True)
        self.open()

    def open(self) -> None:
        self.log = TailedLog(self.folder / "log", self.origin)
        self.state = LmdbState(self.folder / "state", self.origin)
        self.incoming = Incoming(self.folder / "incoming", self.origin)

    def reopen(self) -> None:
        """As after a crash: what is on disk is all there is."""
        for part in (self.log, self.state, self.incoming):
            part.close()
        self.open()

    def write(self, *operations: Operation) -> None:
        self.writes += 1
        self.node.write(*operations, request_id=b"%8d%8d" % (self.origin, self.writes))

    def store(self) -> None:
        """Put the core node's log and state on the disk."""
        blocks = [decode_block(raw) for _, raw in self.node.log.replay(self.log.last_arrival)]
        self.log.append(blocks)
        durable = self.node.replica.durable
        self.state.save(
            Checkpoint(
                self.log.last_arrival,
                durable,
                {self.origin: f"n{self.origin}"},
                self.node.entries(),
                [*durable.requests.all()],
            )
        )

    def checkpoint(self) -> Checkpoint:
        saved = self.state.load(WINDOW)
        return saved or Checkpoint(0, self.node.replica.durable, {}, {}, [])

    def entries(self) -> dict[bytes, bytes]:
        keys = self.state.keys(b"", b"", 10_000, conflicts=False)
        return {key: encode_entry(self.state.get(key) or {}, key) for key in keys}

    def snapshot(self) -> Snapshot:
        return make_snapshot(
            self.folder / "snapshots", self.state, self.origin, self.log.ends({}), os.urandom(16)
        )

    def stage(self, snapshot: Snapshot) -> None:
        self.incoming.begin(Source(9, snapshot.id, snapshot.keys_total, snapshot.bytes_total))
        found = list(chunks(snapshot))
        for chunk in found:
            self.incoming.add(chunk, last=chunk is found[-1])

    def plan(self) -> Merge:
        return Merge(
            self.incoming,
            self.checkpoint(),
            self.log.chain_at,
            origin=self.origin,
            window=WINDOW,
        )

    def merge(self) -> Checkpoint:
        merge = self.plan()
        merge.adopt_history(self.log)
        return merge.rewrite(self.state, Losers(10, 1 << 20), 1)

    def close(self) -> None:
        for part in (self.log, self.state, self.incoming):
            part.close()


def chunks(snapshot: Snapshot) -> Iterator[Chunk]:
    position = START
    while (chunk := snapshot.chunk_behind(position)) is not None:
        yield chunk
        position = chunk.position


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[tuple[Site, Site]]:
    """A sender with all kinds of entries, and an empty receiver."""
    sender, receiver = Site(tmp_path / "a", 1), Site(tmp_path / "b", 2)
    for number in range(300):
        sender.write(Put(b"k%d" % number, b"v" * number), Increment(b"count", number + 1))
    sender.write(Put(b"both", b"1"), Put(b"both", b"2", blind=True))
    sender.write(Put(b"register", b"x", LWW_REGISTER), Delete(b"register"), Delete(b"k7"))
    sender.store()
    yield sender, receiver
    sender.close()
    receiver.close()


def test_an_empty_replica_becomes_the_senders_byte_for_byte(sites: tuple[Site, Site]) -> None:
    """Also what no reader sees: what waits to be collected, who asked what, the clock."""
    sender, receiver = sites
    snapshot = sender.snapshot()
    receiver.stage(snapshot)
    saved, theirs = receiver.merge(), sender.checkpoint()
    assert receiver.entries() == sender.entries()
    assert saved.durable.vector == theirs.durable.vector
    assert saved.durable.chains == theirs.durable.chains
    assert saved.durable.hlc == theirs.durable.hlc
    assert saved.durable.requests.get(b"%8d%8d" % (1, 300))
    assert saved.names == {1: "n1"}
    assert receiver.state.waiting() == sender.state.waiting() == {1: 1}
    vector = saved.durable.vector
    assert receiver.state.garbage(vector, 9) == sender.state.garbage(vector, 9)
    assert receiver.state.keys(b"", b"", 9, conflicts=True) == [b"both"]
    assert receiver.log.floor == vector
    assert dict(receiver.log.ends({})) == dict(sender.log.ends({}))


def test_a_replica_with_writes_keeps_them_and_what_they_deleted(
    sites: tuple[Site, Site],
) -> None:
    """The join on disk is the join of the core, and the index of conflicts follows it."""
    sender, receiver = sites
    receiver.node.pull(sender.node)
    receiver.write(Delete(b"k1"), Delete(b"both"), Increment(b"count", 1_000_000))
    receiver.store()
    sender.write(Put(b"k2", b"new"), Put(b"k3", b"new", blind=True))
    sender.store()
    receiver.stage(sender.snapshot())
    saved = receiver.merge()
    receiver.node.pull(sender.node)
    assert receiver.entries() == receiver.node.encoded()
    assert saved.durable.vector == receiver.node.vector
    assert receiver.state.keys(b"", b"", 9, conflicts=True) == [b"k3"]
    assert receiver.log.floor == {1: sender.node.vector[1]}, "its own blocks are all there"
    assert receiver.log.lacking({1: receiver.log.floor[1]}, 1 << 20)[1]


def test_a_crash_before_the_state_is_written_is_as_if_nothing_had_happened(
    sites: tuple[Site, Site],
) -> None:
    """What is staged is still there, and the next start merges it."""
    sender, receiver = sites
    receiver.write(Put(b"own", b"x"))
    receiver.store()
    before, vector = receiver.entries(), receiver.checkpoint().durable.vector
    receiver.stage(sender.snapshot())
    receiver.plan().adopt_history(receiver.log)
    receiver.reopen()
    assert receiver.entries() == before
    assert receiver.checkpoint().durable.vector == vector
    assert receiver.incoming.source is not None
    assert receiver.incoming.source.complete
    receiver.merge()
    assert receiver.entries() == sender.entries() | before


def test_a_crash_in_the_middle_of_the_merge_leaves_the_state_as_it_was(
    sites: tuple[Site, Site],
) -> None:
    """Trap 15: entries and vector change in one transaction or not at all."""
    sender, receiver = sites
    receiver.write(Put(b"register", b"late", LWW_REGISTER), Put(b"own", b"x"))
    receiver.store()
    before, vector = receiver.entries(), receiver.checkpoint().durable.vector
    sender.node.write(Put(b"register", b"later", LWW_REGISTER))
    sender.store()
    receiver.stage(sender.snapshot())
    merge = receiver.plan()
    merge.adopt_history(receiver.log)

    class Crashing(Losers):
        def add(self, key: bytes, loser: State, winner: State) -> None:  # noqa: ARG002
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        merge.rewrite(receiver.state, Crashing(10, 1 << 20), 1)
    receiver.reopen()
    assert receiver.entries() == before
    assert receiver.checkpoint().durable.vector == vector


def test_a_crash_after_the_merge_repeats_it_without_effect(sites: tuple[Site, Site]) -> None:
    """The staging area is removed only afterwards."""
    sender, receiver = sites
    receiver.write(Put(b"own", b"x"))
    receiver.store()
    receiver.stage(sender.snapshot())
    first = receiver.merge()
    entries = receiver.entries()
    receiver.reopen()
    again = receiver.merge()
    assert receiver.entries() == entries
    assert again.durable.vector == first.durable.vector
    assert receiver.log.floor == {1: sender.node.vector[1]}


def test_trap_13_readers_see_nothing_of_the_merge_before_they_choose_to(
    sites: tuple[Site, Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The view is pinned while the thread writes, also when the map has to grow on the way."""
    sender, receiver = sites
    for number in range(60):
        sender.node.write(Put(b"big%d" % number, b"x" * (1 << 19)))
    sender.store()
    receiver.write(Put(b"own", b"x"))
    receiver.store()
    receiver.stage(sender.snapshot())
    monkeypatch.setattr("kvnode.storage.merging.ROOM_BYTES_MIN", 0)
    monkeypatch.setattr("kvnode.storage.merging.ROOM_FACTOR", 0)
    monkeypatch.setattr(environment, "MAP_BYTES_START", 1 << 20)
    receiver.reopen()
    small = receiver.state.usage().map_bytes
    receiver.state.pin()
    receiver.merge()
    assert list(receiver.entries()) == [b"own"]
    receiver.state.unpin()
    assert receiver.state.usage().map_bytes > small, "the map did not grow"
    assert len(receiver.entries()) == len(sender.entries()) + 1


def test_trap_27_an_entry_larger_than_a_chunk_makes_a_chunk_of_its_own(
    sites: tuple[Site, Site],
) -> None:
    """100 siblings of 1 MiB are allowed; 70 are more than a new environment's map, too."""
    sender, receiver = sites
    for number in range(70):
        sender.node.write(Put(b"huge", bytes([number]) * CHUNK_BYTES, blind=True))
    sender.store()
    assert sender.state.usage().file_bytes > environment.MAP_BYTES_START, "too small to tell"
    snapshot = sender.snapshot()
    found = list(chunks(snapshot))
    assert max(len(chunk.rows) for chunk in found) > 70 * CHUNK_BYTES
    assert sum(len(chunk.rows) > 2 * CHUNK_BYTES for chunk in found) == 1
    receiver.stage(snapshot)
    receiver.merge()
    assert receiver.entries() == sender.entries()


def test_staging_goes_on_behind_the_last_chunk_after_a_restart(
    sites: tuple[Site, Site],
) -> None:
    """Each chunk is synced together with the position."""
    sender, receiver = sites
    snapshot = sender.snapshot()
    receiver.incoming.begin(Source(1, snapshot.id, 0, 0, started_ms=5))
    found = list(chunks(snapshot))
    receiver.incoming.add(found[0], last=False)
    receiver.incoming.add(found[1], last=False)
    receiver.reopen()
    source = receiver.incoming.source
    assert source == Source(1, snapshot.id, 0, 0, 302, sum(len(c.rows) for c in found[:2]), 5)
    assert receiver.incoming.position == found[1].position
    assert snapshot.chunk_behind(receiver.incoming.position) == found[2]
    with pytest.raises(StateError, match="does not follow"):
        receiver.incoming.add(found[1], last=False)
    receiver.incoming.discard()
    receiver.reopen()
    assert receiver.incoming.source is None


def test_a_full_disk_where_staging_begins_is_told_and_the_next_attempt_works(
    sites: tuple[Site, Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trap 21: as "cannot be opened" it stopped the node that a snapshot came to."""
    incoming = sites[1].incoming

    def no_room(*_: object, **__: object) -> None:
        raise lmdb.DiskError("No space left on device")

    with monkeypatch.context() as full:
        full.setattr(lmdb, "open", no_room)
        with pytest.raises(DiskFullError):
            incoming.begin(Source(1, b"snapshot", 0, 0))
    incoming.begin(Source(1, b"snapshot", 0, 0))
    assert incoming.source is not None


def test_a_damaged_chunk_is_refused_and_a_damaged_staging_area_removed(
    sites: tuple[Site, Site],
) -> None:
    """A transfer that went wrong must not become state."""
    sender, receiver = sites
    snapshot = sender.snapshot()
    receiver.incoming.begin(Source(1, snapshot.id, 0, 0))
    chunk = next(chunks(snapshot))
    broken = chunk.rows[:-1] + bytes([chunk.rows[-1] ^ 1])
    with pytest.raises(StateError, match="checksum"):
        receiver.incoming.add(replace(chunk, rows=broken), last=False)
    receiver.incoming.close()
    (receiver.folder / "incoming" / "data.mdb").write_bytes(b"rubbish")
    receiver.reopen()
    assert receiver.incoming.source is None
    assert not (receiver.folder / "incoming").exists()


def test_a_copy_that_was_removed_says_so(sites: tuple[Site, Site]) -> None:
    """Not the end of the snapshot: the receiver would take half for the whole."""
    sender, _ = sites
    snapshot = sender.snapshot()
    assert snapshot.chunk_behind(START)
    snapshot.remove()
    with pytest.raises(SnapshotGoneError):
        snapshot.chunk_behind(START)
    assert not list((sender.folder / "snapshots").iterdir())


def test_sections_come_in_order_and_whole(sites: tuple[Site, Site]) -> None:
    """Nothing twice, nothing left out, in chunks of the size promised."""
    sender, _ = sites
    for number in range(30):
        sender.node.write(Put(b"m%d" % number, b"x" * 200_000))
    sender.store()
    found = list(chunks(sender.snapshot()))
    assert [chunk.section for chunk in found] == sorted(chunk.section for chunk in found)
    assert len({chunk.position for chunk in found}) == len(found) > 6
    assert max(len(chunk.rows) for chunk in found) < 1.1 * CHUNK_BYTES
    assert {Section.META, Section.ENTRIES, Section.CHAINS} < {chunk.section for chunk in found}
