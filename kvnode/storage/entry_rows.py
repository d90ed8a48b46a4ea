"""Many entries with one look: what a round of writes, or a read of many keys, begins with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

READ_BYTES_MAX = 16 << 20
"""About what one look brings: thousands of values of a MiB are not to be held at once."""


def first_rows(txn: Any, table: Any, keys: Iterable[bytes]) -> list[bytes | None]:
    """The rows under the keys, in order, as far as they are not too much together."""
    get, left = txn.get, READ_BYTES_MAX
    rows: list[bytes | None] = []
    for key in keys:
        raw = get(key, None, table)
        rows.append(raw)
        if raw is not None:
            left -= len(raw)
            if left < 0:
                break
    return rows
