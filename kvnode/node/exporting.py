"""A node's own writes, read from its data directory while it does not run."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kvnode.core.block import Op
from kvnode.core.dots import Dot
from kvnode.core.hlc import time_ms
from kvnode.core.types import COUNTERS, NAMES, TYPES
from kvnode.storage.ending import FORMAT
from kvnode.storage.interfaces import StorageError
from kvnode.storage.own_log import OwnLog


class ExportError(Exception):
    """The directory cannot be read; the message says why."""


@dataclass(frozen=True, slots=True)
class OwnWrite:
    """One operation that changed something."""

    dot: str
    time_ms: int
    type: str
    key: bytes
    value: bytes | None
    deleted: bool
    counter: dict[str, int]
    """Of an increment: its slot, and the slot's totals after it."""
    expires_ms: int
    """When the value expires; 0: never."""


class OwnWrites:
    """What the node of a directory wrote, oldest first."""

    def __init__(self, directory: Path, after: int | None) -> None:
        """Read ``DIR`` or ``DIR/aside-N``; ``after``: default the last one the cluster has.

        Raises:
            ExportError: a node uses it, or it is no data directory.
        """
        folder = directory / FORMAT if (directory / FORMAT).is_dir() else directory
        try:
            with _kept_from_nodes(folder.resolve()):
                self._log = OwnLog(folder)
        except StorageError as error:
            raise ExportError(str(error)) from error
        self.after = self._log.agreed if after is None else after
        self.origin = self._log.origin
        self.problems = self._log.problems

    def writes(self) -> Iterator[OwnWrite]:
        """Each operation behind ``after``."""
        for block in self._log.blocks:
            for index, op in enumerate(block.ops):
                seq = block.first_seq + index
                if seq > self.after and isinstance(op, list):
                    yield _write((block.origin, seq), block.hlc + index, op)


def _write(dot: Dot, hlc: int, op: Op) -> OwnWrite:
    assert isinstance(op, list)
    kind, key = op[0], op[1]
    counter: dict[str, int] = {}
    value, expires_ms = None, 0
    if kind not in COUNTERS:
        value = op[2]
        ((expires_ms, _),) = TYPES[kind].deadlines(TYPES[kind].delta(op, *dot, hlc)) or [(0, dot)]
    elif len(op) == 5:
        counter = {"slot": op[2], "incremented": op[3], "decremented": op[4]}
    deleted = value is None and not counter
    text = f"{dot[0]:016x}:{dot[1]}"
    return OwnWrite(text, time_ms(hlc), NAMES[kind], key, value, deleted, counter, expires_ms)


@contextmanager
def _kept_from_nodes(folder: Path) -> Iterator[None]:
    """Let no node begin to use it meanwhile, which would write to the same files.

    What was set aside no node writes to, and the one of its data directory may be running.

    Raises:
        ExportError: a node uses it.
    """
    lock = folder.parent / "LOCK"
    if folder.name != FORMAT or not lock.exists():
        yield
        return
    with lock.open("rb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ExportError(f"{folder.parent} is in use: stop its node first") from error
        yield
