"""The short way of plain entries into the tables leaves what the general way leaves."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvnode.core import digest as digest_module
from kvnode.core.digest import ABSENT, Digest, key_digest
from kvnode.core.entry import Entry, decode_entry
from kvnode.core.plain import plain_hash
from kvnode.core.replica import Durable
from kvnode.core.requests import RequestWindow
from kvnode.core.types import PN_COUNTER, SIBLINGS
from kvnode.storage import digests, entry_changes
from kvnode.storage.interfaces import Checkpoint
from kvnode.storage.memory import MemoryState
from kvnode.storage.state import TABLES, LmdbState
from tests.core.test_plain import ONE, entries, mixed

ORIGIN = 7
SMALL_SEGMENT = 5
Tables = dict[str, list[tuple[bytes, bytes]]]

keys = st.integers(0, 60).map(b"%02d".__mod__) | st.integers(0, 9).map(b"longer/%d".__mod__)
nothing: Entry = {}
checkpoints = st.lists(
    st.dictionaries(keys, entries | mixed | st.just(nothing) | st.just(ONE), max_size=20),
    min_size=1,
    max_size=4,
)


@pytest.fixture(autouse=True, scope="module")
def _small_segments() -> Iterator[None]:
    """Boundaries among few keys."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digest_module, "SEGMENT_KEYS", SMALL_SEGMENT)
        yield


def checkpoint(changes: dict[bytes, Entry]) -> Checkpoint:
    durable = Durable(RequestWindow(1), vector={ORIGIN: 7}, chains={ORIGIN: bytes(16)})
    return Checkpoint(3, durable, {}, changes, [])


@contextmanager
def opened() -> Iterator[LmdbState]:
    """A new state."""
    folder = Path(tempfile.mkdtemp(prefix="kvnode-changes-"))
    state = LmdbState(folder, ORIGIN)
    try:
        yield state
    finally:
        state.close()
        shutil.rmtree(folder)


def tables(state: LmdbState) -> Tables:
    """All that is stored."""
    env = state._env  # noqa: SLF001 - all that is on disk
    with env.read() as txn:
        return {name: list(txn.cursor(env.tables[name])) for name in TABLES}


def written(changes: list[dict[bytes, Entry]]) -> Tables:
    """What the checkpoints leave in a new state."""
    with opened() as state:
        for change in changes:
            state.write(checkpoint(change))
        return tables(state)


def counted(state: LmdbState, start: bytes, end: bytes) -> Digest:
    """Of what is stored in a range, by decoding all."""
    total = ABSENT
    for key, raw in tables(state)["entries"]:
        if key >= start and not (end and key >= end):
            total = total.plus(key_digest(key, decode_entry(raw, key)))
    return total


@settings(max_examples=80, deadline=None)
@given(checkpoints)
def test_both_ways_leave_the_same_bytes(changes: list[dict[bytes, Entry]]) -> None:
    short = written(changes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entry_changes, "plain_packed", lambda *_: None)
        assert written(changes) == short


@settings(max_examples=80, deadline=None)
@given(checkpoints)
def test_the_twin_in_memory_has_the_same_digests(changes: list[dict[bytes, Entry]]) -> None:
    twin = MemoryState()
    with opened() as state:
        for change in changes:
            state.write(checkpoint(change))
            twin.save(checkpoint(change))
            assert state.total() == twin.total()
            assert state.segments(b"", b"") == twin.segments(b"", b"")
            assert state.stored(b"", b"", 1_000, 1 << 30) == twin.stored(b"", b"", 1_000, 1 << 30)


def test_many_new_keys_among_others_cut_segments_at_the_shorter_side() -> None:
    """All of one order: new keys before, between and behind those that are there."""
    with opened() as state:
        for first in (3, 0, 1, 4, 2):
            state.write(checkpoint({b"%03d" % n: ONE for n in range(first, 400, 5)}))
            segmented = state.segments(b"", b"")
            starts = [start for start, _ in segmented.rows]
            assert len(starts) > 10
            for (start, digest), end in zip(segmented.rows, [*starts[1:], b""], strict=True):
                assert digest == counted(state, start, end)


