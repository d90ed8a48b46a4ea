"""A snapshot on its way in, staged beside the state until all of it is here.

``DIR/v1/incoming/`` is an LMDB environment with the tables

- ``chunks``: section, 1 byte | last key of the chunk -> ``crc32, 4 bytes | rows``,
- ``meta``:  ``source`` -> ``crc32 | msgpack [peer, snapshot id, keys total, bytes total, keys,
  bytes, started ms, complete]``.

A chunk and the progress with it are one synced transaction, so that a process that is killed goes
on behind the last chunk, if the sender still has the snapshot. The chunks are checked when they
come and again when they are read.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any
from zlib import crc32

import msgpack

from kvnode.core.dots import Dot
from kvnode.core.errors import StateError
from kvnode.core.snapshot import START, Chunk, Position, Row, Section, unpack_rows
from kvnode.storage.checkpoint import decode_meta, restore_request
from kvnode.storage.environment import Environment
from kvnode.storage.interfaces import Checkpoint, DiskFullError, StorageError


@dataclass(frozen=True, slots=True)
class Source:
    """Where the snapshot comes from and how much of it is here."""

    peer: int
    """Origin of the sender."""
    snapshot: bytes
    keys_total: int
    bytes_total: int
    keys: int = 0
    bytes: int = 0
    started_ms: int = 0
    complete: bool = False


class Incoming:
    """The staging area of a node; empty most of the time. One thread at a time."""

    def __init__(self, path: Path, origin: int) -> None:
        """Take up what is there; leftovers that cannot be used are removed."""
        self.source: Source | None = None
        self.position: Position = START
        self._path = path
        self._origin = origin
        self._opened: Environment | None = None
        if path.exists():
            try:
                self._open()
                self._resume()
            except (StorageError, StateError, DiskFullError):
                self.discard()
        if self.source is None:
            self.discard()

    def begin(self, source: Source) -> None:
        """Start over with another snapshot.

        Raises:
            DiskFullError: there is no room for its folder and files.
        """
        self.discard()
        try:
            self._path.mkdir(parents=True)
        except OSError as error:
            raise DiskFullError(f"no room to make {self._path}: {error.strerror}") from error
        self._open()
        self.source = source

    def add(self, chunk: Chunk, *, last: bool) -> None:
        """Keep one more chunk, synced; ``last``: with it the snapshot is complete.

        Raises:
            StateError: it is damaged or does not follow the one before.
            DiskFullError: there is no room for it.
        """
        assert self.source is not None, "add before begin"
        if crc32(chunk.rows) != chunk.crc:
            raise StateError("a chunk fails its checksum")
        flat = unpack_rows(chunk.rows)
        here = Position(chunk.section, chunk.first_key)
        if (flat[0], flat[-2]) != (chunk.first_key, chunk.last_key) or (
            here <= self.position and self.position != START
        ):
            raise StateError(f"a chunk of {chunk.section.name} does not follow the one before")
        entries = len(flat) // 2 if chunk.section is Section.ENTRIES else 0
        source = replace(
            self.source,
            keys=self.source.keys + entries,
            bytes=self.source.bytes + len(chunk.rows),
            complete=last,
        )
        packed: bytes = msgpack.packb(astuple(source))

        def change(txn: Any) -> None:
            key = bytes([chunk.section]) + chunk.last_key
            value = chunk.crc.to_bytes(4, "big") + chunk.rows
            txn.put(key, value, db=self._env.tables["chunks"], append=True)
            txn.put(b"source", crc32(packed).to_bytes(4, "big") + packed, db=self._env.meta)

        self._env.write(change)
        self.source = source
        self.position = chunk.position

    def checkpoint(self, window: int) -> Checkpoint:
        """The sender's checkpoint without entries; ``StateError`` if it is damaged."""
        found = [value for _, value in self.rows(Section.META)]
        if len(found) != 1:
            raise StateError("a snapshot without its checkpoint")
        checkpoint = decode_meta(found[0], window)
        for key, value in self.rows(Section.REQUESTS):
            restore_request(checkpoint, key, value)
        return checkpoint

    def ends(self) -> Iterator[tuple[Dot, bytes]]:
        """The chain values that came with it."""
        for key, chain in self.rows(Section.CHAINS):
            yield (int.from_bytes(key[:8], "big"), int.from_bytes(key[8:], "big")), chain

    def rows(self, section: Section) -> Iterator[Row]:
        """The rows of a section, in key order; ``StateError`` if they are damaged."""
        for flat in self.chunks(section):
            rows = iter(flat)
            yield from zip(rows, rows, strict=True)

    def chunks(self, section: Section) -> Iterator[list[bytes]]:
        """The same, a chunk at a time: ``[key, value, key, value, ...]``."""
        key, prefix = bytes([section]), bytes([section])
        while True:
            with self._env.read() as txn, txn.cursor(self._env.tables["chunks"]) as cursor:
                if not cursor.set_range(key) or not cursor.key().startswith(prefix):
                    return
                key, value = cursor.key() + b"\0", cursor.value()
            if crc32(value[4:]).to_bytes(4, "big") != value[:4]:
                raise StateError("a staged chunk fails its checksum")
            yield unpack_rows(value[4:])

    def discard(self) -> None:
        """Remove what is staged."""
        self.close()
        shutil.rmtree(self._path, ignore_errors=True)
        self.source, self.position = None, START

    def close(self) -> None:
        """Close it; what is staged stays for the next start."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    @property
    def _env(self) -> Environment:
        assert self._opened is not None, "nothing is staged"
        return self._opened

    def _open(self) -> None:
        self._opened = Environment(self._path, ("chunks",), part="incoming", origin=self._origin)

    def _resume(self) -> None:
        with self._env.read() as txn, txn.cursor(self._env.tables["chunks"]) as cursor:
            raw = txn.get(b"source", db=self._env.meta)
            if raw is None or not cursor.last():
                return
            last = cursor.key()
        if crc32(raw[4:]).to_bytes(4, "big") != raw[:4]:
            raise StateError("the staged snapshot fails its checksum")
        self.source = Source(*msgpack.unpackb(raw[4:]))
        self.position = Position(Section(last[0]), last[1:])
