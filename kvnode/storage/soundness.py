"""Whether an LMDB file can be read without harm, found out by a process that may come to harm.

LMDB takes its pages for what they say they are. A flipped bit in one of them may send it beyond the
file or into an assertion, and then it ends the process: SIGBUS, SIGSEGV or abort. That cannot be
caught, so after a process that did not stop cleanly, whatever ended it, another one reads all pages
first. If it dies the start is refused in plain words, instead of ending the same way for ever.

The same walk inside the process (``walk``) finds rows that are hidden or out of place: LMDB counts
the rows of each table, so walking all and looking each up must find as many, ascending. It takes
about two seconds of a start for a million keys.

What this does not find: a flipped page number that leads to an older copy of the same page. Each
row of it is whole; that it is old only ``kvnode verify`` tells.

Only what such pages do to a process counts: who is ended from outside, or cannot even begin, has
found nothing, and a whole store must not be called damaged for that.

Run as a script, with the folders of environments: nothing but lmdb is imported, from where this
process has it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lmdb

DEADLY = frozenset({signal.SIGBUS, signal.SIGSEGV, signal.SIGABRT, signal.SIGILL, signal.SIGFPE})
"""How a process ends that takes a damaged page for what it says."""
FOUND = 3
"""The script's exit status when something is wrong: Python's own errors end with others."""


class Undecided(Exception):
    """The process that should have looked did not come to an end of its own."""


class Unsound(Exception):
    """A table's pages contradict each other, or LMDB."""


def walk(txn: Any, table: Any, name: str) -> None:
    """Read all keys of a table in order and look each up; Unsound, lmdb.Error."""
    expected = txn.stat(table)["entries"]
    found, before = 0, b""
    with txn.cursor(table) as cursor, txn.cursor(table) as seeking:
        for key in cursor.iternext(keys=True, values=False):
            found += 1
            if key <= before or found > expected:
                raise Unsound(f"row {found} of {name} is out of place")
            if not seeking.set_key(key):
                raise Unsound(f"row {found} of {name} cannot be found by its key")
            before = key
    if found != expected:
        raise Unsound(f"{name} has {found} rows of {expected}")


def check(folders: Sequence[Path]) -> str:
    """Walk all tables of all environments in a process of its own; what is wrong, else empty.

    Raises:
        Undecided: that process could not look at all of it.
    """
    names = [str(folder) for folder in folders]
    there = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        done = subprocess.run(
            [sys.executable, "-P", __file__, *names],
            capture_output=True,
            text=True,
            check=False,
            env=there,
        )
    except OSError as error:
        raise Undecided(f"no process can be started that looks at it: {error}") from error
    if -done.returncode in DEADLY:
        return f"reading it ends a process by signal {-done.returncode}"
    if done.returncode == FOUND:
        return done.stderr.strip()
    if done.returncode:
        said = done.stderr.strip().rpartition("\n")[2]
        raise Undecided(f"the process that looked at it ended with {done.returncode}: {said}")
    return ""


def main(folders: Sequence[str]) -> str:
    """The first thing that is wrong, empty if nothing is."""
    for folder in folders:
        try:
            with lmdb.open(folder, readonly=True, lock=False, max_dbs=32) as env:
                with env.begin() as txn, txn.cursor() as cursor:
                    names = list(cursor.iternext(keys=True, values=False))
                tables = [(name.decode(errors="replace"), env.open_db(name)) for name in names]
                with env.begin() as txn:
                    for name, table in tables:
                        walk(txn, table, name)
        except (lmdb.Error, Unsound) as error:
            return f"{folder}: {error}"
    return ""


if __name__ == "__main__":
    wrong = main(sys.argv[1:])
    if wrong:
        print(wrong, file=sys.stderr)
        sys.exit(FOUND)
