"""What a power cut may leave of one commit, and what must be read from it.

LMDB never changes a page that the last commit uses. A commit writes its new pages elsewhere, in any
order as far as the disk is concerned, syncs, and then writes one of two meta pages, the one of the
commit before the last; the newest whole meta page counts. So until that one is written the file
reads as before, whatever became of the other pages: none, some, half of one. The kernel may also
have made the file longer, or not. A meta page is smaller than a sector, but even one cut at any
byte reads as before, for what makes it the newest comes last in it.

The log's tail is written in place, a record on pages that nothing needs. It reads as before until
all of the record is there.

*Images* are files as such a cut would leave them, made from the file before and after a commit.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kvnode.storage.state import LmdbState
from kvnode.storage.tailed_log import TailedLog

PAGE_BYTES = 4096
METAS = 2
META_BYTES = 160
"""Of a meta page; the rest is empty."""
SUBSETS = 20
TAIL_HEAD_BYTES = 28


@dataclass(frozen=True, slots=True)
class Image:
    """A file after a power cut."""

    name: str
    raw: bytes
    committed: bool
    """It must read as after the commit, else as before."""


def changed_pages(before: bytes, after: bytes) -> tuple[list[int], int]:
    """Numbers of the pages that a commit wrote, and its meta page."""
    old = before.ljust(len(after), b"\0")
    pages = [
        at // PAGE_BYTES
        for at in range(0, len(after), PAGE_BYTES)
        if old[at : at + PAGE_BYTES] != after[at : at + PAGE_BYTES]
    ]
    metas = [page for page in pages if page < METAS]
    assert len(metas) == 1, f"not one commit: meta pages {metas}"
    return [page for page in pages if page >= METAS], metas[0]


def images(before: bytes, after: bytes, last: bytes, seed: int) -> Iterator[Image]:
    """Every kind of cut; ``last``: bytes of the commit, before each of which one comes."""
    pages, meta = changed_pages(before, after)
    chance = random.Random(seed)
    longer = before.ljust(len(after), b"\0")
    yield Image("nothing", before, committed=False)
    yield Image("only longer", longer, committed=False)
    for count in range(1, len(pages) + 1):
        written = _with(longer, after, pages[:count])
        yield Image(f"{count} of {len(pages)} pages", written, committed=False)
    for number in range(SUBSETS):
        some = [page for page in pages if chance.random() < 0.5]
        yield Image(f"some pages {number}", _with(longer, after, some), committed=False)
    for at in _everywhere(after, last):
        page = at // PAGE_BYTES
        if page in pages:
            half = bytearray(_with(longer, after, [one for one in pages if one < page]))
            half[page * PAGE_BYTES : at] = after[page * PAGE_BYTES : at]
            yield Image(f"cut at byte {at}", bytes(half), committed=False)
    written = _with(longer, after, pages)
    start = meta * PAGE_BYTES
    for size in range(META_BYTES):
        torn = written[:start] + after[start : start + size] + written[start + size :]
        yield Image(f"{size} bytes of the meta page", torn, committed=torn == after)
    yield Image("everything", after, committed=True)


def tail_images(before: bytes, after: bytes, last: bytes, seed: int) -> Iterator[Image]:
    """Every kind of cut of a record of the log's tail."""
    assert len(before) == len(after)
    pages = [
        at // PAGE_BYTES
        for at in range(0, len(after), PAGE_BYTES)
        if before[at : at + PAGE_BYTES] != after[at : at + PAGE_BYTES]
    ]
    chance = random.Random(seed)
    for number in range(SUBSETS):
        some = [page for page in pages if chance.random() < 0.5]
        written = _with(before, after, some)
        yield Image(f"some pages {number}", written, committed=some == pages)
    first, end = pages[0] * PAGE_BYTES, after.rindex(last) + len(last)
    for at in (*range(first, first + TAIL_HEAD_BYTES), *_everywhere(after, last)):
        cut = after[:at] + before[at:]  # what comes behind a record does not matter
        yield Image(f"cut at byte {at}", cut, committed=cut[:end] == after[:end])
    yield Image("everything", after, committed=True)


def _with(longer: bytes, after: bytes, pages: list[int]) -> bytes:
    raw = bytearray(longer)
    for page in pages:
        raw[page * PAGE_BYTES : (page + 1) * PAGE_BYTES] = after[
            page * PAGE_BYTES : (page + 1) * PAGE_BYTES
        ]
    return bytes(raw)


def _everywhere(after: bytes, last: bytes) -> range:
    """Each byte of ``last`` where it is in the file the last time."""
    return range(after.rindex(last), after.rindex(last) + len(last))


def log_says(folder: Path, store: int) -> Any:
    """All of a log."""
    log = TailedLog(folder, store)
    try:
        blocks = list(log.replay(0))
        return blocks, log.lacking({}, 1 << 30), list(log.ends({})), log.get_record(b"roster")
    finally:
        log.close()


def state_says(folder: Path, store: int) -> Any:
    """All of a state."""
    state = LmdbState(folder, store)
    try:
        saved = state.load(1000)
        stored = state.stored(b"", b"", 1 << 20, 1 << 30)
        conflicts = state.keys(b"", b"", 1 << 20, conflicts=True)
        assert saved is not None
        durable = saved.durable
        return (
            (saved.arrival, durable.vector, durable.chains, durable.hlc, saved.requests),
            (stored, conflicts, list(state.rows("journal")), state.waiting(), state.total()),
        )
    finally:
        state.close()


SAYS = {"log": log_says, "state": state_says}


def misread(path: Path, name: str, store: int, before: bytes, after: bytes, last: bytes) -> Any:
    """(how many images were read, those that read neither as before nor as they must)."""
    file = path / name
    folder = file.parent
    says, made = SAYS[folder.name], tail_images if file.name == "tail" else images
    beside = {
        other: other.read_bytes()
        for other in (folder / "data.mdb", folder / "tail")
        if other != file and other.exists()
    }

    def read(raw: bytes) -> Any:
        file.write_bytes(raw)
        for other, as_it_was in beside.items():  # closing a log moves what waits
            other.write_bytes(as_it_was)
        return says(folder, store)

    try:
        old, new = read(before), read(after)
        assert old != new
        count, wrong = 0, []
        for image in made(before, after, last, seed=1):
            count += 1
            said = read(image.raw)
            if said != (new if image.committed else old):
                wrong.append(image.name)
        return count, wrong
    finally:
        file.write_bytes(before)
        for other, as_it_was in beside.items():
            other.write_bytes(as_it_was)
