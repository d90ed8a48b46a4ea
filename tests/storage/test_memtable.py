"""The memtable over a store shows what a plain sorted dict would."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvnode.core.entry import Entry, in_conflict
from kvnode.core.replica import Durable
from kvnode.core.requests import RequestWindow
from kvnode.core.types import SIBLINGS
from kvnode.storage import memtable as memtable_module
from kvnode.storage.interfaces import Checkpoint
from kvnode.storage.memory import MemoryState
from kvnode.storage.memtable import Memtable

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
        st.builds(Install, changes),
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

    def install(self, numbers: dict[bytes, int]) -> None:
        entries = {key: entry(number) for key, number in numbers.items()}
        self.memtable.install(entries, len(entries))
        self.model.update(entries)
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
                table.install(step.entries)
            case Checkpointing():
                table.checkpoint(step)
            case Scan():
                for conflicts in (False, True):
                    found = table.pages(step.start, step.end, step.page, conflicts=conflicts)
                    assert list(found) == table.wanted(step.start, step.end, conflicts=conflicts)


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
