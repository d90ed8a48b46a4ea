"""The data directory: whose it is, and that only one process has it.

::

    DIR/LOCK               held by flock while a node runs; names its process
    DIR/v1/identity.json   cluster, node name, origin id (64 random bits), when made
    DIR/v1/log/            LMDB environment of the log
    DIR/v1/state/          LMDB environment of the state

A new directory is built under ``DIR/new`` and renamed to ``DIR/v1`` when it is complete and
synced: a crash at any point leaves either a whole directory or leftovers that the next start
removes. The origin id is minted with the directory and never used anywhere else: a node that lost
its directory comes back as a new origin and gets the old one's writes from its peers.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from kvnode.storage.interfaces import StorageError
from kvnode.storage.log import LmdbLog
from kvnode.storage.state import LmdbState

FORMAT = "v1"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who writes into this directory."""

    cluster: str
    name: str
    origin: str
    """16 hex digits."""
    created_ms: int

    @property
    def origin_id(self) -> int:
        """The origin id as a number."""
        return int(self.origin, 16)


class DataDirectory:
    """An opened and locked data directory."""

    def __init__(self, path: Path, *, cluster: str, name: str, now_ms: int) -> None:
        """Open it, or make it if there is none.

        Raises:
            StorageError: in use, not kvnode's, damaged, or of another cluster or node.
        """
        self.path = path.absolute()
        self._lock = _lock(self.path)
        try:
            if not (self.path / FORMAT).is_dir():
                _create(self.path, cluster=cluster, name=name, now_ms=now_ms)
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
            origin = self.identity.origin_id
            self.log = LmdbLog(self.path / FORMAT / "log", origin)
            try:
                self.state = LmdbState(self.path / FORMAT / "state", origin)
            except BaseException:
                self.log.close()
                raise
        except BaseException:
            os.close(self._lock)
            raise

    def close(self) -> None:
        """Close log and state and let the directory go."""
        self.log.close()
        self.state.close()
        os.close(self._lock)


def _lock(path: Path) -> int:
    try:
        if not path.is_dir():
            path.mkdir(parents=True)
            _sync_directory(path.parent)
    except OSError as error:
        raise StorageError(f"cannot make the data directory {path}: {error.strerror}") from error
    names = {entry.name for entry in path.iterdir()}
    ours = {"LOCK", "new"} if "LOCK" in names else set()  # what a crash while making it leaves
    if names - ours and not (path / FORMAT).is_dir():
        raise StorageError(
            f"{path} is not a kvnode data directory and not empty (it holds "
            f"{min(names - ours)!r}): use an empty or a new directory"
        )
    try:
        lock = os.open(path / "LOCK", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StorageError(f"cannot write to {path}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.read(lock, 64).decode(errors="replace").strip()
        os.close(lock)
        raise StorageError(
            f"{path} is in use by another kvnode (process {holder or 'unknown'}): "
            "stop it, or use another directory"
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    return lock


def _create(path: Path, *, cluster: str, name: str, now_ms: int) -> None:
    new = path / "new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    origin = int.from_bytes(os.urandom(8), "big") or 1
    identity = Identity(cluster, name, f"{origin:016x}", now_ms)
    for part in ("log", "state"):
        (new / part).mkdir()
    LmdbLog(new / "log", origin).close()
    LmdbState(new / "state", origin).close()
    with (new / "identity.json").open("w") as stream:
        json.dump(asdict(identity), stream, indent=2)
        stream.flush()
        os.fsync(stream.fileno())
    for made in (new / "log", new / "state", new):
        _sync_directory(made)
    new.rename(path / FORMAT)
    _sync_directory(path)


def _read_identity(file: Path) -> Identity:
    try:
        fields = json.loads(file.read_text())
        identity = Identity(**fields)
        if not (len(identity.origin) == 16 and identity.origin_id > 0):
            raise ValueError(f"origin {identity.origin!r}")
    except (OSError, ValueError, TypeError) as error:
        raise StorageError(f"{file} is missing or damaged ({error}): restore it") from error
    return identity


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
