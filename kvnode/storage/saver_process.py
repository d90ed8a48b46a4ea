"""The process that writes large checkpoints (see ``saver.py``).

``python -m kvnode.storage.saver_process STATE ORIGIN IDLE_S PIPE``. It ends when it is sent nothing
for so long or no more, and at once when the other end of PIPE is closed: its node has ended then.
"""

from __future__ import annotations

import gc
import os
import pickle
import select
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import IO, Any, Final, TypeVar

import lmdb

from kvnode.core.entry import Held
from kvnode.core.requests import Row
from kvnode.storage.environment import Environment
from kvnode.storage.pace import Pace
from kvnode.storage.saver import DONE, FULL, UNSYNCED, Order, receive, receive_pieces, send
from kvnode.storage.state import LmdbState
from kvnode.storage.unsynced import forget, keep, write_out

ENTRIES_SHARE: Final = 0.6
"""Of the time of a checkpoint that is spread. The rest is for the disk, which would like to have it
more evenly still."""

T = TypeVar("T")


class NotSynced(Exception):
    """It is committed, and nobody knows what of it is on the disk."""


class Lent(Environment):
    """An environment that is another process's: the map is as large as there, and stays so.

    Pages are changed in the map itself. LMDB would else keep each in memory until the commit, and
    64,000 random keys of a million are on 40,000 pages: 160 MB and as many system calls. Nothing
    but LMDB writes to the map: there is only Python in this process. On a full disk it is killed by
    SIGBUS; LMDB changes no page that a commit has left, so nothing is lost but the attempt.

    LMDB warns of processes that write to one file in both ways, because the sync of the one might
    not cover what the other has changed. Here it need not: each commit is synced in its own way
    before anybody else may begin one. (On Linux it would: both go through the same page cache.)

    The file is made as long as the map for that, and as long as its pages again at the end.
    """

    mapped = True

    def __init__(
        self,
        *args: Any,
        map_bytes: int,
        disk_s: float,
        hurry: threading.Event,
        **options: Any,
    ) -> None:
        """``map_bytes``: of the other process's map. ``disk_s``: how long the disk may take for
        what is committed, unless in a ``hurry``; 0: as long as LMDB's sync does.
        """
        self._lent_bytes = map_bytes
        self._disk_s, self._hurry = disk_s, hurry
        self.synced = not disk_s
        super().__init__(*args, **options)

    def write(self, change: Callable[[Any], T], *, buffers: bool = False, room: int = 0) -> T:
        """As ``Environment.write``; slowly, as ``unsynced.py`` tells, if there is time.

        Raises:
            NotSynced: it is committed.
        """
        if self.synced:
            return super().write(change, buffers=buffers, room=room)
        keep(self.path, self._env.stat()["psize"])
        before = self._commits
        try:
            done = super().write(change, buffers=buffers, room=room)
        except BaseException:
            if self._commits == before:
                forget(self.path)
            raise
        try:
            write_out(self.path / "data.mdb", self.file_bytes, Pace(self._disk_s, self._hurry))
            self.settle()
        except Exception as error:
            raise NotSynced(said(error)) from error
        return done

    def close(self) -> None:
        """Close it."""
        used = self.file_bytes
        super().close()
        os.truncate(self.path / "data.mdb", used)

    @property
    def _commits(self) -> int:
        """There ever were."""
        return int(self._env.info()["last_txnid"])

    def _map_bytes(self, file_bytes: int) -> int:  # noqa: ARG002 - the file fits in the other's map
        return self._lent_bytes

    def _grow(self) -> None:
        raise lmdb.MapFullError("the map belongs to another process")


def save(
    path: Path,
    origin: int,
    hurry: threading.Event,
    order: Order,
    entries: dict[bytes, Held],
    requests: list[tuple[bytes, Row]],
) -> bytes:
    """Write it; what there is to say of it."""
    entries_s = order.checkpoint.spread_s * ENTRIES_SHARE
    disk_s = order.checkpoint.spread_s - entries_s
    opened = partial(Lent, map_bytes=order.map_bytes, disk_s=disk_s, hurry=hurry)
    try:
        state = LmdbState(path, origin, opened)
        try:
            checkpoint = replace(order.checkpoint, entries=entries, requests=requests)
            state.write(checkpoint, Pace(entries_s, hurry))
        finally:
            state.close()
    except lmdb.MapFullError:
        return FULL
    except NotSynced as error:  # told to the node, which must not go on with it
        return UNSYNCED + str(error).encode()
    except Exception as error:  # told to the node, which tries it itself
        return said(error).encode()
    return DONE


def said(error: Exception) -> str:
    """For a message to the node."""
    return f"{type(error).__name__}: {error}"


def serve(
    orders: IO[bytes],
    answers: IO[bytes],
    idle_s: float,
    hurry: threading.Event,
    write: Callable[..., bytes],
) -> None:
    """Write what comes until nothing does."""
    while select.select([orders], [], [], idle_s)[0]:
        try:
            order: Order = pickle.loads(receive(orders))
            entries: dict[bytes, Held] = {}
            for piece in receive_pieces(orders):
                entries.update(piece)
            requests = list(chain.from_iterable(receive_pieces(orders)))
        except EOFError:
            return
        answer = write(order, entries, requests)
        hurry.clear()  # it was meant for this one; one that comes too late hurries the next
        send(answers, answer)
        answers.flush()
        del order, entries, requests
        gc.collect()  # see ``main``


def follow(pipe: int, hurry: threading.Event) -> None:
    """Hurry when something comes through the pipe, and end this process, whatever it is at, when
    its other end is closed.
    """
    while os.read(pipe, 1):
        hurry.set()
    os._exit(1)


def main() -> None:
    """Until the node has nothing more, or is no more."""
    gc.disable()  # what comes has no cycles, and looking for them takes as long as reading it
    path, origin, idle_s, pipe = sys.argv[1:]
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to a group, they are for the node
        signal.signal(number, signal.SIG_IGN)
    hurry = threading.Event()
    threading.Thread(target=follow, args=(int(pipe), hurry), daemon=True).start()
    with os.fdopen(os.dup(0), "rb") as orders, os.fdopen(os.dup(1), "wb") as answers:
        write = partial(save, Path(path), int(origin), hurry)
        serve(orders, answers, float(idle_s), hurry, write)


if __name__ == "__main__":
    main()
