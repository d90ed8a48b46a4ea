"""Log and state store in both forms, behind one way to open and reopen them."""

from __future__ import annotations

from pathlib import Path

from kvnode.core.block import Block, decode_block
from kvnode.core.operations import Increment, Put
from kvnode.storage.interfaces import Log, StateStore
from kvnode.storage.memory import MemoryLog, MemoryState
from kvnode.storage.state import LmdbState
from kvnode.storage.tailed_log import TailedLog
from tests.core.memory_node import MemoryNode

ORIGIN = 2**64 - 1


def abandon(log: Log) -> None:
    """Close the files of a log and do nothing else, as the kernel does for who is killed."""
    assert isinstance(log, TailedLog)
    log.in_lmdb.close()
    log.tail.close()


def open_files() -> int:
    """How many this process has."""
    return len(list(Path("/proc/self/fd").iterdir()))


class LmdbStores:
    """Two LMDB environments below a folder."""

    def __init__(self, path: Path) -> None:
        self._path = path
        for part in ("log", "state"):
            (path / part).mkdir()
        self.log: Log
        self.state: StateStore
        self._open()

    def _open(self) -> None:
        self.log = TailedLog(self._path / "log", ORIGIN)
        self.state = LmdbState(self._path / "state", ORIGIN)

    def reopen(self) -> None:
        """As a new process would when the old one was killed."""
        abandon(self.log)
        self.state.close()
        self._open()

    def close(self) -> None:
        self.log.close()
        self.state.close()


class MemoryStores:
    """The in-memory twins; what they keep is what a disk would."""

    def __init__(self) -> None:
        self.log: Log = MemoryLog()
        self.state: StateStore = MemoryState()

    def reopen(self) -> None:
        self.close()

    def close(self) -> None:
        self.log.close()
        self.state.close()


Stores = LmdbStores | MemoryStores


def history() -> list[Block]:
    """Blocks of three origins in an arrival order that is a causal one."""
    nodes = [MemoryNode(origin) for origin in (1, 2**63, ORIGIN)]
    for round_ in range(4):
        for node in nodes:
            node.write(*[Put(b"k", b"%d" % round_)] * (1 + round_ % 3), Increment(b"c", 1))
        nodes[round_ % 3].pull(nodes[(round_ + 1) % 3])
    last = MemoryNode(9)
    for node in nodes:
        last.pull(node)
    return [decode_block(raw) for _, raw in last.log.replay(0)]
