"""Entries that fail their checksum are told of when the state is opened, before anybody asks.

Who asks for a damaged value is told so. But if it is the *key* that has changed, whoever asks for
the right one finds nothing, and only this says that something is wrong.
"""

from __future__ import annotations

import logging
from zlib import crc32

from kvnode.core.errors import quoted
from kvnode.storage.environment import Environment

logger = logging.getLogger(__name__)
NAMED = 5
"""Keys in the message."""


def report_damage(env: Environment) -> None:
    """Log an error if entries fail their checksum (``core/entry.py``); the others are served."""
    with env.read(buffers=True) as txn, txn.cursor(env.tables["entries"]) as cursor:
        damaged = [
            bytes(key)
            for key, raw in cursor
            if crc32(raw[5:], crc32(key)).to_bytes(4, "big") != raw[1:5]
        ]
    if damaged:
        logger.error(
            "%d stored entries fail their checksum (%s), and keys may be missing for it: "
            "run kvnode repair --all",
            len(damaged),
            ", ".join(map(quoted, damaged[:NAMED])),
        )
