"""The replay: one writer per airport, all at once, each to its own node.

The flights are cut into slices of the file, the same for all airports, so that the airports live
through the year together: nobody may be more than `LEAD` slices ahead of the slowest. Without it a
day that two airports share would be written weeks apart and there would be nothing to disagree on.

A writer sends its part of a slice as one batch and waits for the receipt before it sends the next.
More batches in flight at one node would arrive in any order, and the last movement of an aircraft
must be the last in the file; the nodes share two cores anyway, so a second batch would only wait
in another place. Threads, not processes: building and sending costs a few microseconds per
operation, and a writer that waits for its receipt holds no lock.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from cluster.flights import Flight
from cluster.notes import Note
from cluster.operations import Batch, batch_of
from cluster.vectors import joined
from kvnode import BatchReceipt, Client, KvnodeError, ResourceExhausted

SLICE_ROWS_MAX: Final = 600
"""About 1,000 operations per airport and batch, 3,600 if one airport has all of them."""

SLICES_MIN: Final = 60
"""Short replays have smaller batches, so that being apart lasts more than one of them."""

LEAD: Final = 8
"""Slices; about five days of flights."""

REFUSED_MAX_S: Final = 60.0
"""How long a batch may be refused for lack of room before the replay gives up."""

REFUSED_WAIT_S: Final = 0.05
"""Wait after a refusal that does not say how long."""


class ReplayFailed(Exception):
    """A batch was refused for good, or its outcome is unknown."""


@dataclass(slots=True)
class Writer:
    """What one airport has to send and has had acknowledged."""

    airport: str
    client: Client
    slices: list[list[Flight]]
    slices_done: int = 0
    flights: int = 0
    operations: int = 0
    refusals: int = 0
    last_reply_s: float = 0.0
    session: Mapping[int, int] = field(default_factory=dict)
    notes: dict[str, list[Note]] = field(default_factory=lambda: defaultdict(list))


class Replay:
    """The writers and what holds them together. Use as a context manager; stops them on exit."""

    def __init__(
        self, flights: Sequence[Flight], shared: Collection[str], clients: Mapping[str, Client]
    ) -> None:
        rows = max(1, min(SLICE_ROWS_MAX, len(flights) // SLICES_MIN))
        self.flights_total = len(flights)
        self.slices_total = -(-len(flights) // rows)
        self.started_s = 0.0
        self._shared = shared
        self.writers = {
            airport: Writer(airport, client, [[] for _ in range(self.slices_total)])
            for airport, client in clients.items()
        }
        for row, flight in enumerate(flights):
            self.writers[flight.origin].slices[row // rows].append(flight)
        self._changed = threading.Condition()
        self._open = 0
        self._stopping = False
        self._failure: Exception | None = None
        self._threads = [
            threading.Thread(target=self._run, args=(writer,), name=writer.airport, daemon=True)
            for writer in self.writers.values()
        ]

    def __enter__(self) -> Replay:
        self.started_s = monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    @property
    def flights(self) -> int:
        """Acknowledged so far, all airports."""
        return sum(writer.flights for writer in self.writers.values())

    @property
    def operations(self) -> int:
        """Acknowledged so far, all airports."""
        return sum(writer.operations for writer in self.writers.values())

    @property
    def refusals(self) -> int:
        """How often a node had no room and was asked again later."""
        return sum(writer.refusals for writer in self.writers.values())

    @property
    def last_reply_s(self) -> float:
        """When the last acknowledgement came (monotonic)."""
        return max(writer.last_reply_s for writer in self.writers.values())

    def session(self) -> dict[int, int]:
        """The version vector of everything acknowledged."""
        return joined(writer.session for writer in self.writers.values())

    def notes(self) -> dict[str, list[Note]]:
        """Every acknowledged crew note, by key."""
        out: defaultdict[str, list[Note]] = defaultdict(list)
        for writer in self.writers.values():
            for key, notes in writer.notes.items():
                out[key] += notes
        return out

    def let_write(self, slices: int) -> None:
        """Let the writers go on up to this many slices."""
        with self._changed:
            self._open = slices
            self._changed.notify_all()

    def wait(self, slices: int, timeout_s: float) -> bool:
        """Whether every writer has had this many slices acknowledged, after ``timeout_s`` at most.

        Raises ReplayFailed if one of them cannot go on.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._failure is not None or self._slowest() >= slices, timeout_s
            )
            if self._failure is not None:
                raise ReplayFailed(str(self._failure)) from self._failure
            return self._slowest() >= slices

    def _slowest(self) -> int:
        return min(writer.slices_done for writer in self.writers.values())

    def _run(self, writer: Writer) -> None:
        try:
            for number, flights in enumerate(writer.slices):
                batch = batch_of(flights, self._shared)
                if not self._wait_turn(number):
                    return
                if flights:
                    self._send(writer, batch)
                with self._changed:
                    writer.slices_done = number + 1
                    self._changed.notify_all()
        except Exception as error:  # handed to whoever waits: a thread has no caller
            with self._changed:
                self._failure = self._failure or error
                self._changed.notify_all()

    def _wait_turn(self, number: int) -> bool:
        """Whether slice ``number`` may be sent, once that is known; not if the replay is over."""

        def decided() -> bool:
            over = self._stopping or self._failure is not None
            return over or (number < self._open and number < self._slowest() + LEAD)

        with self._changed:
            self._changed.wait_for(decided)
            return not self._stopping and self._failure is None

    def _send(self, writer: Writer, batch: Batch) -> None:
        receipt = self._write(writer, batch)
        writer.last_reply_s = monotonic()
        for position, key, text in batch.notes:
            dot = receipt.receipts[position].dot
            writer.notes[key].append(
                Note(text.encode(), (dot.origin, dot.seq), writer.session, receipt.session)
            )
        writer.session = receipt.session
        writer.flights += batch.flights
        writer.operations += len(batch.operations)

    def _write(self, writer: Writer, batch: Batch) -> BatchReceipt:
        """Send until there is room. A refusal changed nothing, so sending again is safe."""
        give_up_s = monotonic() + REFUSED_MAX_S
        while True:
            try:
                return writer.client.write(batch.operations)
            except ResourceExhausted as refusal:
                writer.refusals += 1
                wait_s = refusal.retry_after_s or REFUSED_WAIT_S
                if monotonic() + wait_s > give_up_s:
                    raise ReplayFailed(f"{writer.airport} has no room: {refusal}") from refusal
                with self._changed:
                    self._changed.wait_for(lambda: self._stopping, wait_s)
                    if self._stopping:
                        raise
            except KvnodeError as error:
                raise ReplayFailed(
                    f"{writer.airport}, after {writer.flights:,} of its flights: {error}"
                ) from error
