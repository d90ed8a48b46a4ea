"""The end of the log as a plain file: a round is on disk after one write.

Problem: LMDB syncs a commit twice, its pages and then the one that names them, and writes five or
more pages for a block of 300 bytes. Here that takes 420 to 650 us, and as many bytes written over
others of a file 200 to 290.

Idea: what is small goes into a file of a fixed size, the *tail*, filled with zeros and synced when
it is made, so that a write changes bytes and nothing of the file system's, and needs no room on the
disk where that writes in place. When the next *record* finds no room in the file, all that is there
goes to LMDB in one transaction (``tailed_log.py``), and it is written from its beginning again.

A record is what one round brings, and begins on a page of its own: none that is needed is written
again, but by a start, with what it holds::

    digest, 16 | bytes behind this head, 4 | arrival number of its first block, 8
    for each block: bytes, 4 | block
    zeros up to the next page

Numbers are big-endian. The digest is keyed with the store's id, which clients do not know: values
that look like records lie at any place of the file. Who opens it reads records until one is not
whole, or does not follow the one before. Those behind LMDB's last block were acknowledged, or may
have been.

=====================================  =========================================================
killed or without power                is found
=====================================  =========================================================
while a record is written              those before it; nobody was told of its round
after that                             it too
before LMDB's transaction is synced    all of them, and LMDB without
behind that                            LMDB with all of them: their numbers tell
while the first one is written again   LMDB with all that was there, and no record, or that one
=====================================  =========================================================

One record at a time is written, and only when the one before is on disk. So a whole one that is
newer than one that is not means damage: what is missing was acknowledged. Only of the last record
damage cannot be told from a write that was not finished; a start says which block is left out.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from errno import EDQUOT, ENOSPC
from hashlib import blake2b
from hmac import compare_digest
from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple

from kvnode.core.block import Block, decode_block
from kvnode.core.errors import BlockError
from kvnode.storage.files import ADVICE, sync
from kvnode.storage.interfaces import DiskFullError, StorageError, WriteFailed

NAME: Final = "tail"
TAIL_BYTES: Final = 1 << 20
"""To move so much to LMDB takes 1 to 3 ms, which the next round waits: once in 256 small ones."""
RECORD_BYTES_MAX: Final = 64 << 10
"""What is larger goes to LMDB at once. With 256 KiB here blocks of 98 KB alone took 570 to 660 us
instead of 740 to 830, and a node that had to move them later was no faster (0.92 to 1.09, in turns
at 50,000 and at 1 M keys)."""
PAGE_BYTES: Final = 4096
DIGEST_BYTES: Final = 16
HEAD: Final = Struct(f">{DIGEST_BYTES}sIQ")
SIZE: Final = Struct(">I")
FULL: Final = (ENOSPC, EDQUOT)


class Found(NamedTuple):
    """What a tail has that LMDB has not."""

    blocks: list[Block]
    """Without a gap."""
    beyond: list[tuple[int, Block]]
    """With their arrival numbers: those behind a record that is damaged."""
    unfinished: bool
    """There is a part of a record behind them."""


class _Record(NamedTuple):
    first_arrival: int
    blocks: list[bytes]
    pages: int

    @property
    def last_arrival(self) -> int:
        return self.first_arrival + len(self.blocks) - 1


class Tail:
    """The file. One thread writes; it is read once, when it is opened."""

    def __init__(self, folder: Path, store: int) -> None:
        """Open it; StorageError if it is missing or was cut."""
        self._file = folder / NAME
        self._key = store.to_bytes(8, "big")
        self._page = 0
        """Where the next record begins."""
        self._descriptor = -1
        try:
            self._descriptor = os.open(self._file, os.O_RDWR)
            size = os.fstat(self._descriptor).st_size
        except OSError as error:
            self.close()
            raise StorageError(f"{self._file} cannot be opened ({error}). {ADVICE}") from error
        if size != TAIL_BYTES:
            self.close()
            raise StorageError(f"{self._file} has {size} bytes, not {TAIL_BYTES}. {ADVICE}")

    def read(self, arrival: int) -> Found:
        """What is behind ``arrival``, LMDB's last block. Records go behind that from now on.

        What is found is written once more. Who wrote it may have been killed before it was synced,
        or told that it could not be: then the system holds it in memory, and takes it for written.

        Raises:
            StorageError: it cannot be read, or not be written.
        """
        try:
            raw = os.pread(self._descriptor, TAIL_BYTES, 0)
        except OSError as error:
            raise StorageError(f"{self._file} cannot be read ({error}). {ADVICE}") from error
        page, last, waiting = 0, arrival, list[bytes]()
        expected: int | None = None
        while (record := self._record_at(raw, page)) is not None:
            if record.first_arrival != expected and (expected or record.first_arrival > last + 1):
                break
            expected = record.last_arrival + 1
            waiting += record.blocks[max(0, last + 1 - record.first_arrival) :]
            last = max(last, record.last_arrival)
            page += record.pages
        beyond = self._beyond(raw, page, last)
        blocks = [self._decoded(each) for each in waiting]
        if blocks and not beyond:
            with suppress(DiskFullError):  # then they are where they were
                self._write(raw[: page * PAGE_BYTES], 0, again=True)
            self._page = page
        return Found(blocks, beyond, self._is_begun(raw, page, last + 1))

    def _beyond(self, raw: bytes, page: int, last: int) -> list[tuple[int, Block]]:
        found: list[tuple[int, Block]] = []
        for later in range(page, len(raw) // PAGE_BYTES):
            record = self._record_at(raw, later)
            if record is not None and record.first_arrival > last:
                arrivals = range(record.first_arrival, record.last_arrival + 1)
                found += zip(arrivals, map(self._decoded, record.blocks), strict=True)
                last = record.last_arrival
        return found

    def _decoded(self, raw: bytes) -> Block:
        try:
            return decode_block(raw)
        except BlockError as error:
            raise StorageError(f"{self._file} is damaged: {error}. {ADVICE}") from error

    def append(self, first_arrival: int, blocks: Sequence[Block]) -> bool:
        """Whether there was room in the file; then they are on disk.

        Raises:
            DiskFullError: the disk has none, which writes to another place what is written again.
            WriteFailed: what is on disk is not known.
        """
        if not blocks:
            return True
        size = sum(len(block.raw) for block in blocks) + SIZE.size * len(blocks)
        pages = -(-(HEAD.size + size) // PAGE_BYTES)
        if size > RECORD_BYTES_MAX or (self._page + pages) * PAGE_BYTES > TAIL_BYTES:
            return False
        body = b"".join([part for each in blocks for part in (SIZE.pack(len(each.raw)), each.raw)])
        head = HEAD.pack(self._digest(first_arrival, body), size, first_arrival)
        raw = (head + body).ljust(pages * PAGE_BYTES, b"\0")
        self._write(raw, self._page * PAGE_BYTES)
        self._page += pages
        return True

    def _write(self, raw: bytes, at: int, *, again: bool = False) -> None:
        """Write it, synced. What is written ``again`` is to be found by the next start anyway."""
        try:
            if os.pwrite(self._descriptor, raw, at) != len(raw):
                raise OSError(ENOSPC, "not all of it was taken")
        except OSError as error:
            if error.errno in FULL and (again or not self._is_whole(raw, at)):
                raise DiskFullError(f"no room to write {self._file}: {error}") from error
            raise WriteFailed(f"{self._file} cannot be written: {error}") from error
        try:
            os.fdatasync(self._descriptor)
        except OSError as error:
            raise WriteFailed(f"{self._file} cannot be synced: {error}") from error

    def _is_whole(self, raw: bytes, at: int) -> bool:
        """Whether a record that was refused would be found by the next start nevertheless.

        One of an earlier use of the file may be there, which would not.
        """
        try:
            there = self._record_at(os.pread(self._descriptor, len(raw), at), 0)
        except OSError:
            return True  # as far as is known
        return there is not None and there.first_arrival == self._head_at(raw, 0)[2]

    def start_over(self) -> None:
        """LMDB has it all."""
        self._page = 0

    def close(self) -> None:
        """Close it; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _digest(self, first_arrival: int, body: bytes) -> bytes:
        digest = blake2b(body, digest_size=DIGEST_BYTES, key=self._key)
        digest.update(first_arrival.to_bytes(8, "big"))
        return digest.digest()

    def _record_at(self, raw: bytes, page: int) -> _Record | None:
        """The record that begins on that page, if it is whole."""
        digest, size, first_arrival = self._head_at(raw, page)
        start = page * PAGE_BYTES + HEAD.size
        body = raw[start : start + size]
        if not size or not compare_digest(digest, self._digest(first_arrival, body)):
            return None
        blocks, at = [], 0
        while at < size:
            (length,) = SIZE.unpack_from(body, at)
            blocks.append(body[at + SIZE.size : at + SIZE.size + length])
            at += SIZE.size + length
        return _Record(first_arrival, blocks, -(-(HEAD.size + size) // PAGE_BYTES))

    def _is_begun(self, raw: bytes, page: int, arrival: int) -> bool:
        """Whether a record of this block begins on that page."""
        _, size, first_arrival = self._head_at(raw, page)
        return bool(size) and first_arrival == arrival

    def _head_at(self, raw: bytes, page: int) -> tuple[bytes, int, int]:
        """Digest, size, 0 if that cannot be one, and arrival number."""
        start = page * PAGE_BYTES
        if start + HEAD.size > len(raw):
            return b"", 0, 0
        digest, size, first_arrival = HEAD.unpack_from(raw, start)
        room = min(RECORD_BYTES_MAX, len(raw) - start - HEAD.size)
        return digest, size if size <= room else 0, first_arrival


def make_tail(folder: Path) -> None:
    """A new one, empty and synced.

    Raises:
        DiskFullError: no room for it.
        StorageError: anything else.
    """
    draft = folder / f"{NAME}.new"
    try:
        try:
            with draft.open("wb") as stream:
                stream.write(bytes(TAIL_BYTES))
                stream.flush()
                os.fsync(stream.fileno())
            draft.rename(folder / NAME)
        finally:
            draft.unlink(missing_ok=True)
        sync(folder)
    except OSError as error:
        if error.errno in FULL:
            raise DiskFullError(f"no room to make {folder / NAME}: {error}") from error
        raise StorageError(f"{folder / NAME} cannot be made: {error}") from error
