"""Whether LMDB files can be read without harm, found out by a process that may come to harm.

LMDB takes its pages for what they say they are. A flipped bit in one of them may send it beyond the
file or into an assertion, and then it ends the process: SIGBUS, SIGSEGV or abort. That cannot be
caught, so another process looks at all pages. It takes some seconds a million keys, so a start
waits for it only when there is a reason (``ending.py``); a node that runs has it done beside it,
soon after the start and then now and then (``node/scrub.py``).

What is read is checked anyway: entries, rows of the index, blocks and requests bear a checksum over
what they are and under which key. What that cannot tell is what *should* be there and is not found,
for a key has changed or a page hides its rows. That is what a look adds:

- *structure*: LMDB counts the rows of each table, so walking all and looking each up must find as
  many, ascending. Where it does not, nothing can be said of what is missing, and the directory must
  not be used.
- *entries* that fail their checksum. Who asks for a damaged value is told so; but if it was the key
  that changed, whoever asks for the right one finds nothing, and only this says that something is
  wrong. They are reported, and the others are served: ``kvnode repair`` heals them.
- *rows* of the log's index and of requests that fail theirs: as bad as the structure, for the node
  would stop when it comes to them.

What this does not find: a flipped page number that leads to an older copy of the same page. Each
row of it is whole; that it is old only ``kvnode verify`` tells.

Only what such pages do to a process counts: who is ended from outside, or cannot even begin, has
found nothing, and a whole store must not be called damaged for that.

*Beside a node that writes.* The process takes no reader's slot of LMDB's: with a second process at
its lock file, the node could not swap in a compacted file (LMDB would go on with the old file's
transaction numbers, and take an empty root for the latest). It reads as of one moment, and the node
sees to it that no page of then is written over (``Environment.held``). If that was not to be had,
what it found does not count.

Run as a script, with the folders of environments: nothing but lmdb and xxhash is imported, from
where this process has it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple
from zlib import crc32

import lmdb
from xxhash import xxh3_128_digest

DEADLY = frozenset({signal.SIGBUS, signal.SIGSEGV, signal.SIGABRT, signal.SIGILL, signal.SIGFPE})
"""How a process ends that takes a damaged page for what it says."""
LOOK_S = 120
"""A look beside a node that takes longer is given up: till then no page of its files is used again.
"""
NAMED = 5
"""Damaged keys that are told by name."""
MAP_BYTES_SPARE = 1 << 30
"""Beyond the file, which may grow until it is read."""
NICE = 10
"""A tenth of what the node has, if there is too little for both: it has to come to an end."""
NICE_MAX = 19


class Undecided(Exception):
    """The process that should have looked did not come to an end of its own."""


class Unsound(Exception):
    """A table's pages contradict each other, or LMDB."""


class Found(NamedTuple):
    """What a look found."""

    problem: str = ""
    """Why the files cannot be used, empty if they can."""
    damaged: int = 0
    """Entries that fail their checksum."""
    keys: tuple[bytes, ...] = ()
    """Some of them."""


# ---- in this process


def give_way(process: int) -> None:
    """Let others than a child, a session of its own, have the processor first.

    A node that answers is woken many times for a call, and waits for its other processes each time.
    All of three nodes' writes took half a second when those had a node's weight. Linux shares the
    processor out among sessions first, where it makes groups of them: a niceness says something
    within a group only. It has this weight from its first moment: starting takes long enough.
    """
    with contextlib.suppress(ProcessLookupError):  # it has ended
        own = os.getpriority(os.PRIO_PROCESS, 0)
        os.setpriority(os.PRIO_PROCESS, process, min(own + NICE, NICE_MAX))
    with contextlib.suppress(OSError):  # no such groups here, or it has ended
        Path(f"/proc/{process}/autogroup").write_text(str(NICE))


