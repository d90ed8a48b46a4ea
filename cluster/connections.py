"""One TCP connection through a faulty link: two sockets and a pipe for each direction.

The obstacle is that a connection is more than its bytes: its end (FIN) and its failure (RST) are
messages too and must neither overtake the bytes nor slip through a drop. So each direction of a
connection is a ``_Pipe``: a queue of chunks of bytes that may end with an ``_End``. Without a fault
and with an empty queue a chunk is written on as it is read; otherwise it waits in the queue until
it is due and its direction lets it go. The queue is bounded: beyond ``HELD_BYTES_MAX`` the pipe
stops reading, and TCP's own flow control stops the sender.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from enum import Enum, auto
from typing import Final, cast

from cluster.faults import Counters, Fault, Mode
from cluster.ports import HOST

HELD_BYTES_MAX: Final = 4 << 20
"""Bytes one direction of one connection may hold back. It acts as the TCP window of a slow link: at
100 ms of delay one connection carries 40 MB/s at most."""

_WRITE_BUFFER_BYTES: Final = 256 << 10
"""Unsent bytes towards a receiver that stop the reading: one read of asyncio, so that reads and
writes alternate without the stop and go of asyncio's default of 64 KiB."""

_RATE_SLICE_S: Final = 0.01
"""A limited direction lets go slices of this duration, so that a large read does not arrive as one
late lump."""

_LINGER_ZERO: Final = struct.pack("ii", 1, 0)


class _End(Enum):
    """How a stream of bytes ends."""

    EOF = auto()
    """FIN: the sender writes no more, it may still read."""
    LOST = auto()
    """RST: the connection is gone."""


class Pair:
    """Two nodes: the connections between them, whoever dialed."""

    __slots__ = ("connections",)

    def __init__(self) -> None:
        self.connections: set[Connection] = set()


class Direction:
    """The bytes from one node to another: the fault they obey and what became of them."""

    __slots__ = ("busy_until", "counters", "fault")

    def __init__(self) -> None:
        self.fault = Fault()
        self.counters = Counters()
        self.busy_until = 0.0

    def due(self, size: int, now: float) -> float:
        """When a chunk read now may be delivered (loop time, seconds)."""
        fault = self.fault
        sent = now
        if fault.rate_bytes_s:
            sent = self.busy_until = max(self.busy_until, now) + size / fault.rate_bytes_s
        # Jitter of a simulated line, no secret depends on it.
        return sent + (fault.delay_ms + fault.jitter_ms * random.random()) / 1000

    def slices(self, chunk: bytes) -> Iterable[bytes]:
        size = int(self.fault.rate_bytes_s * _RATE_SLICE_S) or 1
        if not self.fault.rate_bytes_s or len(chunk) <= size:
            return (chunk,)
        return (chunk[start : start + size] for start in range(0, len(chunk), size))


