"""Digests by key range, over LMDB and in memory: always those that counting anew would give."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvnode.core import digest as digest_module
from kvnode.core.digest import ABSENT, Digest, is_boundary, key_digest
from kvnode.core.dots import Dot
from kvnode.core.entry import Entry, deadlines, decode_entry, garbage_dots, in_conflict
from kvnode.core.replica import Durable
from kvnode.core.requests import RequestWindow
from kvnode.core.types import LWW_REGISTER, PN_COUNTER, SIBLINGS, siblings
from kvnode.core.types.slots import NO_DOT
from kvnode.storage.digest_reading import check_segment, range_digests
from kvnode.storage.interfaces import Checkpoint, Expiring, Moved, StateStore, Stored
from kvnode.storage.memory import MemoryState
from kvnode.storage.state import LmdbState
from tests.storage.stores import ORIGIN, LmdbStores, Stores

KEYS = [b"%c%c" % (a, b) for a in b"abcd" for b in b"abcdefgh"]
SMALL_SEGMENT = 5


@pytest.fixture(autouse=True)
def _small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Boundaries among few keys."""
    monkeypatch.setattr(digest_module, "SEGMENT_KEYS", SMALL_SEGMENT)


def save(
    state: StateStore,
    entries: dict[bytes, Entry],
    recount: frozenset[bytes] = frozenset(),
    horizon: int = 0,
) -> None:
    """One checkpoint."""
    durable = Durable(RequestWindow(1), vector={ORIGIN: 7}, chains={ORIGIN: bytes(16)})
    durable.horizon = max(horizon, state.total()[0].horizon)
    state.save(Checkpoint(3, durable, {}, entries, [], recount=recount))


def entry_of(number: int) -> Entry:
    """0: none; 1: one with nothing live; then a value, from 5 on with deadlines from 1 to 4.

    Up to NUMBERS: a register, and counters with nothing deleted, some of it, all.
    """
    if number == 0:
        return {}
    if number == 1:
        return {LWW_REGISTER: (9, 1, 2, None)}
    if number < 5:
        return {SIBLINGS: ({(1, number): (9, b"v%d" % number)}, frozenset())}
    if number < 9:
        return {LWW_REGISTER: (9, 1, number, b"v", number - 4)}
    if FIRST_OTHER <= number <= NUMBERS:
        others: list[Entry] = [
            {LWW_REGISTER: (9, 1, number, b"v")},
            {PN_COUNTER: {(1, number): (5, 2, 0, 0, 9, NO_DOT, NO_DOT)}},
            {PN_COUNTER: {(1, number): (5, 2, 4, 0, 9, (1, 3), NO_DOT)}},
            {PN_COUNTER: {(1, number): (5, 2, 5, 2, 9, (1, 3), (1, 4))}},
        ]
        return others[number - FIRST_OTHER]
    kept: siblings.Held = {(2, number): (9, b"stays")} if number % 2 else {}
    first, second = number % 4 + 1, number // 3 % 4 + 1
    kept |= {(3, number): (9, b"v", first), (4, number): (9, b"w", second)}
    return {SIBLINGS: (kept, frozenset())}


FIRST_OTHER = 21
NUMBERS = FIRST_OTHER + 3


def stored(state: StateStore) -> dict[bytes, bytes]:
    """All that is stored."""
    return dict(state.stored(b"", b"", 1_000_000, 1 << 40).rows)


def counted(
    state: StateStore, start: bytes = b"", end: bytes = b"", past: int | None = None
) -> Digest:
    """The digest of a range, from the entries; None: as of the horizon."""
    total = ABSENT
    past = state.total()[0].horizon if past is None else past
    for key, raw in stored(state).items():
        if key >= start and not (end and key >= end):
            total = total.plus(key_digest(key, decode_entry(raw, key), past))
    return total


def check(state: StateStore) -> None:
    """Every row, and so every range, is what counting anew gives."""
    segmented = state.segments(b"", b"")
    starts = [start for start, _ in segmented.rows]
    assert starts == [b"", *(key for key in sorted(stored(state)) if is_boundary(key))]
    for (start, digest), end in zip(segmented.rows, [*starts[1:], b""], strict=True):
        assert digest == counted(state, start, end)
    assert state.total()[1] == counted(state)
    check_waiting(state)


