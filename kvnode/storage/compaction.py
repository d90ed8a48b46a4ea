"""When an environment's file is made smaller, and how.

Problem: every commit leaves the pages that it replaced, and rows that came in random order leave
pages two thirds full. LMDB uses all that again, but the file stays as large as it was at its worst:
a million keys loaded at random took 420 bytes each, of which 165 are rows.

- *Compaction* copies the pages in use, which takes as long as writing them, and the exchange of the
  files keeps readers waiting for a moment. So it is for files of which hardly anything is in use.
- *Repacking* writes all rows anew, in order, to full pages. It takes a second a million rows, and
  writers wait for its end. So it is for quiet moments: it is given up, between two pieces, as soon
  as somebody wants to write, and tried again at the next one. It is not worth it unless a quarter
  of the file goes; what the rows would take is known from how many there are and from a look at a
  few hundred of them.

Either way what is made beside the file takes its place when it is whole (``Environment.compact``).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import lmdb

from kvnode.storage.environment import Environment
from kvnode.storage.files import sync
from kvnode.storage.interfaces import DiskFullError, StorageError

COMPACT_BYTES_MIN = 64 << 20
"""Smaller files are not worth compacting,"""
FREE_SHARE = 0.875
"""Of a file that is compacted at once. At 0.5, three loaded nodes did it after every other
checkpoint, for the next ones to need the pages again; writes took 0.4 s meanwhile."""
REPACK_BYTES_MIN = 16 << 20
"""or repacking."""
WASTE_MIN = 0.25
"""Of the file: less is not worth it."""
PIECE_ROWS = 1_000
"""Written between two looks at whether to go on: a few ms."""
PIECES = 64
"""In a transaction, whose pages are in memory."""
LOOKS, LOOK_ROWS = 16, 32
"""Where, and at how many rows in each place, is looked to learn how large they are."""
NODE_BYTES = 10
"""LMDB's, beside key and value: a header, and where in the page it is."""
PAGE_HEAD_BYTES = 16


class GivenUp(Exception):
    """Somebody wants to write."""


def compact_if_wasteful(env: Environment, free_share: float = FREE_SHARE) -> bool:
    """Compact a large file of which so much is free; False if not, or if there is no room."""
    with env.read() as txn:
        file_bytes, live_bytes = env.file_bytes, env.live_bytes(txn)
    if file_bytes <= COMPACT_BYTES_MIN or live_bytes >= (1 - free_share) * file_bytes:
        return False
    try:
        env.compact()
    except DiskFullError:
        return False
    return True


def repack_if_loose(env: Environment, goes_on: Callable[[], bool]) -> bool:
    """Write the file anew if much of it is empty; False if not, if there is no room for a copy, or
    if ``goes_on`` said no.

    Raises:
        StorageError: it cannot be read. It is as it was.
    """
    file_bytes = env.file_bytes
    if file_bytes < REPACK_BYTES_MIN or file_bytes - dense_bytes(env) < WASTE_MIN * file_bytes:
        return False
    try:
        env.compact(lambda target: _copy_rows(env, target, goes_on))
    except (GivenUp, DiskFullError):
        return False
    return True


def dense_bytes(env: Environment) -> int:
    """How large the file would be with full pages, about."""
    with env.read() as txn:
        page = txn.stat(env.meta)["psize"]
        return sum(_dense_bytes(txn, table, page) for table in env.tables.values())


def _dense_bytes(txn: Any, table: Any, page: int) -> int:
    """What the rows of a table would take with full pages, about."""
    stat = txn.stat(table)
    rows, overflow = stat["entries"], stat["overflow_pages"]
    if not rows:
        return 0
    large = (page - PAGE_HEAD_BYTES) // 2 - NODE_BYTES
    seen = size = 0
    with txn.cursor(table) as cursor:
        for look in range(LOOKS):
            if not cursor.set_range(bytes((look * 256 // LOOKS,))):
                break
            for key, value in islice(cursor, LOOK_ROWS):
                node = len(key) + len(value)
                size += (node if node <= large else len(key)) + NODE_BYTES
                seen += 1
    in_a_page = max(1.0, (page - PAGE_HEAD_BYTES) * seen / size - 0.5)  # half a row is left over
    return int((rows / in_a_page + overflow + 1) * page)


def _copy_rows(env: Environment, target: Path, goes_on: Callable[[], bool]) -> None:
    """All tables, row by row. Synced at the end only: nobody has seen it before."""
    try:
        with lmdb.open(
            str(target), map_size=env.map_bytes, max_dbs=len(env.tables) + 1, sync=False
        ) as copy:
            for name, table in env.tables.items():
                _copy_table(env, table, copy, copy.open_db(name.encode()), goes_on)
            copy.sync(force=True)
        sync(target)
    except lmdb.Error as error:
        raise DiskFullError(f"no room to repack {env.path}: {error}") from error


def _copy_table(
    env: Environment, table: Any, copy: Any, to: Any, goes_on: Callable[[], bool]
) -> None:
    with env.snapshot() as txn, txn.cursor(table) as cursor:
        rows = iter(cursor)
        more = True
        while more:
            with copy.begin(write=True) as change, change.cursor(to) as end:
                for _ in range(PIECES):
                    if not goes_on():
                        raise GivenUp
                    piece = list(islice(rows, PIECE_ROWS))
                    end.putmulti(piece, append=True)
                    more = len(piece) == PIECE_ROWS
                    if not more:
                        break
        count = txn.stat(table)["entries"]
    with copy.begin() as view:
        if view.stat(to)["entries"] != count:
            raise StorageError(
                f"{env.path}: a table of {count} rows has other ones when it is read"
            )