class _Side(asyncio.Protocol):
    """One of the two sockets of a connection: ``feeds`` takes what it reads."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.transport: asyncio.Transport | None = None
        self.feeds: _Pipe
        self.filled_by: _Pipe
        self.full = False
        self.ended = False
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=_WRITE_BUFFER_BYTES)
        self.connection.side_made(self)

    def data_received(self, data: bytes) -> None:
        self.feeds.feed(data)

    def eof_received(self) -> bool:
        self.ended = True
        self.connection.side_ended(self, _End.EOF)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.connection.side_ended(self, _End.LOST if exc else None)

    def pause_writing(self) -> None:
        self.full = True
        self.filled_by.regulate()

    def resume_writing(self) -> None:
        self.full = False
        self.filled_by.regulate()

    @property
    def writable(self) -> bool:
        """Connected; bytes for a side that is gone are discarded, as a dead host does."""
        return self.transport is not None

    def put(self, chunk: bytes | _End) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        match chunk:
            case _End.EOF:
                # The receiver may have reset it while nothing was read from it: no news yet.
                with suppress(OSError):
                    self.transport.write_eof()
            case _End.LOST:
                self.reset()
            case _:
                self.transport.write(chunk)

    def reset(self) -> None:
        """Close with RST; bytes not yet delivered are lost."""
        if self.transport is None or self.lost:
            return
        wire = cast("socket.socket | None", self.transport.get_extra_info("socket"))
        if wire is not None and wire.fileno() >= 0:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self.transport.abort()


class _Pipe:
    """One direction of one connection.

    Invariant P1: chunks leave in the order in which they came, and nothing after an ``_End``.
    """

    __slots__ = ("_loop", "_paused", "_queue", "_sink", "_source", "_timer", "direction", "held")

    def __init__(self, direction: Direction, source: _Side, sink: _Side) -> None:
        self.direction = direction
        self._source = source
        self._sink = sink
        self._queue: deque[tuple[float, bytes | _End]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._paused = False
        self._loop = asyncio.get_running_loop()
        self.held = 0

    def feed(self, chunk: bytes | _End) -> None:
        """Take what the source sent: deliver it, or hold it until it is due."""
        if not self._queue and self.direction.fault.immediate and self._sink.writable:
            self._deliver(chunk)
            return
        fault, counters = self.direction.fault, self.direction.counters
        if fault.stalls:
            counters.chunks_dropped += 1
        elif not fault.immediate:
            counters.chunks_delayed += 1
        now = self._loop.time()
        if isinstance(chunk, _End):
            self._hold(chunk, 0, now)
        else:
            for piece in self.direction.slices(chunk):
                self._hold(piece, len(piece), now)
        self.pump()

    def _hold(self, chunk: bytes | _End, size: int, now: float) -> None:
        # A chunk due before an earlier one waits for it: the queue is what keeps the order.
        self._queue.append((self.direction.due(size, now), chunk))
        self._change_held(size)

    def _change_held(self, size: int) -> None:
        self.held += size
        self.direction.counters.bytes_held += size

    def pump(self) -> None:
        """Deliver what is due; called for new chunks, by the timer and when the fault changed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._queue and self._sink.writable and not self.direction.fault.stalls:
            due, chunk = self._queue[0]
            if not self.direction.fault.immediate and due > self._loop.time():
                self._timer = self._loop.call_at(due, self.pump)
                break
            self._queue.popleft()
            if not isinstance(chunk, _End):
                self._change_held(-len(chunk))
            self._deliver(chunk)
        self.regulate()

    def retime(self) -> None:
        """The fault changed: nothing held waits longer than a chunk that comes now would."""
        latest = self._loop.time() + self.direction.fault.delay_ms / 1000
        self._queue = deque((min(due, latest), chunk) for due, chunk in self._queue)
        self.pump()

    def regulate(self) -> None:
        """Read on, or stop reading, as the receiver and the bound of what is held allow."""
        stop = self._sink.full or self.held >= HELD_BYTES_MAX
        transport = self._source.transport
        if stop is self._paused or transport is None or transport.is_closing():
            return
        if self._source.ended:
            # asyncio would start to watch the socket again and report its end twice.
            return
        self._paused = stop
        if stop:
            transport.pause_reading()
        else:
            transport.resume_reading()

    def _deliver(self, chunk: bytes | _End) -> None:
        self._sink.put(chunk)
        if isinstance(chunk, _End):
            self._source.connection.pipe_ended()
        else:
            self.direction.counters.bytes_delivered += len(chunk)

    def discard(self) -> None:
        """Forget what is held; the connection is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._queue.clear()
        self._change_held(-self.held)


class Connection:
    """A connection that one node dialed to another: two sockets and a pipe each way."""

    def __init__(self, pair: Pair, forth: Direction, back: Direction, port: int) -> None:
        self._pair = pair
        self._directions = (forth, back)
        self._port = port
        self._dialer = _Side(self)
        self._target = _Side(self)
        self._forth = self._dialer.feeds = self._target.filled_by = _Pipe(
            forth, self._dialer, self._target
        )
        self._back = self._target.feeds = self._dialer.filled_by = _Pipe(
            back, self._target, self._dialer
        )
        self._dial: asyncio.Task[None] | None = None
        self._ends = 0
        self._open = False
        self._over = False

    @property
    def accepting_side(self) -> _Side:
        """The protocol for the socket that the dialing node's connection was accepted on."""
        return self._dialer

    def side_made(self, side: _Side) -> None:
        if side is self._target:
            if self._over:
                side.reset()
            return
        self._pair.connections.add(self)
        if not self.reset_if_cut():
            for direction in self._directions:
                direction.counters.chunks_dropped += direction.fault.stalls
            self._dial_on()

    def reset_if_cut(self) -> bool:
        """Reset it if either direction is cut, and say whether it is over."""
        if self._over:
            return True
        cut = [direction for direction in self._directions if direction.fault.mode is Mode.CUT]
        for direction in cut:
            direction.counters.connections_cut += 1
        if cut:
            self.reset()
        return bool(cut)

    def fault_changed(self, direction: Direction) -> None:
        """Dial on if nothing hinders it any more, and let go what may go."""
        self._dial_on()
        for pipe in (self._forth, self._back):
            if pipe.direction is direction:
                pipe.retime()

    def _dial_on(self) -> None:
        stalled = any(direction.fault.stalls for direction in self._directions)
        if self._dial is None and not stalled:
            self._dial = asyncio.get_running_loop().create_task(self._dial_target())

    async def _dial_target(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: self._target, HOST, self._port)
        except OSError:
            # Nobody listens: the dialing node is told as it would be without a link.
            self.reset()
            return
        if self._over:
            return
        self._open = True
        for direction in self._directions:
            direction.counters.connections += 1
            direction.counters.connections_open += 1
        self._forth.pump()
        self._back.pump()

    def side_ended(self, side: _Side, end: _End | None) -> None:
        """A socket has no more to read (EOF), failed (LOST), or was closed from here (None)."""
        if self._over:
            return
        if side is self._dialer and self._dial is None:
            # It gave up before its handshake got through; the other node never heard of it.
            self.reset()
        elif self._dialer.lost and (self._target.lost or not self._target.writable):
            self._finish()
        elif end is not None:
            side.feeds.feed(end)

    def pipe_ended(self) -> None:
        """An end was delivered; after the second one both sockets may close."""
        self._ends += 1
        if self._ends == 2:
            for side in (self._dialer, self._target):
                if side.transport is not None:
                    side.transport.close()

    def reset(self) -> None:
        """RST to both nodes, now."""
        self._dialer.reset()
        self._target.reset()
        self._finish()

    def _finish(self) -> None:
        if self._over:
            return
        self._over = True
        self._forth.discard()
        self._back.discard()
        self._pair.connections.discard(self)
        if self._open:
            for direction in self._directions:
                direction.counters.connections_open -= 1
