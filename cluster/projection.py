"""A read model in a file: ``python -m cluster.projection FILE ENDPOINTS PREFIX``.

The table ``carts`` follows the keys with the prefix. Each step of the watch and its token go into
the file in one transaction: after kill -9 of this program, or of the node it follows, it goes on
where the file is, at any node, and every change is in the file exactly once. A file that is
further back than what the nodes have kept is built anew.
"""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

from kvnode.client.watching import BEGINNING, Step, Watch
from kvnode.errors import WatchBehind

TABLES = """
CREATE TABLE IF NOT EXISTS carts (key BLOB PRIMARY KEY, items TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS writes (origin TEXT, seq INTEGER, PRIMARY KEY (origin, seq));
CREATE TABLE IF NOT EXISTS place (one INTEGER PRIMARY KEY CHECK (one = 1), token BLOB NOT NULL);
"""
"""``writes`` is here to show that no write comes twice: inserting it again would fail."""


class Projection:
    """The file."""

    def __init__(self, path: Path) -> None:
        self.file = sqlite3.connect(path, timeout=30)
        self.file.executescript(TABLES)

    @property
    def token(self) -> bytes:
        """Where it is."""
        row = self.file.execute("SELECT token FROM place").fetchone()
        return row[0] if row else BEGINNING

    def apply(self, step: Step) -> None:
        """Take a step, all of it or nothing."""
        with self.file:
            for change in step.changes:
                for write in change.writes:
                    dot = (f"{write.dot.origin:016x}", write.dot.seq)
                    self.file.execute("INSERT INTO writes VALUES (?, ?)", dot)
                if change.state.visible:
                    values = (str(value) for value in sorted(map(str, change.state.values)))
                    row = (change.key, ", ".join(values))
                    self.file.execute("INSERT OR REPLACE INTO carts VALUES (?, ?)", row)
                else:
                    self.file.execute("DELETE FROM carts WHERE key = ?", (change.key,))
            self.file.execute("INSERT OR REPLACE INTO place VALUES (1, ?)", (step.token,))

    def clear(self) -> None:
        """Forget everything."""
        with self.file:
            for table in ("carts", "writes", "place"):
                self.file.execute(f"DELETE FROM {table}")


def follow(path: Path, endpoints: str, prefix: str) -> None:
    """Keep the file up to date until killed."""
    projection = Projection(path)
    while True:
        try:
            with Watch(endpoints, prefix=prefix, since=projection.token) as watch:
                for step in watch.steps():
                    projection.apply(step)
        except WatchBehind:
            projection.clear()


if __name__ == "__main__":
    follow(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
