"""Files of an LMDB environment, and rows of its tables: what needs no environment."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import lmdb

from kvnode.storage.interfaces import DamagedPages, DiskFullError, StorageError

MAGIC = 0xBEEFC0DE
FULL_BYTES = 64 << 10
"""A disk with less room is full: what was cut short took the rest."""
ADVICE = "Restore it, or start with an empty data directory and let peers fill it"


def drop_below(txn: Any, table: Any, floor: bytes) -> None:
    """Delete the rows with a smaller key."""
    with txn.cursor(table) as cursor:
        more = cursor.first()
        while more and cursor.key() < floor:
            more = cursor.delete()


def check_header(file: Path) -> None:
    """Raise StorageError unless it begins as LMDB's files do."""
    with file.open("rb") as stream:
        header = stream.read(24)
    if len(header) < 24 or struct.unpack_from("<I", header, 16)[0] != MAGIC:
        raise StorageError(
            f"{file} is not an LMDB file: it is foreign or damaged and was not touched"
        )


def sync(path: Path) -> None:
    """Sync a file or folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_full(path: Path) -> bool:
    """Whether the disk has no room left."""
    disk = os.statvfs(path)
    return disk.f_bavail * disk.f_frsize < FULL_BYTES


def unopened(file: Path, error: lmdb.Error) -> Exception:
    """What it means that a file cannot be opened or made."""
    if isinstance(error, lmdb.DiskError):
        return DiskFullError(f"no room to make {file}: {error}")
    return StorageError(f"{file} cannot be opened: {error}")


def unreadable(path: Path, error: lmdb.Error) -> DamagedPages:
    """What it means that an environment cannot be read."""
    if isinstance(error, lmdb.PanicError):
        return DamagedPages(
            f"{path} cannot be read after a write that failed ({error}): start the node again"
        )
    return DamagedPages(f"{path} cannot be read: {error}. {ADVICE}")