class Looker:
    """Looks at folders of environments; one look at a time."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._process: subprocess.Popen[str] | None = None
        self._stopped = False

    @property
    def pid(self) -> int | None:
        """Of the process of the last look, if there was one."""
        return self._process.pid if self._process is not None else None

    def look(self, folders: Sequence[Path], *, beside: bool = False) -> Found:
        """Walk all tables of all environments in a process of its own.

        Args:
            beside: a node that serves; it is the node's machine then.

        Raises:
            Undecided: that process could not look at all of it.
        """
        there = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        try:
            with self._lock:
                if self._stopped:
                    raise Undecided("the node is stopping")
                self._process = process = subprocess.Popen(
                    [sys.executable, "-P", __file__, *map(str, folders)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    env=there,
                    start_new_session=beside,
                )
                if beside:
                    give_way(process.pid)
        except OSError as error:
            raise Undecided(f"no process can be started that looks at it: {error}") from error
        with process:
            try:
                told, said = process.communicate(timeout=LOOK_S if beside else None)
            except subprocess.TimeoutExpired:
                raise Undecided(f"looking at it took more than {LOOK_S} s") from None
            finally:
                process.kill()
        if -process.returncode in DEADLY:
            return Found(f"reading it ends a process by signal {-process.returncode}")
        if process.returncode:
            last = said.strip().rpartition("\n")[2]
            raise Undecided(
                f"the process that looked at it ended with {process.returncode}: {last}"
            )
        problem, damaged, keys = json.loads(told)
        return Found(problem, damaged, tuple(map(bytes.fromhex, keys)))

    def stop(self) -> None:
        """Let a look that runs, and those to come, be Undecided."""
        with self._lock:
            self._stopped = True
            if self._process is not None:
                self._process.kill()


# ---- in the other one


def entry_passes(key: bytes, raw: bytes) -> bool:
    """Whether the checksum is right of what is stored under a key (``core/entry.py``)."""
    return xxh3_128_digest(key + raw[5:], len(key))[:4] == raw[1:5]


def row_passes(key: bytes, row: bytes) -> bool:
    """Whether the checksum of a small row is (``seal.py``)."""
    return crc32(row[:-4], crc32(key)).to_bytes(4, "big") == row[-4:]


def walk(txn: Any, table: Any, name: str, passes: Callable[[bytes, bytes], bool]) -> list[bytes]:
    """Read a table in order and look each key up; the keys that do not pass. Unsound, lmdb.Error.

    Args:
        passes: gets key and row.
    """
    expected = txn.stat(table)["entries"]
    found, before = 0, b""
    failing = []
    with txn.cursor(table) as cursor, txn.cursor(table) as seeking:
        for key, row in cursor:
            found += 1
            if key <= before or found > expected:
                raise Unsound(f"row {found} of {name} is out of place")
            if not seeking.set_key(key):
                raise Unsound(f"row {found} of {name} cannot be found by its key")
            if not passes(key, row):
                failing.append(key)
            before = key
    if found != expected:
        raise Unsound(f"{name} has {found} rows of {expected}")
    return failing


def examine(folder: str) -> list[bytes]:
    """The keys of damaged entries in one environment; Unsound, lmdb.Error."""
    damaged: list[bytes] = []
    file = Path(folder) / "data.mdb"
    with lmdb.open(
        folder,
        readonly=True,
        lock=False,
        max_dbs=32,
        map_size=file.stat().st_size + MAP_BYTES_SPARE,
    ) as env:
        with env.begin() as txn, txn.cursor() as cursor:
            names = list(cursor.iternext(keys=True, values=False))
        tables = [
            (name.decode(errors="replace"), env.open_db(name, create=False)) for name in names
        ]
        with env.begin() as txn:
            for name, table in tables:
                match name:
                    case "entries":
                        damaged += walk(txn, table, name, entry_passes)
                    case "ends" | "requests":
                        if walk(txn, table, name, row_passes):
                            raise Unsound(f"rows of {name} fail their checksum")
                    case _:
                        walk(txn, table, name, lambda *_: True)
    return damaged


def main(folders: Sequence[str]) -> Found:
    """All of them; the first problem ends it."""
    damaged: list[bytes] = []
    for folder in folders:
        try:
            damaged += examine(folder)
        except lmdb.MemoryError:
            raise  # no address space to map them: that says nothing of the files
        except (lmdb.Error, Unsound) as error:
            return Found(f"{folder}: {error}")
    return Found("", len(damaged), tuple(damaged[:NAMED]))


if __name__ == "__main__":
    outcome = main(sys.argv[1:])
    print(json.dumps((outcome.problem, outcome.damaged, [key.hex() for key in outcome.keys])))
