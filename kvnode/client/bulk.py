"""Many independent writes, one after the other, as fast as the node takes them.

None waits for an answer. They gather in chunks, in order, and a chunk leaves when one of four
things happens:

========  ==============================================
count     it has ``operations_max``
bytes     it has ``bytes_max``
time      its first operation is ``interval_s`` old
flush     the caller asks for it, or the block ends
========  ==============================================

A chunk is one request, an atomic batch with a request id: that is many times less work on both
sides than a request for each. Each operation has its own fate all the same. If the batch is
refused because of one of them, nothing of it was done; then each is sent by itself
(``chunks.py``), and only what is wrong fails.

Order: the operations of one key happen in the order in which they were asked for. Within a chunk
the node sees to that, between chunks this rule: **two chunks that have a key in common are never on
their way together**. The later one, and all behind it, wait until the earlier is settled. So
whatever becomes of a chunk (refused and taken apart, asked for again, carried out elsewhere), no
other one that matters to it has overtaken it meanwhile, nor will. Chunks without a common key may
happen in any order; so may those that are nothing but increments of one type, which commute, as in
``lanes.py``: a load of one hot counter keeps the whole window on its way.

Back-pressure: with ``window_chunks`` chunks behind what is acknowledged the caller waits. A node
whose queue is full takes its time to answer, and so holds the caller too.

What became of them: ``progress`` counts. A refused operation does not stop the others; it is kept
in ``failures`` with its number and its exception, and at the end of the block ``BulkError`` has
them all, so that none is overlooked. After ``failures_max`` of them the writer takes no more. The
operations whose outcome is unknown are among them, with their request ids.

Chunks travel on a stream, up to ``window_chunks`` at once; the node carries them out in order, and
what becomes of them when the stream breaks is in ``voyages.py``.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING

from grpc import RpcError

from kvnode.client.channels import FRESH_S
from kvnode.client.chunks import Chunk
from kvnode.client.gathering import ENDED, BulkFailure, BulkLimits, Progress, gathering
from kvnode.client.levels import Durability
from kvnode.client.operations import (
    Delete,
    Put,
)
from kvnode.client.rpcs import WRITE_STREAM
from kvnode.client.values import DataType
from kvnode.client.voyages import END_S, Voyage
from kvnode.errors import KvnodeError
from kvnode.v1 import kv_pb2

if TYPE_CHECKING:
    from kvnode.client.calls import Calls
    from kvnode.client.threads import ThreadDriver


class Bulk:
    """A bulk writer for threads; several may feed it. Use it in a ``with`` block."""

    def __init__(
        self,
        driver: ThreadDriver,
        calls: Calls,
        limits: BulkLimits | None,
        progress: Callable[[Progress], None] | None,
        durability: Durability | None,
        timeout_s: float | None,
    ) -> None:
        self._driver = driver
        self._gathering = gathering(calls, limits, durability, timeout_s, progress)
        self._changed = threading.Condition()
        self._over = False
        self._pump: threading.Thread | None = None

    def __repr__(self) -> str:
        """How far it is."""
        return f"Bulk({self.progress!r})"

    @property
    def progress(self) -> Progress:
        """Counts of operations."""
        return self._gathering.progress

    @property
    def failures(self) -> tuple[BulkFailure, ...]:
        """What failed so far."""
        return tuple(self._gathering.failures)

    def put(
        self,
        key: bytes | str,
        value: bytes | str,
        *,
        lww: bool = False,
        context: bytes | None = None,
        blind: bool = False,
        ttl: float | None = None,
    ) -> None:
        """As ``Client.put``; waits for room only."""
        if context is None and not blind:
            self._take(self._gathering.put, key, value, lww, ttl)
        else:
            self._take(self._gathering.take, Put(key, value, lww, context, blind, ttl))

    def increment(
        self,
        key: bytes | str,
        amount: int = 1,
        *,
        type: DataType | None = None,  # noqa: A002 - the proto's name
    ) -> None:
        """As ``Client.increment``; waits for room only."""
        self._take(self._gathering.increment, key, amount, type)

    def delete(
        self,
        key: bytes | str,
        *,
        type: DataType | None = None,  # noqa: A002 - the proto's name
        context: bytes | None = None,
    ) -> None:
        """As ``Client.delete``; waits for room only."""
        self._take(self._gathering.take, Delete(key, type, context))

    def flush(self) -> None:
        """Return when all that was taken so far is acknowledged or has failed."""
        with self._changed:
            taken = self._gathering.flush()
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._gathering.has_settled(taken) or self._over)
            if not self._gathering.has_settled(taken):
                raise RuntimeError(ENDED)

    def __enter__(self) -> Bulk:
        """Start."""
        self._pump = threading.Thread(target=self._write, name="kvnode-bulk", daemon=True)
        self._pump.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Flush; BulkError if anything failed. Left by an exception, what waits is not sent."""
        assert self._pump is not None, "entered"
        if kind is None:
            self.flush()
        with self._changed:
            self._over = True
            self._changed.notify_all()
        self._pump.join()
        if kind is None and self._gathering.failures:
            raise self._gathering.error()

    def _take(self, take: Callable[..., bool], *asked: object) -> None:
        """``take`` what was asked for, as soon as there is room."""
        if self._pump is None or self._over:
            raise RuntimeError(ENDED)
        with self._changed:
            while self._gathering.full and not self._over:
                self._changed.wait()
            if self._over:
                raise RuntimeError(ENDED)
            if take(*asked):
                self._changed.notify_all()

    def _write(self) -> None:
        """Write, and whatever ends that: nobody waits for it any more."""
        try:
            self._run()
        finally:
            with self._changed:
                self._over = True
                self._changed.notify_all()

    def _run(self) -> None:
        """One stream after the other."""
        gathering = self._gathering
        failover = gathering.calls.failover
        while True:
            with self._changed:
                while not self._over and (wait_s := gathering.wait_s()) != 0:
                    self._changed.wait(wait_s)
                if self._over:
                    return
                deadline = gathering.deadline()
            try:
                endpoint = self._driver.run(failover.place(deadline, FRESH_S))
                voyage = Voyage(gathering, endpoint)
                passage = Passage(self._driver, voyage, self._changed)
            except (KvnodeError, RuntimeError):  # nobody is there, or closed: as any other write
                self._without_a_stream()
                continue
            self._sail(voyage, passage)

    def _sail(self, voyage: Voyage, passage: Passage) -> None:
        """Send chunks and take answers until the stream is over; settle what it left open."""
        while True:
            with self._changed:
                acknowledged = bool(passage.replies)
                while passage.replies:
                    voyage.answered(passage.replies.popleft())
                while not self._over and not passage.ended and voyage.may_send():
                    passage.requests.put(voyage.send())
                if acknowledged:
                    self._changed.notify_all()
                elif passage.ended:
                    break
                elif voyage.is_overdue():
                    passage.break_off()
                elif (self._over and not voyage.unfinished()) or voyage.is_over():
                    passage.close()
                    if not self._changed.wait_for(lambda: passage.ended, END_S):
                        passage.break_off()
                else:
                    self._changed.wait(voyage.wait_s(sending=not self._over))
            if acknowledged:
                self._gathering.tell()
        passage.close()
        try:
            self._driver.run(voyage.settle(passage.error))
        except RuntimeError as error:  # closed
            voyage.strand(error)
        self._landed(voyage.unfinished())

    def _without_a_stream(self) -> None:
        with self._changed:
            chunk = self._gathering.chunk()
        try:
            self._driver.run(self._gathering.written(chunk))
        except RuntimeError as error:  # closed
            chunk.flight.strand(error)
        self._landed([chunk])

    def _landed(self, chunks: list[Chunk]) -> None:
        if not chunks:
            return
        with self._changed:
            for chunk in chunks:
                self._gathering.landed(chunk)
            self._changed.notify_all()
        self._gathering.tell()


