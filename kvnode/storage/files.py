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
LOST_BLOCK_ADVICE = (
    "this node cannot start without it. Show its own writes that can be read: kvnode export "
    "DIRECTORY > saved.jsonl. Then move the directory away, start the node with an empty one, "
    "and run kvnode replace NAME at a member: it gets back all that the others have. Without "
    "other members, restore a backup"
)
"""Of a block that a start has to replay."""


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


def check_length(file: Path, used: int) -> None:
    """Raise StorageError if it ends before the last page that was ever used."""
    length = file.stat().st_size
    if length < used:
        raise StorageError(f"{file} is truncated: {length} bytes of {used}. {ADVICE}")


def pages_of(stat: Any) -> int:
    """Of a table, or of the list of tables."""
    return int(stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"])


def check_mark(path: Path, found: bytes | None, mark: bytes, version: str) -> None:
    """Raise StorageError unless the owner's mark in the file is the one that is expected."""
    if found is None:
        raise StorageError(f"{path} does not say whose it is: it is damaged. {ADVICE}")
    if found != mark:
        theirs = found.rsplit(b" ", 2)[0].decode(errors="replace")
        if theirs != version:
            raise StorageError(
                f"{path} has the format {theirs!r}, this version needs {version!r}: run the "
                "version that wrote it, or start with an empty data directory and let peers fill it"
            )
        raise StorageError(
            f"{path} belongs to another node, or is another part of this one: directories were "
            "mixed up"
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


def unopened(file: Path, error: Exception) -> Exception:
    """What it means that a file cannot be opened or made."""
    if isinstance(error, StorageError):
        return error
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