def check_waiting(state: StateStore) -> None:
    """Every value with a deadline has one row: among the garbage once the horizon is past it."""
    horizon = state.total()[0].horizon
    entries = {key: decode_entry(raw, key) for key, raw in stored(state).items()}
    rows = [(row, key) for key, entry in entries.items() for row in deadlines(entry)]
    coming = sorted((Expiring(when, *dot), key) for (when, dot), key in rows if when > horizon)
    assert state.expiring(99, 10_000, Expiring(0))[1] == coming
    assert state.to_expire() == len(coming)
    garbage = [row for key, entry in entries.items() for row in garbage_rows(key, entry, horizon)]
    held = state.garbage(dict.fromkeys(range(5), 99) | {9: 10_000}, 10_000)
    assert set(garbage) <= set(held)
    marked = state.keys(b"", b"", 10_000, conflicts=True)
    assert set(marked) == {key for key, entry in entries.items() if in_conflict(entry, horizon)}


def garbage_rows(key: bytes, entry: Entry, horizon: int) -> list[tuple[Dot, bytes]]:
    return [(dot, key) for dot in garbage_dots(entry, horizon)]


changes_of = st.dictionaries(st.sampled_from(KEYS), st.integers(0, NUMBERS), max_size=20)
steps = st.lists(st.tuples(changes_of, st.integers(0, 5)), max_size=8)


def states() -> Iterator[StateStore]:
    """One of each form."""
    yield MemoryState()
    with TemporaryDirectory() as folder:
        state = LmdbState(Path(folder), ORIGIN)
        yield state
        state.close()


