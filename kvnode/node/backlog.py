"""What is behind the last checkpoint, and what that asks of those who write.

Three things grow with it: the keys and the bytes in memory, and the operations that a start after
a crash has to replay while clients wait. A *checkpoint's worth* is what ``checkpoint_keys`` or
``checkpoint_bytes`` say, or, for a few keys that are written again and again, ``OPERATIONS_A_KEY``
times as many operations as keys.

What is *being written* by a checkpoint counts until that is on disk, beside what came since: a
node that is killed before replays it again. So the bound holds however often a node is killed, and
however soon after a start:

- rounds wait before they begin when more than one checkpoint's worth waits for one that is being
  written (or that failed), or more than ``HELD_FREELY`` in all;
- clients are refused beyond ``OVERDUE``, what is queued counted in. What other nodes send is slowed
  down and never refused, so it may pass the bound where a disk is stuck or full for long.

A pause grows with the square of what is too much: the rate of writes becomes the one that can be
written, without anybody being refused. It is no longer than a peer and a client bear for several
rounds (``PAUSE_S_MAX``), and ends with the checkpoint. Pauses that began earlier left the
checkpoint's process idle for a third of the time, waiting for the next one to fill. (A full load
on one node, keys at random among a million, has two to three checkpoints' worth behind the last.)
"""

from __future__ import annotations

from typing import NamedTuple

from kvnode.config import Config

OPERATIONS_A_KEY = 4
PAUSE_S = 0.2
"""Of a round, when one checkpoint's worth is too much."""
PAUSE_S_MAX = 0.5
"""Several rounds, one after the other, must not take ``peer_timeout_ms``."""
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
    excess = max(0.0, waiting - WAITING_FREELY, waiting + written - HELD_FREELY)
    return min(PAUSE_S * excess**2, PAUSE_S_MAX)
