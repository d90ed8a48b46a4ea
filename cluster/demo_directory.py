"""Where the demo's nodes keep data and logs, and who may remove it.

A directory that is to stay must be told from one that a killed demo left. So each has a mark, a
file that the demo holds locked as long as it lives: it goes with the directory, or before the
directory is left to the user. A mark that nobody holds is a killed demo's.
"""

from __future__ import annotations

import fcntl
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from types import TracebackType
from typing import Final, Self

from cluster.control import is_held
from cluster.narration import Narration
from cluster.processes import ROOT

PREFIX: Final = ".kvnode-demo-"
MARK: Final = "demo-runs"


class DemoDirectory:
    """A directory beside the code, because /tmp may not be a disk.

    Removed on exit unless it is to be kept, or the nodes ran and something failed.
    """

    def __init__(
        self, narration: Narration, *, keep: bool, prefix: str = PREFIX, example: str = "EWR"
    ) -> None:
        """Made at once. ``example`` is the node that the user is told how to look into."""
        self.path = Path(mkdtemp(prefix=f"{prefix}{os.getpid()}-", dir=ROOT))
        self._example = example
        self._mark = _mark(self.path)
        self.keep_after_failure = False
        self._keep = keep
        self._narration = narration

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _: TracebackType | None,
    ) -> None:
        if self._keep or (self.keep_after_failure and isinstance(error, Exception)):
            (self.path / MARK).unlink()
            say = self._narration.say if error is None else self._narration.complain
            say(
                f"The nodes' logs and data are in {self.path}. To look into one:\n"
                f"  .venv/bin/kvnode serve --name {self._example} --cluster local "
                f"--data {shlex.quote(str(self.path / self._example / 'data'))}"
            )
        else:
            _remove(self.path)
        os.close(self._mark)


def remove_abandoned(root: Path = ROOT, prefix: str = PREFIX) -> Iterator[Path]:
    """Remove the directories of demos that were killed, and tell which."""
    for path in sorted(root.glob(f"{prefix}*")):
        try:
            mark = os.open(path / MARK, os.O_RDWR)
        except OSError:
            # Kept for the user, or made this very moment.
            continue
        try:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            # A killed demo's nodes outlive it by a moment.
            if not is_held(path):
                _remove(path)
                yield path
        finally:
            os.close(mark)


def _mark(path: Path) -> int:
    """Locked before it has its name: nobody finds it unlocked while this process lives."""
    unnamed = path / f"{MARK}.new"
    mark = os.open(unnamed, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(mark, fcntl.LOCK_EX)
    unnamed.rename(path / MARK)
    return mark


def _remove(path: Path) -> None:
    """The mark last, so that what an interruption leaves of it is found again."""
    for entry in path.iterdir():
        if entry.is_dir():
            rmtree(entry)
        elif entry.name != MARK:
            entry.unlink()
    (path / MARK).unlink()
    path.rmdir()
