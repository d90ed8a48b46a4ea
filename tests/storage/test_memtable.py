"""The memtable over a store shows what a plain sorted dict would."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvnode.core.entry import Entry, in_conflict
from kvnode.core.errors import StateError
from kvnode.core.replica import Durable
from kvnode.core.requests import RequestWindow
from kvnode.core.types import SIBLINGS
from kvnode.storage import memtable as memtable_module
from kvnode.storage.interfaces import Checkpoint, DamagedPages, Stored
from kvnode.storage.memory import MemoryState
from kvnode.storage.memtable import Memtable
from tests.storage.faulty import RottenState

KEYS = [b"a", b"a\0", b"ab", b"b", b"ba", b"c", b"\xff"]
keys = st.sampled_from(KEYS)
bounds = st.sampled_from([b"", *KEYS, b"aa", b"z"])


def entry(number: int) -> Entry:
    """0: nothing under the key; even: a conflict."""
    if number == 0:
        return {}
    held = {(1, number): (number, b"v")}
    if number % 2 == 0:
        held[(2, number)] = (number, b"w")
    return {SIBLINGS: (held, frozenset())}


class Install(NamedTuple):
    entries: dict[bytes, int]
    looked_at: bool
    """Whether everything is read and scanned right behind it, which may hide what it left."""


class Checkpointing(NamedTuple):
    """A checkpoint in parts, with ``between`` installed while it is written."""

    between: dict[bytes, int]
    succeeds: bool


class Scan(NamedTuple):
    start: bytes
    end: bytes
    page: int


changes = st.dictionaries(keys, st.integers(0, 6), max_size=4)
steps = st.lists(
    st.one_of(
        st.builds(Install, changes, st.booleans()),
        st.builds(Checkpointing, changes, st.booleans()),
        st.builds(Scan, bounds, bounds, st.integers(1, 3)),
    ),
    max_size=20,
)


class Modelled:
    """A memtable next to the dict it has to look like."""

    def __init__(self) -> None:
        self.store = MemoryState()
        self.memtable = Memtable(self.store)
        self.model: dict[bytes, Entry] = {}

    def install(self, numbers: dict[bytes, int], *, looked_at: bool = True) -> None:
        entries = {key: entry(number) for key, number in numbers.items()}
        self.memtable.install(entries, len(entries))
        self.model.update(entries)
        if looked_at:
            self.check()

    def checkpoint(self, step: Checkpointing) -> None:
        held = self.memtable.bytes_held
        frozen = self.memtable.freeze()
        assert self.memtable.active_keys == 0
        self.check()
        self.install(step.between)
        if step.succeeds:
            durable = Durable(RequestWindow(1))
            self.store.save(Checkpoint(0, durable, {}, frozen, []))
            self.memtable.drop_frozen()
        else:
            self.memtable.restore_frozen(held)
            assert self.memtable.bytes_held == held + len(step.between)
        self.check()

    def check(self) -> None:
        for key in KEYS:
            assert self.memtable.read(key) == self.model.get(key, {})
        many = self.memtable.read_many(KEYS)
        assert {key: many.get(key, self.model.get(key, {})) for key in KEYS} == {
            key: self.model.get(key, {}) for key in KEYS
        }
        assert len(many) >= len(KEYS) - 1, "a key that is alone in the store is left to read"
        for conflicts in (False, True):
            assert list(self.pages(b"", b"", 100, conflicts=conflicts)) == self.wanted(
                b"", b"", conflicts=conflicts
            )

    def wanted(self, start: bytes, end: bytes, *, conflicts: bool) -> list[tuple[bytes, Entry]]:
        return [
            (key, found)
            for key, found in sorted(self.model.items())
            if key >= start
            and (not end or key < end)
            and (in_conflict(found, 0) if conflicts else found)
        ]

    def pages(
        self, start: bytes, end: bytes, page: int, *, conflicts: bool
    ) -> Iterator[tuple[bytes, Entry]]:
        """A scan the way a service does it: pages of ``page`` entries, going on behind each."""
        while True:
            taken: list[tuple[bytes, Entry]] = []

            def accept(key: bytes, found: Entry, taken: list[tuple[bytes, Entry]] = taken) -> bool:
                if not (in_conflict(found, 0) if conflicts else found):
                    return True
                if len(taken) == page:
                    return False
                taken.append((key, found))
                return True

            last = self.memtable.scan(start, end, accept, conflicts=conflicts)
            yield from taken
            if last is None:
                return
            start = last + b"\0"


@given(steps)
def test_reads_and_scans_are_those_of_a_sorted_dict(steps: list[object]) -> None:
    table = Modelled()
    for step in steps:
        match step:
            case Install():
                table.install(step.entries, looked_at=step.looked_at)
            case Checkpointing():
                table.checkpoint(step)
            case Scan():
                for conflicts in (False, True):
                    found = table.pages(step.start, step.end, step.page, conflicts=conflicts)
                    assert list(found) == table.wanted(step.start, step.end, conflicts=conflicts)


def test_what_came_just_before_a_checkpoint_is_scanned_while_that_is_written() -> None:
    """A scan, a new key, a checkpoint that is being written, a scan: the key was left out."""
    table = Modelled()
    table.install({KEYS[0]: 1})
    table.install({KEYS[1]: 1}, looked_at=False)
    table.checkpoint(Checkpointing({}, succeeds=True))


@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_scans_are_whole_at_every_boundary_of_a_chunk(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memtable_module, "CHUNK_KEYS", chunk)
    table = Modelled()
    table.install(dict.fromkeys(KEYS[::2], 2))
    table.checkpoint(Checkpointing({KEYS[1]: 1, KEYS[2]: 0}, succeeds=True))
    table.install({KEYS[3]: 4, KEYS[-1]: 3})
    for start in (b"", *KEYS):
        found = table.pages(start, b"", 2, conflicts=False)
        assert list(found) == table.wanted(start, b"", conflicts=False)


def test_one_call_looks_at_a_bounded_number_of_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deleted keys must not make a call long; the caller goes on behind the last one."""
    monkeypatch.setattr(memtable_module, "EXAMINED_MAX", 3)
    table = Modelled()
    table.memtable.install({key: {} for key in KEYS[:-1]}, 0)
    table.memtable.install({KEYS[-1]: entry(1)}, 0)
    looked: list[bytes] = []

    def accept(key: bytes, _: Entry) -> bool:
        looked.append(key)
        return True

    assert table.memtable.scan(b"", b"", accept) == KEYS[2]
    assert looked == KEYS[:3]
    table.model = {KEYS[-1]: entry(1)}
    assert [key for key, _ in table.pages(b"", b"", 1, conflicts=False)] == [KEYS[-1]]


