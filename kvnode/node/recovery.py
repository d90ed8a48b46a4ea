"""What a start replays: the blocks in the log behind the last checkpoint.

Two to three checkpoints' worth of operations after a full load, and ``backlog.OVERDUE`` at most
where clients wrote them, however often the node was killed; clients wait meanwhile. A look into the
state for every block would take most of that time where blocks are small. So they are taken many at
once, as a round takes those it received (``Replica.replay``), but never more than fit into memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kvnode.core.absorbing import changes_of
from kvnode.core.block import decode_block
from kvnode.core.errors import BlockError, StateError
from kvnode.core.replica import Received, Replica, Round
from kvnode.node.damage import replay
from kvnode.storage.interfaces import Log, StorageError

OPERATIONS_MAX, BYTES_MAX = 1024, 1 << 20
"""Of the blocks that are taken at once; with four times as many it takes as long."""


def recover(
    log: Log,
    covered: int,
    replica: Replica,
    names: Mapping[int, str],
    install: Callable[[Round], None],
) -> int:
    """Replay what is behind ``covered``; returns how many operations that were.

    Raises:
        StorageError: log or state is damaged; what comes first in the log is told.
    """
    replay_ = _Replay(replica, install)
    try:
        for arrival, raw in replay(log, covered, replica.origin, names):
            replay_.add(arrival, raw)
    except StorageError:
        replay_.flush()  # where that is damaged too, it is what came first
        raise
    replay_.flush()
    return replay_.operations


class _Replay:
    """Gathers blocks, and applies them in order."""

    def __init__(self, replica: Replica, install: Callable[[Round], None]) -> None:
        self.operations = 0
        self._replica = replica
        self._install = install
        self._waiting: list[Received] = []
        self._room = OPERATIONS_MAX, BYTES_MAX
        self._blocks_max = OPERATIONS_MAX
        """Taken at once: fewer where the entries they change are large."""

    def add(self, arrival: int, raw: bytes) -> None:
        """Take the next block, and apply those that wait if they are enough."""
        try:
            block = decode_block(raw)
            changes = changes_of(block)
        except BlockError as error:
            raise StorageError(f"block {arrival} of the log: {error}") from error
        self._waiting.append((block, changes))
        self.operations += block.count
        operations, size = self._room
        self._room = operations - block.count, size - len(raw)
        if min(self._room) <= 0:
            self.flush()

    def flush(self) -> None:
        """Apply all that wait."""
        waiting, self._waiting = self._waiting, []
        self._room = OPERATIONS_MAX, BYTES_MAX
        first = 0
        while first < len(waiting):
            part = waiting[first : first + self._blocks_max]
            try:
                round_ = self._replica.replay(part)
            except StateError as error:
                raise StorageError(
                    f"the state is damaged: {error}. Restore the data directory, or start with an "
                    "empty one and let peers fill it"
                ) from error
            self._install(round_)
            taken = len(round_.records)
            grown = min(2 * self._blocks_max, OPERATIONS_MAX)
            self._blocks_max = taken if taken < len(part) else grown
            first += taken
