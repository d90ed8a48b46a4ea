"""The data directory: whose it is, that only one process has it, and that it is no copy.

::

    DIR/LOCK, DIR/DIED     held by flock while a node runs; how the last run ended (``ending.py``)
    DIR/v1/identity.json   cluster, node name, origin id (64 random bits), when made
    DIR/v1/here            empty; where and since when it is there tells a copy from the original
    DIR/v1/log/            LMDB environment of the log, and its ``tail``
    DIR/v1/state/          LMDB environment of the state; ``unsynced`` while a commit is that
    DIR/aside-...          an earlier v1 whose history contradicts the cluster's

A new directory is built under ``DIR/new`` and renamed to ``DIR/v1`` when it is complete and
synced: a crash at any point leaves either a whole directory or leftovers that the next start
removes. The origin id is minted with the directory: a node that lost its directory comes back as
a new origin and gets the old one's writes from its peers.

*A copy* (a backup that was put back, a clone) must never write under the origin it was copied
with: its next sequence numbers may be taken. ``identity.json`` therefore records inode and change
time of ``here``. Neither can be copied, by whatever tool: the kernel sets both. If they differ, the
directory gets a new origin at once, before anything else, and remembers the old one as *retired*;
so does one whose node hears from a peer that it wrote more than it knows (a copy below the file
system: inode and time are the original's). ``chown`` and ``chmod`` of ``here`` look like a copy.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import lmdb

from kvnode.core.errors import quoted
from kvnode.storage.ending import (
    FORMAT,
    Phase,
    note_clean_stop,
    note_phase,
    take_lock,
    tell_of_death,
)
from kvnode.storage.files import sync
from kvnode.storage.interfaces import StorageError
from kvnode.storage.soundness import Found, Looker, Undecided
from kvnode.storage.state import LmdbState
from kvnode.storage.tailed_log import TailedLog
from kvnode.storage.unsynced import put_back

logger = logging.getLogger(__name__)
LOOKS = 3
"""Of one that finds something: two have to agree, and the files may be growing meanwhile."""
HEX = re.compile("[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who writes into this directory."""

    cluster: str
    name: str
    store: str
    """16 hex digits; marks log and state as parts of this directory, for ever."""
    origin: str
    """16 hex digits."""
    created_ms: int
    here: str
    """Inode and change time of the file ``here``."""
    retired: tuple[str, ...] = ()
    """Earlier origins of this directory, oldest first."""
    forked: bool = False
    """The cluster knows another history of the last retired origin."""
    pristine: bool = False
    """The copy was found out when it was opened: nothing was written since it was made."""
    inherited: tuple[str, ...] = ()
    """Other origins whose lost history is to be issued again with this directory's own."""
    copy: bool = False
    """It is a copy of a directory whose node was running: never to be used."""
    aside: tuple[str, ...] = ()
    """Directories set aside whose writes are still to be issued again, oldest first."""
    left: tuple[tuple[str, str], ...] = ()
    """Directories set aside of which not all could be issued again, and what could not."""

    @property
    def origin_id(self) -> int:
        """The origin id as a number."""
        return int(self.origin, 16)


