"""What to do where a block that a start has to replay is damaged.

The node must not start without it: what came after builds on it, and its own next writes would
claim to have seen it. Nothing on this disk can bring it back, but other nodes have what they were
told. So the directory is given up: a new one, under a new identity, gets everything any member
has; only own writes that nobody else was told may be lost, and those that can be read are shown
by ``kvnode export``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kvnode.core.block import HEAD_BYTES_MAX, block_head
from kvnode.core.errors import BlockError
from kvnode.storage.files import LOST_BLOCK_ADVICE
from kvnode.storage.interfaces import DamagedBlock, Log, StorageError


def replay(log: Log, after: int, own: int, names: Mapping[int, str]) -> Iterator[tuple[int, bytes]]:
    """``Log.replay``; a StorageError says exactly what is damaged, and the remedy."""
    try:
        for arrival, raw in log.replay(after):
            yield arrival, raw
            after = arrival
    except DamagedBlock as damage:
        raise _refusal(damage, after + 1, log, own, names) from damage


def _refusal(
    damage: DamagedBlock, arrival: int, log: Log, own: int, names: Mapping[int, str]
) -> StorageError:
    return StorageError(
        f"block {arrival} of the log fails its checksum ({_writes(damage, log, own, names)}), and "
        f"{LOST_BLOCK_ADVICE}"
    )


def _writes(damage: DamagedBlock, log: Log, own: int, names: Mapping[int, str]) -> str:
    """Which ones it holds, as far as can be told from what is left of it."""
    try:
        end, _ = block_head(damage.raw[:HEAD_BYTES_MAX])
    except BlockError:
        return "whose writes it holds cannot be told"
    if log.chain_at(end) is None:  # its head is damaged
        return "whose writes it holds cannot be told"
    origin, seq = end
    dot = f"{origin:016x}:{seq}"
    if origin == own:
        return f"this node's own writes up to {dot}"
    return f"writes of {names.get(origin) or 'another node'} up to {dot}"
