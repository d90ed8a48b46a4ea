"""How the last run with a directory ended, and whether its files have to be looked at for that.

LMDB writes pages to new places and then the page that makes them count, each synced. So a process
that is killed leaves whole files, wherever it was: what it had handed to the kernel is still
there, as it was. What can make them otherwise is the *machine*: a disk that said it had synced and
lost its power, a bit that changed where it lay. Then all of it is looked at before anything is
served (``soundness.py``), which takes seconds a million keys, and so it is

- when the machine, or the one the directory was on, has started since (its boot id is another);
- when the last run died as it opened the files, or by a signal that damaged pages end a process
  with: else the node might end the same way for ever;
- when the last run found something wrong;
- when the directory is a copy, which may be of files that were being written.

After a clean stop none of that counts but the last two: what was closed has been synced.

``LOCK`` says it: empty after a clean stop, else ``PID BOOT PHASE``. Deadly signals are told by
``DIED``, where Python's fault handler writes as the process dies; the file is kept open for that.
"""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from kvnode.storage.files import sync
from kvnode.storage.interfaces import StorageError

logger = logging.getLogger(__name__)
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
LOCK_BYTES_MAX = 128
ORPHAN_S = 30.0
"""A start waits so long for the lock of a run that has ended; a sync does not take longer."""
ORPHAN_LOOK_S = 0.01
FORMAT = "v1"
"""The folder in a data directory that holds all but what is about runs."""


class Phase(StrEnum):
    """Of a run."""

    OPENING = "opening"
    SERVING = "serving"
    SUSPECT = "suspect"
    """Something is wrong with the files."""


class Ending(NamedTuple):
    """Of the last run."""

    clean: bool
    boot: str
    phase: str
    died: bool

    @property
    def suspicious(self) -> bool:
        """Whether the files have to be looked at before they are used."""
        if self.clean:
            return False
        return self.died or self.phase != Phase.SERVING or not self.boot or self.boot != boot_id()


def boot_id() -> str:
    """Of the kernel since it started; empty if it does not say."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""


def take_lock(path: Path) -> tuple[int, Ending]:
    """The lock of a data directory, made if there is none, and how its last run ended.

    Raises:
        StorageError: it is in use, or not kvnode's.
    """
    try:
        if not path.is_dir():
            path.mkdir(parents=True)
            sync(path.parent)
    except OSError as error:
        raise StorageError(f"cannot make the data directory {path}: {error.strerror}") from error
    names = {entry.name for entry in path.iterdir()}
    ours = (
        {"LOCK", "DIED", "new"} if "LOCK" in names else set()
    )  # what a crash while making it leaves
    asides = {name for name in names if name.startswith("aside-")}
    if names - ours - asides and not (path / FORMAT).is_dir():
        raise StorageError(
            f"{path} is not a kvnode data directory and not empty (it holds "
            f"{min(names - ours)!r}): use an empty or a new directory"
        )
    try:
        lock = os.open(path / "LOCK", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StorageError(f"cannot write to {path}: {error.strerror}") from error
    if not _locked(lock):
        holder = _holder(lock)
        os.close(lock)
        raise StorageError(
            f"{path} is in use by another kvnode (process {holder or 'unknown'}): "
            "stop it, or use another directory"
        )
    ending = read_ending(lock, path)
    write_phase(lock, Phase.SUSPECT if ending.suspicious else Phase.OPENING)
    os.fsync(lock)  # a machine that stops now must not leave it empty, as after a clean stop
    return lock, ending


def _locked(lock: int) -> bool:
    """Take the lock, if nobody has it, or who has it is ending.

    That is so when the process that wrote its id is no more: what it had started to write a
    checkpoint (``saver.py``) ends with it, but that may take until a sync is over.
    """
    until = time.monotonic() + ORPHAN_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > until or _is_alive(_holder(lock)):
                return False
            time.sleep(ORPHAN_LOOK_S)
        else:
            return True


def _holder(lock: int) -> str:
    """The process that wrote to the lock last."""
    return os.pread(lock, LOCK_BYTES_MAX, 0).decode(errors="replace").partition(" ")[0]


def _is_alive(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except (ValueError, OSError):  # not said yet, or another user's
        pass
    return True


def read_ending(lock: int, folder: Path) -> Ending:
    """What the last run left in a directory; ``lock``: its open lock file."""
    words = os.pread(lock, LOCK_BYTES_MAX, 0).decode(errors="replace").split()
    _, boot, phase = words if len(words) == 3 else ("", "", "")
    died = folder / "DIED"
    return Ending(not words, boot, phase, died.exists() and died.stat().st_size > 0)


def write_phase(lock: int, phase: Phase) -> None:
    """Say how far this run is. Not synced: when the machine stops, the boot id tells, which was
    synced with the first phase."""
    line = f"{os.getpid()} {boot_id() or '-'} {phase}".encode()
    os.pwrite(lock, line, 0)
    os.ftruncate(lock, len(line))


def note_phase(lock: int, phase: Phase) -> None:
    """As ``write_phase``, of a run that goes on: a full disk does not end it for that."""
    with _noting():
        write_phase(lock, phase)


def note_clean_stop(lock: int) -> None:
    """The next opening needs to look at nothing."""
    with _noting():
        os.ftruncate(lock, 0)


@contextlib.contextmanager
def _noting() -> Iterator[None]:
    """What is not noted costs a look at the next opening, at most."""
    try:
        yield
    except OSError as error:
        logger.warning("how this run goes cannot be noted in LOCK: %s", error)


def tell_of_death(folder: Path) -> None:
    """Let this process write to ``DIED`` when damaged pages end it. One directory a process."""
    # the fault handler keeps the file open, and uses it, until the process ends
    faulthandler.enable((folder / "DIED").open("wb"))