def one_segment_cut(state: LmdbState, key: bytes, damaged: bytes = b"") -> int:
    """Cut one of 400 keys at ``key``; how many entries were counted for it."""
    found: list[bytes] = []

    def counting(key: bytes, raw: bytes) -> bytes | None:
        found.append(key)
        return plain_hash(key, raw)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digest_module, "SEGMENT_KEYS", 2**60)
        state.write(checkpoint({b"%03d" % n: ONE for n in range(400) if b"%03d" % n != key}))
        if damaged:
            flip(state, damaged, -2)
        patch.setattr(digest_module, "SEGMENT_KEYS", 1)
        patch.setattr(digests, "plain_hash", counting)
        state.write(checkpoint({key: ONE}))
    assert [start for start, _ in state.segments(b"", b"").rows] == [b"", key]
    return len(found)


@pytest.mark.parametrize("key", [b"003", b"396"])
def test_a_cut_counts_the_shorter_side(key: bytes) -> None:
    with opened() as state:
        assert one_segment_cut(state, key) == 3
        (_, first), (_, second) = state.segments(b"", b"").rows
        assert first == counted(state, b"", key)
        assert second == counted(state, key, b"")


def test_a_cut_behind_a_damaged_entry_leaves_no_trace_of_it() -> None:
    """It is in the digest of the whole segment, and cannot be told from that of the other part."""
    with opened() as state:
        assert one_segment_cut(state, b"003", damaged=b"001") > 300
        (_, _), (_, second) = state.segments(b"", b"").rows
        assert second == counted(state, b"003", b"")


def flip(state: LmdbState, key: bytes, at: int) -> None:
    """A bit of what is stored."""
    env = state._env  # noqa: SLF001 - the disk's role
    raw = bytearray(env.get("entries", key) or b"")
    raw[at] ^= 0x40
    env.write(lambda txn: txn.put(key, bytes(raw), db=env.tables["entries"]))


@pytest.mark.parametrize("at", [0, 3, 6, 20, -1])
def test_a_damaged_entry_that_is_replaced_is_not_subtracted(at: int) -> None:
    old: Entry = {SIBLINGS: ({(2**63, 2**20): (2**60, b"value" * 9)}, frozenset())}
    new: Entry = {SIBLINGS: ({(2**63, 2**21): (2**60, b"other" * 9)}, frozenset())}
    with opened() as state:
        state.write(checkpoint({b"%02d" % n: old for n in range(40)}))
        flip(state, b"07", at)
        state.write(checkpoint({b"%02d" % n: new for n in range(5, 9)}))
        assert state.total()[1] == counted(state, b"", b"")


def test_an_entry_that_was_not_plain_leaves_nothing_behind_when_a_plain_one_replaces_it() -> None:
    """Neither its mark as a conflict nor the row of its deadline."""
    two = {(1, 2): (3, b"v"), (2, 2): (3, b"w")}
    late = {(1, 3): (3, b"v", 2**40)}
    counter: Entry = {PN_COUNTER: {(1, 2): (3, 0, 0, 0, 5, (0, 0), (0, 0))}}
    with opened() as state:
        state.write(checkpoint({b"a": {SIBLINGS: (two, frozenset())}, b"c": counter}))
        state.write(checkpoint({b"b": {SIBLINGS: (late, frozenset())}}))
        before = tables(state)
        assert before["conflicts"]
        assert before["deadlines"]
        state.write(checkpoint({b"a": ONE, b"b": ONE, b"c": ONE}))
        after = tables(state)
        assert not after["conflicts"]
        assert not after["deadlines"]
        assert after == written([{b"a": ONE, b"b": ONE, b"c": ONE}])