class Passage:
    """The stream of a voyage: what goes in, what comes out, and how it ended."""

    def __init__(self, driver: ThreadDriver, voyage: Voyage, changed: threading.Condition) -> None:
        """``changed`` guards what comes out, and is told of it."""
        self.requests: SimpleQueue[kv_pb2.WriteManyRequest | None] = SimpleQueue()
        self.replies: deque[kv_pb2.WriteManyResponse] = deque()
        self.ended = False
        self.error: RpcError | None = None
        self._call = driver.both_ways(
            voyage.endpoint, WRITE_STREAM, iter(self.requests.get, None), voyage.timeout_s
        )
        self._changed = changed
        threading.Thread(target=self._read, name="kvnode-bulk-replies", daemon=True).start()

    def close(self) -> None:
        """Nothing more goes in."""
        self.requests.put(None)

    def break_off(self) -> None:
        """End it now; to be called with ``changed`` held."""
        self._call.cancel()
        self._changed.wait_for(lambda: self.ended)

    def _read(self) -> None:
        error: RpcError | None = None
        try:
            for reply in self._call:
                with self._changed:
                    self.replies.append(reply)
                    self._changed.notify_all()
        except RpcError as broken:
            error = broken
        finally:
            with self._changed:
                self.error = error
                self.ended = True
                self._changed.notify_all()
