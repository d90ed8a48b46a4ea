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
from typing import IO, Any

import lmdb

from kvnode.core.entry import Held
from kvnode.core.requests import Row
from kvnode.storage.environment import Environment
from kvnode.storage.saver import DONE, FULL, Order, receive, receive_pieces, send
from kvnode.storage.state import LmdbState


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

    def __init__(self, *args: Any, map_bytes: int, **options: Any) -> None:
        """``map_bytes``: of the other process's map."""
        self._lent_bytes = map_bytes
        super().__init__(*args, **options)

    def _map_bytes(self, file_bytes: int) -> int:  # noqa: ARG002 - the file fits in the other's map
        return self._lent_bytes

    def _grow(self) -> None:
        raise lmdb.MapFullError("the map belongs to another process")

    def close(self) -> None:
        """Close it."""
        used = self.file_bytes
        super().close()
        os.truncate(self.path / "data.mdb", used)


def save(
    path: Path,
    origin: int,
    order: Order,
    entries: dict[bytes, Held],
    requests: list[tuple[bytes, Row]],
) -> bytes:
    """Write it; what there is to say of it."""
    try:
        state = LmdbState(path, origin, partial(Lent, map_bytes=order.map_bytes))
        try:
            state.write(replace(order.checkpoint, entries=entries, requests=requests))
        finally:
            state.close()
    except lmdb.MapFullError:
        return FULL
    except Exception as error:  # told to the node, which tries it itself
        return f"{type(error).__name__}: {error}".encode()
    return DONE


def serve(
    orders: IO[bytes], answers: IO[bytes], idle_s: float, write: Callable[..., bytes]
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
        send(answers, write(order, entries, requests))
        answers.flush()
        del order, entries, requests
        gc.collect()  # see ``main``


def end_with(pipe: int) -> None:
    """End this process, whatever it is at, when the other end of the pipe is closed."""
    os.read(pipe, 1)
    os._exit(1)


def main() -> None:
    """Until the node has nothing more, or is no more."""
    gc.disable()  # what comes has no cycles, and looking for them takes as long as reading it
    path, origin, idle_s, pipe = sys.argv[1:]
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to a group, they are for the node
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=end_with, args=(int(pipe),), daemon=True).start()
    with os.fdopen(os.dup(0), "rb") as orders, os.fdopen(os.dup(1), "wb") as answers:
        serve(orders, answers, float(idle_s), partial(save, Path(path), int(origin)))


if __name__ == "__main__":
    main()
