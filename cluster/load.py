"""Continuous load: a writer at each node, and one that goes wherever somebody serves.

Each batch has a marker (``ledger.py``), increments of shared counters, a value added to a shared
key, register writes, and something that a later batch of the same writer deletes again. The roaming
writer also resolves: it reads a shared key and replaces exactly what it has read.

What a node refuses is not written, and counted. A node whose clock is off refuses registers; the
writer then sends the batch without them, so that everything else goes on.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from typing import Final

from cluster.ledger import MARKER, Batch, Fate, Ledger
from kvnode import (
    Client,
    DataType,
    Delete,
    Increment,
    KvnodeError,
    Operation,
    OutcomeUnknown,
    Put,
    RequestRefused,
)

ROAMING: Final = "roaming"
CALL_TIMEOUT_S: Final = 4.0
VALUE_BYTES: Final = 1_000
"""Of a register: the log fills up in seconds, not in minutes."""
NOTE_VALUES: Final = 8
"""Values added to one shared key; far below the limit of siblings."""
NOTES_OPEN: Final = 3
"""A shared key is resolved when so many newer ones are in use."""
RESOLVE_EVERY: Final = 4
KEPT_BEFORE_DELETE: Final = 6


class Writer:
    """One thread that writes a batch now and then."""

    def __init__(self, name: str, ledger: Ledger, notes: Iterator[int], interval_s: float) -> None:
        self.name = name
        self.refusals: Counter[str] = Counter()
        """By reason."""
        self.registers = True
        """Whether the last batch was taken with its registers."""
        self.acknowledged = 0
        """Batches."""
        self._ledger = ledger
        self._notes = notes
        self._interval_s = interval_s
        self._client: Client | None = None
        self._trash: deque[tuple[str, DataType]] = deque()
        self._busy = threading.Lock()
        self._over = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"writer {name}", daemon=True)
        self._thread.start()

    def write_to(self, endpoints: Iterable[str]) -> None:
        """Write there from now on, to nobody if there is none; no batch is under way then."""
        addresses = list(endpoints)
        with self._busy:
            if self._client is not None:
                self._client.close()
            self._client = Client(addresses, timeout_s=CALL_TIMEOUT_S) if addresses else None

    def close(self) -> None:
        """Write no more; raises what has stopped the writer before, which is a bug."""
        self._over.set()
        self._thread.join()
        self.write_to(())
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            for number in count(1):
                if self._over.wait(self._interval_s):
                    return
                with self._busy:
                    if self._client is not None:
                        self._write(self._client, number)
        except BaseException as failure:  # close() tells
            self._failure = failure

    def _write(self, client: Client, number: int) -> None:
        try:
            self._send(client, number, registers=True)
            self.registers = True
        except RequestRefused as refused:
            self.refusals[refused.reason] += 1
            if refused.reason != "CLOCK_OFF":
                return
            self.registers = False
            try:
                self._send(client, number, registers=False)
            except KvnodeError as error:
                self.refusals[getattr(error, "reason", "")] += 1
        except KvnodeError:
            self.refusals[""] += 1

    def _send(self, client: Client, number: int, *, registers: bool) -> None:
        """One batch; raises if nothing of it was done."""
        operations: list[Operation] = list(self._steady(number))
        replaced: list[bytes] = []
        if registers:
            operations += self._registers(number)
        doomed: tuple[str, DataType] | None = None
        spent: tuple[str, DataType] | None = None
        if self.name == ROAMING:
            replaced = self._resolve(client, number, operations)
        else:
            doomed = self._doomed(number, operations, registers=registers)
            spent = self._spent(operations, registers=registers)
        marker = f"{MARKER}{self.name}/{number}"
        try:
            receipt = client.write(operations)
        except OutcomeUnknown:
            if spent is not None:
                self._trash.remove(spent)
            self._ledger.add(Batch(marker, self.name, operations, Fate.UNKNOWN, replaced=replaced))
            return
        if spent is not None:
            self._trash.remove(spent)
        if doomed is not None:
            self._trash.append(doomed)
        dot = receipt.receipts[-1].dot
        self._ledger.add(
            Batch(marker, self.name, operations, Fate.ACKNOWLEDGED, (dot.origin, dot.seq), replaced)
        )
        self.acknowledged += 1

    # ---- the parts of a batch

    def _steady(self, number: int) -> Iterator[Operation]:
        """What every batch has."""
        text = f"{self.name} {number}"
        yield Put(f"{MARKER}{self.name}/{number}", text, blind=True)
        yield Increment(f"balance/{number % 7}", number % 11 - 4 or 9, DataType.PN_COUNTER)
        yield Increment(f"visits/{number % 5}", number % 3 + 1, DataType.G_COUNTER)
        yield Put(f"note/{next(self._notes) // NOTE_VALUES}", text, blind=True)

    def _registers(self, number: int) -> Iterator[Operation]:
        text = f"{self.name} {number} "
        yield Put(f"kept/{self.name}/{number}", text.ljust(VALUE_BYTES, "."), lww=True)
        yield Put(f"last/{number % 9}", text, lww=True)

    def _doomed(
        self, number: int, operations: list[Operation], *, registers: bool
    ) -> tuple[str, DataType] | None:
        """Something to be deleted later."""
        key = f"trash/{self.name}/{number}"
        match number % 3:
            case 0 if registers:
                operations.append(Put(key, "for a while", lww=True))
                return key, DataType.LWW_REGISTER
            case 1:
                operations.append(Put(key, "for a while", blind=True))
                return key, DataType.SIBLINGS
            case 2:
                operations.append(Increment(key, number, DataType.G_COUNTER))
                return key, DataType.G_COUNTER
        return None

    def _spent(
        self, operations: list[Operation], *, registers: bool
    ) -> tuple[str, DataType] | None:
        """Delete the oldest that may be; it was acknowledged at the same node."""
        for key, kind in list(self._trash)[:-KEPT_BEFORE_DELETE]:
            if registers or kind is not DataType.LWW_REGISTER:
                operations.append(Delete(key))
                return key, kind
        return None

    def _resolve(self, client: Client, number: int, operations: list[Operation]) -> list[bytes]:
        """Replace what a shared key shows; the values that were read."""
        note = next(self._notes) // NOTE_VALUES - NOTES_OPEN
        if number % RESOLVE_EVERY or note < 0:
            return []
        (state,) = client.batch_get([f"note/{note}"])
        if not state.in_conflict:
            return []
        operations.append(
            Put(f"note/{note}", f"{self.name} {number} has read all", context=state.context)
        )
        return [sibling.value for sibling in state.siblings]


class Load:
    """The writers of all nodes. Use as a context manager; ends when it is left."""

    def __init__(self, endpoints: Mapping[str, str], ledger: Ledger, interval_s: float) -> None:
        self._endpoints = dict(endpoints)
        self._at: set[str] = set()
        notes = _Shared()
        self.writers = {
            name: Writer(name, ledger, notes, interval_s) for name in (*endpoints, ROAMING)
        }

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Write no more. Idempotent."""
        for writer in self.writers.values():
            writer.close()

    def begin(self, name: str) -> None:
        """Write to this node too."""
        self._at.add(name)
        self.writers[name].write_to([self._endpoints[name]])
        self._roam()

    def spare(self, name: str) -> None:
        """Write to this node no more; nothing is on its way to it when this returns."""
        self._at.discard(name)
        self.writers[name].write_to(())
        self._roam()

    @contextmanager
    def sparing(self, name: str) -> Iterator[None]:
        """``spare`` it for the time of the block."""
        self.spare(name)
        yield
        self.begin(name)

    def _roam(self) -> None:
        self.writers[ROAMING].write_to(self._endpoints[name] for name in sorted(self._at))


class _Shared:
    """A count that several threads take from."""

    def __init__(self) -> None:
        self._count = count()
        self._lock = threading.Lock()

    def __iter__(self) -> _Shared:
        return self

    def __next__(self) -> int:
        with self._lock:
            return next(self._count)
