"""Large checkpoints are written by a process of their own.

Problem: writing one takes some 10 us of Python a key. In a thread of the node that has to be
shared with the event loop, key by key: LMDB's calls let Python's lock (GIL) go, so the two take it
from each other at every one of them. With batches of 100 puts over 1 M keys that was 3 system calls
an operation, two thirds of the node's time, and half a second's worth of late answers each time.

Idea: LMDB can be used by several processes, and what a checkpoint carries is immutable. So the node
sends it, in pieces of a moment each, to a process that does nothing else; the thread that would
have written it waits for the word that it is on disk. Small ones stay in the thread: sending them
is not worth it, and a quiet node needs no second process.

- The process has the environment open only while it writes, and the node's own writers are kept out
  for as long (``Environment.lend``). So the node may swap a compacted file in at any other time,
  and only one of them ever changes the file.
- Its map is as large as the node's, and does not grow: when something does not fit, the node grows
  its own, which its readers need anyway, and sends it all again.
- Whatever else goes wrong there (no memory, killed, a full disk), the thread writes the checkpoint
  as it always could, which either succeeds or says what is wrong. Whether it had been written
  after all the number of saved checkpoints tells.
- A checkpoint may be spread over a time (``spread_s``): its process pauses between the keys, and
  has the disk take what it wrote in pieces, before it is synced (``unsynced.py``). A node that
  cannot wait hurries it: a byte through the pipe.
- If the node dies, so does the process, at once: it waits for the end of a pipe that only the node
  holds. Until it has, it keeps the data directory locked (it has inherited ``held``), so the next
  run never reads a checkpoint that is still being exchanged for another one.

Frames on its standard input: length, 4 bytes big-endian, and so many bytes. First ``pickle`` of
``Order``, then ``marshal`` of lists of (key, entry), ended by an empty frame, and of lists of
(request id, where it went), likewise. All are of one Python, from process to process. It answers
each order with one frame: ``DONE``, ``FULL`` (the map is too small), ``UNSYNCED`` and why (it is
committed, and the disk has failed) or why it failed before.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import marshal
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import IO, Any, NamedTuple

import lmdb

from kvnode.core.requests import RequestWindow
from kvnode.storage.checkpoint import room_for
from kvnode.storage.environment import Environment
from kvnode.storage.interfaces import Checkpoint
from kvnode.storage.soundness import give_way

logger = logging.getLogger(__name__)
KEYS_MIN = 5_000
"""Of a checkpoint that is sent: with fewer, the thread is done in the time of a few rounds."""
PIECE_KEYS = 1_000
"""To marshal so many keeps the event loop waiting for a third of a millisecond."""
PIECE_PAUSE_S = 0.002
"""After each, at most: the event loop has caught up then, and the process has taken the piece in.
One after the other they were a tenth of a second in which calls waited, the more so where several
nodes share a machine."""
SENDING_SHARE = 0.05
"""Of the time of a checkpoint that is spread, for those pauses. Where writes come as fast as the
process can write them it is a second, and the pauses were a seventh of it."""
IDLE_S = 5
"""After that the process ends: it is not to keep its memory while nothing is to be written."""
LENGTH_BYTES = 4
MARSHAL = 2
"""The last version that does not look for objects that are there twice, which takes longer."""
DONE = b"done"
FULL = b"full"
UNSYNCED = b"unsynced "


class Order(NamedTuple):
    """What is to be written, but for the entries and the request ids."""

    map_bytes: int
    checkpoint: Checkpoint


class SaverFailed(Exception):
    """The process did not say that it has written the checkpoint."""


def send(stream: IO[bytes], frame: bytes) -> None:
    """One frame."""
    stream.write(len(frame).to_bytes(LENGTH_BYTES, "big"))
    stream.write(frame)


def receive(stream: IO[bytes]) -> bytes:
    """The next frame; EOFError at the end."""
    length = stream.read(LENGTH_BYTES)
    if len(length) < LENGTH_BYTES:
        raise EOFError
    size = int.from_bytes(length, "big")
    frame = stream.read(size)
    if len(frame) < size:
        raise EOFError
    return frame


def send_pieces(stream: IO[bytes], rows: Iterable[tuple[bytes, Any]], pause_s: float = 0) -> None:
    """Many rows, and an empty frame; with a pause after each piece."""
    each = iter(rows)
    while piece := list(itertools.islice(each, PIECE_KEYS)):
        send(stream, marshal.dumps(piece, MARSHAL))
        if pause_s:
            time.sleep(pause_s)
    send(stream, b"")


def sending_pause_s(spread_s: float, keys: int) -> float:
    """After each piece of a checkpoint that may take so long."""
    return min(PIECE_PAUSE_S, SENDING_SHARE * spread_s * PIECE_KEYS / max(keys, PIECE_KEYS))


def receive_pieces(stream: IO[bytes]) -> Iterator[list[tuple[bytes, Any]]]:
    """The same rows, in pieces."""
    while piece := receive(stream):
        yield marshal.loads(piece)


class Saver:
    """Writes the checkpoints of one state; one thread at a time."""

    def __init__(
        self,
        env: Environment,
        origin: int,
        held: int,
        here: Callable[[Checkpoint], None],
        saved: Callable[[], int],
    ) -> None:
        """Start no process yet.

        Args:
            held: descriptor of the locked file that says whose the directory is.
            here: writes a checkpoint in this process.
            saved: how many checkpoints were ever written to the state.
        """
        self.keys_min = KEYS_MIN
        self._env = env
        self.idle_s: float = IDLE_S
        self.command = [
            *(sys.executable, "-P", "-m", "kvnode.storage.saver_process"),
            *(str(env.path), str(origin)),
        ]
        self._held = held
        self._here = here
        self._saved = saved
        self._process: subprocess.Popen[bytes] | None = None
        self._living = threading.Lock()
        """These stay what they are."""
        self._life: int | None = None
        """The end of a pipe that is closed with this process, whatever ends it."""
        self._ordered = self._hurried = False
        """Whether it has an order, and nothing is to be spread."""

    @property
    def pid(self) -> int | None:
        """Of the process, if there is one."""
        return self._process.pid if self._process is not None else None

    def save(self, checkpoint: Checkpoint) -> None:
        """Write the checkpoint, synced; see ``StateStore.save``."""
        try:
            self._save(checkpoint)
        finally:
            self._hurried = False  # one that comes too late hurries the next

    def _save(self, checkpoint: Checkpoint) -> None:
        if len(checkpoint.entries) < self.keys_min:
            self._here(checkpoint)
            return
        before = self._saved()
        room = room_for(checkpoint, self._env.usage("entries").records_bytes)
        try:
            self._env.lend(lambda map_bytes: self._send(checkpoint, map_bytes), room)
        except SaverFailed as failure:
            if self._saved() == before:
                logger.warning("a checkpoint is written in the node's own process: %s", failure)
                self._here(checkpoint)

    def hurry(self) -> None:
        """Let the checkpoint that is being written, in another thread, be spread no longer."""
        with self._living, contextlib.suppress(BrokenPipeError):
            self._hurried = True
            if self._ordered and self._life is not None:
                os.write(self._life, b"!")

    def close(self) -> None:
        """End the process, if there is one."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()  # it writes nothing: whoever had it write has waited for it
            process.wait()
            for stream in (process.stdin, process.stdout):
                assert stream is not None, "piped"
                with contextlib.suppress(OSError):  # what was not sent will not be
                    stream.close()
        with self._living:
            life, self._life = self._life, None
        if life is not None:
            os.close(life)

    def _send(self, checkpoint: Checkpoint, map_bytes: int) -> None:
        """Have it written; lmdb.MapFullError or SaverFailed if it was not."""
        fresh, before = self._process is None, self._saved()
        try:
            answer = self._exchange(checkpoint, map_bytes)
        except (OSError, EOFError) as error:
            self.close()
            self._env.clear_readers()
            self._env.settle()
            if not fresh:  # it may have ended of itself, as it was sent for
                if self._saved() == before:
                    self._send(checkpoint, map_bytes)
                return
            raise SaverFailed(f"the process for it ended: {error!r}") from error
        except Exception as error:  # half an order was sent
            self.close()
            raise SaverFailed(f"it cannot be sent: {error!r}") from error
        if answer.startswith(UNSYNCED):
            raise self._env.settling.failed(answer.removeprefix(UNSYNCED).decode())
        if answer == FULL:
            raise lmdb.MapFullError("the map is too small for the checkpoint")
        if answer != DONE:
            self._env.settle()
            raise SaverFailed(answer.decode())

    def _exchange(self, checkpoint: Checkpoint, map_bytes: int) -> bytes:
        process = self._process or self._start()
        to, back = process.stdin, process.stdout
        assert to is not None, "piped"
        assert back is not None, "piped"
        durable = replace(checkpoint.durable, requests=RequestWindow(1))
        with self._living:
            self._ordered = True
            spread_s = 0.0 if self._hurried else checkpoint.spread_s
        rest = replace(checkpoint, entries={}, requests=[], durable=durable, spread_s=spread_s)
        try:
            send(to, pickle.dumps(Order(map_bytes, rest)))
            pause_s = sending_pause_s(spread_s, len(checkpoint.entries))
            send_pieces(to, checkpoint.entries.items(), pause_s)
            requests = ((one, tuple(went)) for one, went in checkpoint.requests)
            send_pieces(to, requests, pause_s)
            to.flush()
            return receive(back)
        finally:
            with self._living:
                self._ordered = False

    def _start(self) -> subprocess.Popen[bytes]:
        ending, life = os.pipe()
        with self._living:
            self._life = life
        try:
            process = subprocess.Popen(
                [*self.command, str(self.idle_s), str(ending)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                pass_fds=(ending, self._held),
                start_new_session=True,
            )
        finally:
            os.close(ending)
        self._process = process
        give_way(process.pid)
        # else one that has ended of itself is a zombie until the next order
        threading.Thread(target=process.wait, name="kvnode-saver-end", daemon=True).start()
        return process
