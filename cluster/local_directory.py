"""``.kvnode-cluster/``: what ``./cluster/local`` leaves there, and that it removes nothing else.

::

    DIR/lock, cluster.json, supervisor.log    the supervisor's
    DIR/NAME/log                              what a node printed
    DIR/NAME/data/                            a node's data directory
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Final

from cluster.control import (
    LOCK_FILE,
    LOG_FILE,
    STATE_FILE,
    ClusterError,
    Contact,
    NotRunning,
    is_held,
)

KILL_DEADLINE_S: Final = 5.0

_FILES: Final = {LOCK_FILE, LOG_FILE, STATE_FILE, f"{STATE_FILE}.new"}
_NODE_ENTRIES: Final = {"LOCK", "DIED", "new", "v1"}
"""All that kvnode makes in a data directory."""


def foreign_in(directory: Path) -> list[Path]:
    """What no cluster put there, sorted; nothing if there is no directory."""
    if not directory.is_dir():
        return []
    found: list[Path] = []
    for entry in _entries(directory):
        if _is_folder(entry):
            found += [part for part in _entries(entry) if not _is_of_node(part)]
        elif entry.name not in _FILES:
            found.append(entry)
    return found


def clear(directory: Path, *, keep_data: bool) -> list[Path]:
    """Remove what a cluster left, or all of it but the nodes' data; returns what is foreign.

    Only without a supervisor.
    """
    foreign = foreign_in(directory)
    if not directory.is_dir():
        return foreign
    for entry in _entries(directory):
        if entry.name in _FILES:
            entry.unlink()
        elif _is_folder(entry):
            _clear_node(entry, keep_data=keep_data)
    _remove_if_empty(directory)
    return foreign


def end_hard(directory: Path) -> None:
    """Kill a supervisor that does not answer; its nodes go with it. Raises ``ClusterError``."""
    deadline_s = monotonic() + KILL_DEADLINE_S
    while is_held(directory):
        # Suppressed: it is just beginning or ending.
        with suppress(NotRunning, ProcessLookupError):
            os.kill(Contact.read(directory).pid, signal.SIGKILL)
        if monotonic() > deadline_s:
            raise ClusterError(
                f"the supervisor cannot be ended; who holds {directory / LOCK_FILE}?"
            )
        sleep(0.02)


def _entries(directory: Path) -> Iterator[Path]:
    return iter(sorted(directory.iterdir()))


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _is_of_node(part: Path) -> bool:
    if part.name == "log":
        return part.is_file()
    if part.name == "data" and _is_folder(part):
        return {entry.name for entry in part.iterdir()} <= _NODE_ENTRIES
    return False


def _clear_node(home: Path, *, keep_data: bool) -> None:
    for part in filter(_is_of_node, _entries(home)):
        if part.name == "log":
            part.unlink()
        elif not keep_data:
            shutil.rmtree(part)
    _remove_if_empty(home)


def _remove_if_empty(directory: Path) -> None:
    with suppress(OSError):
        directory.rmdir()
