"""The limits a write has to keep, and the check of everything that needs no state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kvnode.core.errors import Reason, Refused
from kvnode.core.hlc import is_time_ms
from kvnode.core.operations import Delete, Increment, Increments, Operation, Put, Puts
from kvnode.core.types import COUNTERS, G_COUNTER, LWW_REGISTER, NAMES, PN_COUNTER, SIBLINGS

INT64_MAX = 2**63 - 1
REQUEST_ID_BYTES = 16
TTL_MS_MAX = 100 * 365 * 24 * 3600 * 1000
"""A value that is to stay longer than a century is to stay."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may ask for. Units are in the names."""

    key_bytes_max: int = 480  # LMDB's keys end at 511 bytes; the rest is room for prefixes
    value_bytes_max: int = 1 << 20  # a value is copied whole on every hop
    batch_bytes_max: int = 4 << 20  # one batch is one block, seen whole or not at all
    batch_operations_max: int = 10_000
    siblings_max: int = 100  # more means nobody resolves; replication never refuses
    context_bytes_max: int = 64 << 10

    def check_key(self, key: bytes) -> None:
        """Raise ``Refused`` (BAD_KEY) unless 1 .. key_bytes_max bytes."""
        if not 1 <= len(key) <= self.key_bytes_max:
            raise Refused(
                Reason.BAD_KEY,
                f"a key has 1 to {self.key_bytes_max} bytes, this one has {len(key)}",
                limit=str(self.key_bytes_max),
            )

    def check_batch(self, operations: int) -> None:
        """Raise ``Refused`` (BATCH_TOO_LARGE) if a batch has too many operations."""
        if operations > self.batch_operations_max:
            raise Refused(
                Reason.BATCH_TOO_LARGE,
                f"a batch holds at most {self.batch_operations_max} operations, "
                f"this one {operations}: split it",
                limit=str(self.batch_operations_max),
            )

    def check(self, operations: Sequence[Operation], request_id: bytes) -> int:
        """The batch's size in bytes; raise ``Refused`` if anything in it is out of bounds."""
        if not operations:
            raise Refused(Reason.BAD_REQUEST, "a batch needs at least one operation")
        if len(operations) > self.batch_operations_max:
            self.check_batch(len(operations))
        if request_id and len(request_id) != REQUEST_ID_BYTES:
            raise Refused(Reason.BAD_REQUEST, f"a request id has {REQUEST_ID_BYTES} bytes")
        size = 16 * len(operations) + (self._alike(operations) or self._each(operations))
        if size > self.batch_bytes_max:
            raise Refused(
                Reason.BATCH_TOO_LARGE,
                f"a batch holds at most {self.batch_bytes_max} bytes, this one {size}: split it",
                limit=str(self.batch_bytes_max),
            )
        return size

    def _alike(self, operations: Sequence[Operation]) -> int:
        """The bytes of columns in which nothing is out of bounds, else 0."""
        if type(operations) is Puts:
            values = [len(value) for value in operations.values]
            self_evident = operations.type in (SIBLINGS, LWW_REGISTER) and not operations.deadline
            if not self_evident or max(values) > self.value_bytes_max:
                return 0
        elif type(operations) is Increments:
            values = []
            amounts = operations.amounts
            least = 1 if operations.type == G_COUNTER else -INT64_MAX
            if (
                operations.type not in (0, *COUNTERS)
                or min(amounts) < least
                or max(amounts) > INT64_MAX
                or 0 in amounts
            ):
                return 0
        else:
            return 0
        keys = [len(key) for key in operations.keys]
        fit = min(keys) >= 1 and max(keys) <= self.key_bytes_max
        return sum(keys) + sum(values) if fit else 0

    def _each(self, operations: Sequence[Operation]) -> int:
        size = 0
        for operation in operations:
            key = operation.key
            if not 1 <= len(key) <= self.key_bytes_max:
                self.check_key(key)
            size += len(key)
            if type(operation) is Put:
                self._check_put(operation)
                size += len(operation.value)
            elif type(operation) is Increment:
                _check_increment(operation)
            elif type(operation) is Delete and operation.type not in (0, *NAMES):
                raise Refused(Reason.BAD_REQUEST, f"unknown data type {operation.type}")
        return size

    def _check_put(self, put: Put) -> None:
        if len(put.value) > self.value_bytes_max:
            raise Refused(
                Reason.BAD_VALUE,
                f"a value has at most {self.value_bytes_max} bytes, this one {len(put.value)}",
                limit=str(self.value_bytes_max),
            )
        if put.type == SIBLINGS and not (put.deadline or put.blind):
            return
        if put.type not in (SIBLINGS, LWW_REGISTER):
            raise Refused(
                Reason.BAD_REQUEST,
                "put writes SIBLINGS or LWW_REGISTER; counters are written with increment",
            )
        if put.deadline and not is_time_ms(put.deadline):
            raise Refused(Reason.BAD_REQUEST, f"no clock gets to the deadline {put.deadline}")
        if put.blind and (put.type != SIBLINGS or put.context is not None):
            raise Refused(
                Reason.BAD_REQUEST, "blind adds a sibling: not with a context, not on a register"
            )


def _check_increment(increment: Increment) -> None:
    if increment.amount == 0:
        raise Refused(Reason.BAD_AMOUNT, "an increment by 0 changes nothing: leave it out")
    if not -INT64_MAX <= increment.amount <= INT64_MAX:
        raise Refused(Reason.BAD_AMOUNT, "an amount has at most 63 bits and a sign")
    if increment.type not in (0, *COUNTERS):
        raise Refused(Reason.BAD_REQUEST, "increment writes G_COUNTER or PN_COUNTER")
    if increment.amount < 0 and increment.type not in (0, PN_COUNTER):
        raise Refused(Reason.BAD_AMOUNT, "a G-Counter only grows: use a PN-Counter to take away")