class DataDirectory:
    """An opened and locked data directory."""

    def __init__(
        self,
        path: Path,
        *,
        cluster: str,
        name: str,
        now_ms: int,
        draw: Callable[[int], bytes] = os.urandom,
        looker: Looker | None = None,
    ) -> None:
        """Open it, or make it if there is none.

        Args:
            draw: so many random bytes.
            looker: looks whether the files are whole.

        Raises:
            StorageError: in use, not kvnode's, damaged, or of another cluster or node.
        """
        self.path = path.absolute()
        self._draw = draw
        self._looker = looker or Looker()
        self._suspect = False
        self._lock, ending = take_lock(self.path)
        try:
            if not (self.path / FORMAT).is_dir() and not _finish_setting_aside(self.path):
                first = Identity(cluster, name, self._mint(), self._mint(), now_ms, "")
                _create(self.path, first)
            self.identity = _read_identity(self.path / FORMAT / "identity.json")
            if (self.identity.cluster, self.identity.name) != (cluster, name):
                raise StorageError(
                    f"{self.path} belongs to node {self.identity.name!r} of cluster "
                    f"{self.identity.cluster!r}, not to {name!r} of {cluster!r}: use its names, "
                    "or another directory"
                )
            for part in ("log", "state"):
                if not (self.path / FORMAT / part / "data.mdb").is_file():
                    raise StorageError(
                        f"{self.path} is incomplete: {FORMAT}/{part}/data.mdb is missing. Restore "
                        "it, or start with an empty data directory and let peers fill it"
                    )
            if self.identity.copy:
                raise StorageError(
                    f"{self.path} is a copy of the directory of node {name!r}, which was running: "
                    "delete it. A new node starts with an empty directory and its own name"
                )
            copied = self.identity.here != _place(self.path / FORMAT / "here")
            if ending.suspicious or copied:
                self._look_first()
            store = int(self.identity.store, 16)
            self.log = TailedLog(self.path / FORMAT / "log", store)
            try:
                self.log.check_damage()
                self.state = LmdbState(self.path / FORMAT / "state", store)
                if copied:
                    self.mint_anew(forked=self.identity.forked, pristine=True)
            except BaseException:
                self.log.close(as_it_is=True)
                raise
        except BaseException:
            os.close(self._lock)
            raise

    def _look_first(self) -> None:
        """Raise StorageError if the files cannot be read, which may be what ended the last run."""
        note_phase(self._lock, Phase.SUSPECT)
        put_back(self.path / FORMAT / "state")
        try:
            found = self._looker.look(self._folders)
        except Undecided as error:
            raise StorageError(
                f"{self.path} was not stopped cleanly, and whether it is whole could not be told: "
                f"{error}. Start the node again"
            ) from error
        if found.problem:
            raise self._damaged(found)
        _report(found)
        (self.path / "DIED").unlink(missing_ok=True)
        note_phase(self._lock, Phase.OPENING)

    def look(self) -> Found:
        """Look at all of it while it is in use, which takes its time; the damaged entries are told.

        Raises:
            StorageError: it cannot be used any more; the next opening will say so too.
            Undecided: whether it is whole could not be told.
        """
        problem = ""
        for _ in range(LOOKS):
            try:
                with self.log.held() as log_stayed, self.state.held() as state_stayed:
                    found = self._looker.look(self._folders, beside=True)
                    counts = log_stayed() and state_stayed()
            except lmdb.Error as error:  # no reader left to hold the pages with
                raise Undecided(f"the files cannot be held: {error}") from error
            if not found.problem:
                _report(found)
                return found
            if counts and problem:
                self.suspect()
                raise self._damaged(found)
            problem = problem or (found.problem if counts else "")
        raise Undecided("the files were growing all the time")

    def stop_looking(self) -> None:
        """Let no look run any more."""
        self._looker.stop()

    def serving(self, *, alone: bool = False) -> None:
        """All was read that a start has to read. ``alone``: this process is for one directory."""
        if alone:
            tell_of_death(self.path)
            self.state.save_apart(self._lock)
        note_phase(self._lock, Phase.SERVING)

    def suspect(self) -> None:
        """The next opening has to look first, however this run ends."""
        self._suspect = True
        note_phase(self._lock, Phase.SUSPECT)

    @property
    def _folders(self) -> list[Path]:
        return [self.path / FORMAT / part for part in ("log", "state")]

    def _damaged(self, found: Found) -> StorageError:
        return StorageError(
            f"{self.path} is damaged: {found.problem}. Restore it, or start with an empty data "
            "directory and let peers fill it"
        )

    def mint_anew(
        self, *, forked: bool, pristine: bool = False, inherited: Sequence[int] = ()
    ) -> None:
        """Retire the origin; the next opening has a new one."""
        old = self.identity
        self._write_identity(
            replace(
                old,
                origin=self._mint(),
                retired=(*old.retired, old.origin),
                forked=forked,
                pristine=pristine,
                inherited=(*old.inherited, *(f"{origin:016x}" for origin in inherited)),
            )
        )

    def settled(self) -> None:
        """The cluster knows the new origin in the place of the retired one."""
        if self.identity.forked or self.identity.pristine:
            self._write_identity(replace(self.identity, forked=False, pristine=False))

    def mark_copy(self) -> None:
        """Never use it again: the node it was copied from is running."""
        self._write_identity(replace(self.identity, copy=True))

    def reissued(self, left: str = "") -> None:
        """Nothing of the oldest directory set aside waits to be issued again.

        Args:
            left: what of it never will be, in words. It is remembered until it is deleted.
        """
        name, *others = self.identity.aside
        rest = (*self.identity.left, (name, left)) if left else self.identity.left
        self._write_identity(replace(self.identity, aside=tuple(others), left=rest))

    def forget_deleted(self) -> None:
        """Remember nothing more of directories set aside that the operator has deleted."""
        there = tuple(one for one in self.identity.left if (self.path / one[0]).is_dir())
        if there != self.identity.left:
            self._write_identity(replace(self.identity, left=there))

    def set_aside(self) -> Path:
        """Begin anew, empty, under a new origin; log and state must be closed.

        Returns the old directory's new place. The roster is kept: it is about the cluster.
        """
        old = self.identity
        roster = self.log.get_record(b"roster")
        self.log.close(as_it_is=True)
        self.state.close()
        taken = {entry.name for entry in self.path.iterdir()} | {*old.aside, *dict(old.left)}
        number = next(n for n in range(1, len(taken) + 2) if f"aside-{n}" not in taken)
        identity = replace(
            old,
            store=self._mint(),
            origin=self._mint(),
            forked=False,
            pristine=False,
            inherited=(),
            aside=(*old.aside, f"aside-{number}"),
        )
        _build(self.path, identity, roster)
        (self.path / FORMAT).rename(self.path / f"aside-{number}")
        (self.path / "new").rename(self.path / FORMAT)
        sync(self.path)
        return self.path / f"aside-{number}"

    def _mint(self) -> str:
        return f"{int.from_bytes(self._draw(8), 'big') or 1:016x}"

    def _write_identity(self, identity: Identity) -> None:
        folder = self.path / FORMAT
        self.identity = _write(folder, identity)
        sync(folder)

    def close(self, failure: BaseException | None = None) -> None:
        """Close all; if it was their ``failure`` that ended the run, the next opening looks."""
        if isinstance(failure, StorageError):
            self.suspect()
        self.log.close(as_it_is=isinstance(failure, StorageError))
        self.state.close()
        if not self._suspect:
            note_clean_stop(self._lock)
        os.close(self._lock)


