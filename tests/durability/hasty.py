"""``kvnode serve`` with a planted bug, to see that its order of system calls gives it away.

``python -m tests.durability.hasty BUG serve ...``
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import lmdb

from kvnode.cli.main import main
from kvnode.core.block import Block
from kvnode.storage.tailed_log import TailedLog

LATE_S = 0.2


def without_sync() -> None:
    """LMDB commits without any sync: pages are written, and the kernel may take its time."""
    real: Any = lmdb.open

    def open_unsynced(*arguments: Any, **options: Any) -> Any:
        return real(*arguments, **{**options, "sync": False, "metasync": False})

    setattr(lmdb, "open", open_unsynced)  # noqa: B010 - for mypy it is a class


def without_metasync() -> None:
    """The page that makes a commit valid is not synced."""
    real: Any = lmdb.open

    def open_unsynced(*arguments: Any, **options: Any) -> Any:
        return real(*arguments, **{**options, "metasync": False})

    setattr(lmdb, "open", open_unsynced)  # noqa: B010 - for mypy it is a class


def without_synced_tail() -> None:
    """The log's tail is not synced."""
    setattr(os, "fdatasync", lambda _: None)  # noqa: B010 - for mypy it is no variable


def answer_first() -> None:
    """Appends return at once and are made a moment later."""
    real = TailedLog.append

    def append_later(log: TailedLog, blocks: Sequence[Block]) -> None:
        threading.Timer(LATE_S, real, (log, blocks)).start()

    TailedLog.append = append_later  # type: ignore[method-assign,assignment]


BUGS: dict[str, Callable[[], None]] = {
    bug.__name__: bug for bug in (without_sync, without_metasync, without_synced_tail, answer_first)
}

if __name__ == "__main__":
    BUGS[sys.argv.pop(1)]()
    main()