def test_what_is_damaged_is_left_out_of_many_and_named_by_read() -> None:
    store = RottenState()
    table = Memtable(store)
    durable = Durable(RequestWindow(1))
    store.save(Checkpoint(0, durable, {}, {key: entry(1) for key in KEYS[:3]}, []))
    store.rotten.add(KEYS[1])
    assert table.read_many(KEYS[:4]) == {KEYS[0]: entry(1), KEYS[2]: entry(1), KEYS[3]: {}}
    with pytest.raises(StateError):
        table.read(KEYS[1])
    taken: list[bytes] = []

    def accept(key: bytes, _: Entry) -> bool:
        taken.append(key)
        return True

    with pytest.raises(StateError, match="fails its checksum"):
        table.scan(b"", b"", accept)
    assert taken == KEYS[:1]


def test_where_pages_are_damaged_each_key_is_left_to_read() -> None:
    class Damaged(MemoryState):
        def get_many(self, keys: Iterable[bytes]) -> list[bytes | None]:
            raise DamagedPages(f"the pages of {list(keys)} cannot be read")

    table = Memtable(Damaged())
    table.install({KEYS[0]: entry(1)}, 0)
    assert table.read_many(KEYS) == {KEYS[0]: entry(1)}


@pytest.mark.parametrize("chunk", [1, 2, 512])
def test_a_scan_gets_to_the_keys_before_a_damaged_page(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memtable_module, "CHUNK_KEYS", chunk)
    damaged = KEYS[3]

    class Damaged(MemoryState):
        def get(self, key: bytes) -> Entry | None:
            if key == damaged:
                raise DamagedPages(f"{key!r} cannot be read")
            return super().get(key)

        def stored(self, start: bytes, end: bytes, keys_max: int, bytes_max: int) -> Stored:
            found = super().stored(start, end, keys_max, bytes_max)
            if damaged in dict(found.rows):
                raise DamagedPages(f"{found.rows} cannot be read")
            return found

    store = Damaged()
    store.save(Checkpoint(0, Durable(RequestWindow(1)), {}, {key: entry(1) for key in KEYS}, []))
    table = Memtable(store)
    taken: list[bytes] = []

    def accept(key: bytes, _: Entry) -> bool:
        taken.append(key)
        return len(taken) < 3

    assert table.scan(b"", b"", accept) == KEYS[1]
    with pytest.raises(DamagedPages):
        table.scan(KEYS[2], b"", lambda *_: True)