def _report(found: Found) -> None:
    if found.damaged:
        logger.error(
            "%d stored entries fail their checksum (%s), and keys may be missing for it: "
            "run kvnode repair --all",
            found.damaged,
            ", ".join(map(quoted, found.keys)),
        )


def _create(path: Path, identity: Identity) -> None:
    _build(path, identity, None)
    (path / "new").rename(path / FORMAT)
    sync(path)


def _finish_setting_aside(path: Path) -> bool:
    """Whether a crash came between the two renames of ``set_aside``; it is done then."""
    draft = path / "new" / "identity.json"
    if not draft.is_file():
        return False
    identity = _read_identity(draft)
    if not (identity.aside and (path / identity.aside[-1]).is_dir()):
        return False
    (path / "new").rename(path / FORMAT)
    sync(path)
    return True


def _build(path: Path, identity: Identity, roster: bytes | None) -> None:
    """A whole, synced directory under ``new``."""
    new = path / "new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    store = int(identity.store, 16)
    for part in ("log", "state"):
        (new / part).mkdir()
    log = TailedLog(new / "log", store)
    if roster is not None:
        log.put_record(b"roster", roster)
    log.close()
    LmdbState(new / "state", store).close()
    _write(new, identity)
    for made in (new / "log", new / "state", new):
        sync(made)


def _write(folder: Path, identity: Identity) -> Identity:
    """Put the identity there, all or nothing. If it tells of another ``here``, with a new one."""
    if identity.here != _place(folder / "here"):  # else, ending half way would make it a copy
        fresh = folder / "here.new"
        fresh.touch()
        fresh.rename(folder / "here")
        identity = replace(identity, here=_place(folder / "here"))
    draft = folder / "identity.new"
    with draft.open("w") as stream:
        json.dump(asdict(identity), stream, indent=2)
        stream.flush()
        os.fsync(stream.fileno())
    draft.rename(folder / "identity.json")
    return identity


def _place(here: Path) -> str:
    """Inode and change time: what no copy has in common with its original."""
    try:
        status = here.stat()
    except FileNotFoundError:
        return "missing"
    return f"{status.st_ino}:{status.st_ctime_ns}"


def _read_identity(file: Path) -> Identity:
    try:
        fields = json.loads(file.read_text())
        if type(fields) is not dict:
            raise ValueError("no object")
        lists = {name: tuple(fields.get(name, ())) for name in ("retired", "aside", "inherited")}
        left = tuple((str(name), str(what)) for name, what in fields.get("left", ()))
        identity = Identity(**{**fields, **lists, "left": left})
        for number in (identity.store, identity.origin, *identity.retired, *identity.inherited):
            if not (type(number) is str and HEX.fullmatch(number)):
                raise ValueError(f"{number!r} is no id")
        if not identity.origin_id:
            raise ValueError("origin 0")
    except (OSError, ValueError, TypeError) as error:
        raise StorageError(f"{file} is missing or damaged ({error}): restore it") from error
    return identity
