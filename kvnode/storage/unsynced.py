"""A commit that is written out slowly, and undone if it was not synced.

Problem: LMDB syncs a commit at once. A checkpoint of 64,000 random keys of a million changes 40,000
pages, 160 MB: the disk was busy with those of three nodes for 0.3 to 0.75 s, and what else was to
be synced, the logs of all nodes on that disk, stood behind it.

Idea: commit without a sync, write the file out piece by piece, with pauses, and sync it then.
Meanwhile every process sees the commit, and one that is killed loses nothing. But if the machine
stops, any of the commit's pages may be on the disk: the meta page that makes it valid, and not
those it leads to. So both meta pages are kept in a file of their own as they were before the
commit, until it is synced. Who opens the environment and finds that file puts them back, which
undoes the commit: LMDB changes no page that the commit before uses. What a checkpoint had is in the
log, which is cut only behind one that is synced.

==============================================  ===================  ===============================
stopped or killed                               is found             and then it is
==============================================  ===================  ===============================
before the meta pages are kept                  nothing              as before the commit
before the commit                               them, unchanged      as before the commit
before it is synced                             them                 undone
before they are removed                         them                 undone: nobody was told of it
after that                                      nothing              as after the commit
==============================================  ===================  ===============================

There is one way for both, a machine that stops and a process that is killed, so that the rare one
is as well tried. While the file is there no other transaction may begin: the one after it could use
pages of the one before it. So ``keep`` refuses to keep a second time, and a node whose saver has
not come to its end syncs first (``Settling``). If that fails, it fails for good: the system tells
once that it could not write some pages, and takes them for written then.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import lmdb

from kvnode.storage.files import sync
from kvnode.storage.interfaces import StorageError, WriteFailed

logger = logging.getLogger(__name__)
KEPT: Final = "unsynced"
METAS: Final = 2
"""LMDB writes them in turns; they are the first pages of its file."""
CHECK_BYTES: Final = 4
TXNID_AT: Final = 144
"""In a meta page: the number of its commit, 8 bytes, of the processor's order."""
PIECE_BYTES: Final = 1 << 20
"""Less than a commit of the log waits for without anybody's noticing: 1 ms at 1 GB/s."""
WAIT_WRITE_WAIT: Final = 7
"""Linux's SYNC_FILE_RANGE_WAIT_BEFORE, _WRITE and _WAIT_AFTER."""


def is_kept(folder: Path) -> bool:
    """Whether the last commit of the environment in ``folder`` may not be synced."""
    return (folder / KEPT).exists()


def keep(folder: Path, page_bytes: int) -> None:
    """Keep the meta pages as they are; StorageError if there are some kept already."""
    if is_kept(folder):
        raise StorageError(f"{folder} has a commit that is not synced yet")
    size = METAS * page_bytes
    with (folder / "data.mdb").open("rb") as file:
        metas = file.read(size)
    new = folder / (KEPT + ".new")
    try:
        with new.open("wb") as file:
            file.write(crc32(metas).to_bytes(CHECK_BYTES, "big") + metas)
            file.flush()
            os.fsync(file.fileno())
        new.rename(folder / KEPT)
    except OSError:
        new.unlink(missing_ok=True)
        raise
    sync(folder)


def forget(folder: Path) -> None:
    """Keep them no longer: the commit is synced, or there was none."""
    (folder / KEPT).unlink()
    sync(folder)


def put_back(folder: Path) -> bool:
    """Undo the commit if it may not be synced; whether that was so. Nobody else has it open.

    Raises:
        StorageError: what was kept is damaged or of another file, or the disk fails.
    """
    try:
        (folder / (KEPT + ".new")).unlink(missing_ok=True)  # of who was killed while keeping them
        if not is_kept(folder):
            return False
        raw = (folder / KEPT).read_bytes()
        check, metas = raw[:CHECK_BYTES], raw[CHECK_BYTES:]
        if not metas or crc32(metas).to_bytes(CHECK_BYTES, "big") != check:
            raise unusable(folder, "is damaged")
        with (folder / "data.mdb").open("r+b") as file:
            undone = last_commit(file.read(len(metas))) - last_commit(metas)
            if undone not in (0, 1):
                raise unusable(folder, f"is of another file, {undone} commits before it")
            file.seek(0)
            file.write(metas)
            file.flush()
            os.fsync(file.fileno())
        forget(folder)
    except OSError as error:
        raise StorageError(f"{folder / KEPT} cannot be put back: {error}") from error
    logger.info("%s: the last checkpoint was not synced and is undone", folder)
    return True


def last_commit(metas: bytes) -> int:
    """The number of the newest of these meta pages."""
    size = len(metas) // METAS
    pages = (metas[at : at + size] for at in range(0, METAS * size, size))
    return max(int.from_bytes(page[TXNID_AT : TXNID_AT + 8], sys.byteorder) for page in pages)


def unusable(folder: Path, why: str) -> StorageError:
    """What was kept ``why`` cannot be put back."""
    return StorageError(
        f"{folder / KEPT} {why}, and {folder} cannot be used as it is. Restore both, or start with "
        "an empty data directory and let peers fill it"
    )


class Settling:
    """Sees to it that what another process has committed is synced, or the environment given up."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._failure = ""

    def settle(self, synced: Callable[[], None]) -> None:
        """That process has ended; ``synced`` syncs what it left, if it left anything.

        Raises:
            WriteFailed: that failed, now or ever: the next opening undoes the commit.
        """
        if self._failure:
            raise WriteFailed(self._failure)
        if is_kept(self._folder):
            try:
                synced()
                forget(self._folder)
            except (lmdb.Error, OSError) as error:
                raise self.failed(str(error)) from error

    def failed(self, reason: str) -> WriteFailed:
        """What everybody is told from now on, because it could not be synced for this reason."""
        self._failure = (
            f"{self._folder} cannot be synced: {reason}. When the node is started again, the last "
            "checkpoint is undone and made anew"
        )
        return WriteFailed(self._failure)


def write_out(file: Path, size: int, done: Callable[[float], None]) -> None:
    """Have the first ``size`` bytes written to the disk, a piece at a time, as far as the system
    lets one ask for that. It is no sync: errors are told by that.

    Args:
        done: is told which share is done, and may take its time.
    """
    begin = _begin_writing()
    if begin is None:
        return
    descriptor = os.open(file, os.O_RDONLY)
    try:
        for at in range(0, size, PIECE_BYTES):
            begin(descriptor, at, PIECE_BYTES, WAIT_WRITE_WAIT)
            done(min(1.0, (at + PIECE_BYTES) / size))
    finally:
        os.close(descriptor)


def _begin_writing() -> Any:
    """Linux's ``sync_file_range``; None elsewhere."""
    call = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if call is not None:
        call.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return call
