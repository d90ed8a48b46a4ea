"""Small rows with a checksum over key and value: a bit that flips in either is found.

``value | crc32 of key and value, big-endian``. A value alone is not enough: under another key it
would be another fact.
"""

from __future__ import annotations

from zlib import crc32

from kvnode.storage.interfaces import DamagedPages

CRC_BYTES = 4


def sealed(key: bytes, value: bytes) -> bytes:
    """What to store under ``key``."""
    return value + crc32(value, crc32(key)).to_bytes(CRC_BYTES, "big")


def unsealed(key: bytes, row: bytes, what: str) -> bytes:
    """The value in a row; DamagedPages, which says ``what`` it was to be."""
    value = row[:-CRC_BYTES]
    if crc32(value, crc32(key)).to_bytes(CRC_BYTES, "big") != row[-CRC_BYTES:]:
        raise DamagedPages(
            f"{what} fails its checksum. Restore the data directory, or start with an empty one "
            "and let peers fill it"
        )
    return value