@settings(max_examples=60, deadline=None)
@given(steps)
def test_incremental_digests_are_those_of_counting_anew(
    changes: list[tuple[dict[bytes, int], int]],
) -> None:
    """Whatever is stored, replaced, removed and expires, and wherever segments are cut and joined.

    The dots of two keys must not be the same, as they are not in life.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digest_module, "SEGMENT_KEYS", SMALL_SEGMENT)
        for state in states():
            for change, horizon in changes:
                entries = {key: own_dots(entry_of(n), key) for key, n in change.items()}
                save(state, entries, horizon=horizon)
                check(state)
                check_later(state)


def own_dots(entry: Entry, key: bytes) -> Entry:
    """The entry under dots that no other key has."""
    made: Entry = {}
    base = 1 + 100 * KEYS.index(key)
    for kind, state in entry.items():
        if kind == LWW_REGISTER:
            made[kind] = (state[0], 9, base + state[2], *state[3:])
        elif kind == PN_COUNTER:
            made[kind] = {
                (9, base + birth): (
                    *slot[:5],
                    *((9, base + by) if by else NO_DOT for _, by in slot[5:]),
                )
                for (_, birth), slot in state.items()
            }
        else:
            held = {(9, base + 20 * o + s): value for (o, s), value in state[0].items()}
            made[kind] = (held, state[1])
    return made


def check_later(state: StateStore) -> None:
    """A digest can be had as of any later time, of any range; an earlier one is not promised."""
    horizon = state.total()[0].horizon
    ranges = [(b"", b""), (b"b", b"cd"), (KEYS[3], b"")]
    for past in range(horizon, 6):
        found = range_digests(state, ranges, past)
        assert found.past == past
        assert found.digests == [counted(state, *bounds, past) for bounds in ranges]
    assert range_digests(state, ranges, 0).past == horizon


def test_any_range_has_its_digest(stores: Stores) -> None:
    save(stores.state, {key: entry_of(1 + number) for number, key in enumerate(KEYS)})
    assert len(stores.state.segments(b"", b"").rows) > 3
    bounds = [b"", b"a", b"ab", b"bb\0", b"c", KEYS[-1], b"zz"]
    ranges = [
        (low, high) for low in bounds for high in [*bounds[1:], b""] if not high or low < high
    ]
    found = range_digests(stores.state, ranges)
    assert (found.tag.arrival, found.tag.vector) == (3, {ORIGIN: 7})
    for (low, high), digest in zip(ranges, found.digests, strict=True):
        assert digest == counted(stores.state, low, high), (low, high)


def test_digests_come_back_after_a_restart(stores: Stores) -> None:
    save(stores.state, {key: entry_of(2) for key in KEYS})
    before = range_digests(stores.state, [(b"", b"")]).digests
    stores.reopen()
    assert range_digests(stores.state, [(b"", b"")]).digests == before != [ABSENT]
    check(stores.state)


def test_an_empty_store_has_the_empty_digest(stores: Stores) -> None:
    assert range_digests(stores.state, [(b"", b""), (b"a", b"b")]).digests == [ABSENT, ABSENT]
    assert check_segment(stores.state, b"") == (b"", 0, [], False)


def damage(stores: Stores, key: bytes) -> None:
    """Flip a byte of what is stored under the key."""
    state = stores.state
    raw = bytearray(stored(state)[key])
    raw[-2] ^= 1
    if isinstance(stores, LmdbStores):
        assert isinstance(state, LmdbState)
        environment = state._env  # noqa: SLF001 - the disk's role
        environment.write(lambda txn: txn.put(key, bytes(raw), db=environment.tables["entries"]))
    else:
        assert isinstance(state, MemoryState)
        state._entries[key] = bytes(raw)  # noqa: SLF001


def walk(state: StateStore) -> tuple[list[bytes], int, int]:
    """Damaged keys, keys and wrong rows of all segments."""
    damaged, keys, wrong, start, more = [], 0, 0, b"", True
    while more:
        checked = check_segment(state, start)
        damaged += checked.damaged
        keys += checked.keys
        wrong += checked.miscounted
        start, more = checked.next, bool(checked.next)
    return damaged, keys, wrong


@pytest.mark.parametrize("number", range(0, len(KEYS), 3))
def test_a_damaged_entry_is_found_and_its_repair_counted(stores: Stores, number: int) -> None:
    """Its old digest cannot be told any more, so replacing it counts its segment anew."""
    entries = {key: entry_of(2) for key in KEYS}
    save(stores.state, entries)
    whole = counted(stores.state)
    damage(stores, KEYS[number])
    assert walk(stores.state) == ([KEYS[number]], len(KEYS), 0)
    save(stores.state, {KEYS[number]: entries[KEYS[number]], KEYS[0]: entry_of(3)})
    save(stores.state, {KEYS[0]: entries[KEYS[0]]})
    check(stores.state)
    assert stores.state.total()[1] == whole
    assert walk(stores.state) == ([], len(KEYS), 0)


def test_a_cut_beside_a_damaged_entry_leaves_no_trace_of_it(stores: Stores) -> None:
    key, late = next(
        (key, late) for key, late in pairwise(KEYS) if is_boundary(key) and not is_boundary(late)
    )
    entries = {other: entry_of(2) for other in KEYS if other != key}
    save(stores.state, entries)
    damage(stores, late)
    save(stores.state, {key: entry_of(2)})
    save(stores.state, {late: entry_of(2)})
    check(stores.state)


def test_a_wrong_row_is_found_and_counted_anew(stores: Stores) -> None:
    save(stores.state, {key: entry_of(2) for key in KEYS})
    state = stores.state
    victim, _ = state.segments(b"", b"").rows[1]
    wrong = Digest(1, 1)
    if isinstance(state, LmdbState):
        environment = state._env  # noqa: SLF001 - the disk's role
        environment.write(lambda txn: txn.delete(b"\0" + victim, db=environment.tables["digests"]))
        del wrong
    else:
        assert isinstance(state, MemoryState)
        state._segments[victim] = wrong  # noqa: SLF001
    damaged, _, miscounted = walk(state)
    assert (damaged, miscounted) == ([], 1)
    save(state, {}, recount=frozenset({victim}))
    assert walk(state)[2] == 0


class RestlessState(MemoryState):
    """A checkpoint comes after every read of entries."""

    def stored(self, start: bytes, end: bytes, keys_max: int, bytes_max: int) -> Stored:
        found = super().stored(start, end, keys_max, bytes_max)
        save(self, {})
        return found


def test_an_answer_is_of_one_checkpoint_or_none() -> None:
    """Parts of two moments would show differences that never were."""
    state = RestlessState()
    save(state, {key: entry_of(2) for key in KEYS})
    with pytest.raises(Moved):
        range_digests(state, [(KEYS[1], KEYS[-2]), (KEYS[2], KEYS[-3])])
