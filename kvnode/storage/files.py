"""Files of an LMDB environment, and rows of its tables: what needs no environment."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

from kvnode.storage.interfaces import StorageError

MAGIC = 0xBEEFC0DE


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
