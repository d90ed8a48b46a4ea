"""What is behind the last checkpoint, and what that asks of those who write.

Three things grow with it: the keys and the bytes in memory, and the operations that a start after
a crash has to replay while clients wait. A *checkpoint's worth* is what ``checkpoint_keys`` or
``checkpoint_bytes`` say, or, for a few keys that are written again and again, ``OPERATIONS_A_KEY``
times as many operations as keys.

It is in two parts: what is *being written* by a checkpoint counts until that is on disk, for a
node that is killed before replays it again, and what came since. So both together are bounded,
however often a node is killed, and however soon after a start:

- writes slow down when more than one checkpoint's worth waits for one that is being written, or
  more than ``HELD_FREELY`` in all;
- they are refused beyond ``OVERDUE``.

Slowing down grows with the square of what is too much: the rate of writes becomes the one that can
be written, without anybody being refused. Pauses that began earlier left the checkpoint's process
idle for a third of the time, waiting for the next one to fill. (A full load on one node, keys at
random among a million, has two to three checkpoints' worth behind the last one.)
"""

from __future__ import annotations

from typing import NamedTuple

from kvnode.config import Config

OPERATIONS_A_KEY = 4
PAUSE_S = 0.2
"""Of a round, when one checkpoint's worth is too much."""
WAITING_FREELY = 1.0
HELD_FREELY = 3.0
OVERDUE = 6.0


class Backlog(NamedTuple):
    """Changes that are in the log and not in the state on disk."""

    keys: int = 0
    size: int = 0
    """Bytes, about."""
    operations: int = 0

    def worth(self, config: Config) -> float:
        """In checkpoints."""
        return max(
            self.keys / config.checkpoint_keys,
            self.size / config.checkpoint_bytes,
            self.operations / (OPERATIONS_A_KEY * config.checkpoint_keys),
        )


def pause_s(waiting: float, written: float) -> float:
    """How long a round is to wait before it begins, while a checkpoint is being written.

    Args:
        waiting: checkpoints' worth that waits for the next one.
        written: that is being written.
    """
    return PAUSE_S * max(0.0, waiting - WAITING_FREELY, waiting + written - HELD_FREELY) ** 2
