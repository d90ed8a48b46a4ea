"""What a client can ask for, checked before it is sent.

A request that no node would take is refused here, with the same exception and reason a node would
give: nothing was changed, and no round trip was needed to learn it. The limits are those of the
API (``proto/kvnode/v1/kv.proto``); a node may be configured with tighter ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast
from uuid import UUID

from kvnode.client.values import DataType, shown
from kvnode.core.errors import Reason
from kvnode.errors import InvalidArgument
from kvnode.v1 import kv_pb2

if TYPE_CHECKING:
    from kvnode.v1 import types_pb2

KEY_BYTES_MAX: Final = 480
VALUE_BYTES_MAX: Final = 1 << 20
BATCH_OPERATIONS_MAX: Final = 10_000
BATCH_BYTES_MAX: Final = 4 << 20
"""Keys and values of one batch together."""
PAGE_KEYS_MAX: Final = 10_000
REQUEST_ID_BYTES: Final = 16
INT64_MAX: Final = (1 << 63) - 1
BAD_KEY: Final = Reason.BAD_KEY
BAD_VALUE: Final = Reason.BAD_VALUE
TTL_S_MAX: Final = 100 * 365 * 24 * 3600
"""100 years."""

WIRE_TYPES: Final = {kind: cast("types_pb2.DataType", int(kind)) for kind in DataType}
"""The numbers of the wire; protobuf takes plain integers sooner than an enum's members."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What a batch is made of: a ``Put``, an ``Increment`` or a ``Delete``."""

    key: bytes | str


@dataclass(frozen=True, slots=True)
class Put(Operation):
    """Store a value: a sibling, or with ``lww`` a last-writer-wins register.

    What it replaces: what the node holds now (default), exactly what ``context`` shows, or with
    ``blind`` nothing. With ``ttl`` (seconds) the value expires so long after the node took it.
    """

    value: bytes | str
    lww: bool = False
    context: bytes | None = None
    blind: bool = False
    ttl: float | None = None


@dataclass(frozen=True, slots=True)
class Increment(Operation):
    """Add ``amount``, negative for a PN-counter only.

    Without ``type``: to the counter the node shows under the key, else to a new PN-counter.
    """

    amount: int = 1
    type: DataType | None = None


@dataclass(frozen=True, slots=True)
class Delete(Operation):
    """Remove what the node holds now, or exactly what ``context`` shows.

    ``type`` is needed only for a key that shows several types.
    """

    type: DataType | None = None
    context: bytes | None = None


def refuse(reason: Reason, message: str) -> InvalidArgument:
    """The exception for a request that is not worth sending."""
    return InvalidArgument(message, reason=reason)


def key_bytes(key: bytes | str) -> bytes:
    """The key as bytes, 1 to 480 of them."""
    raw = key if type(key) is bytes else as_bytes(key, BAD_KEY, "key")
    if 0 < len(raw) <= KEY_BYTES_MAX:
        return raw
    if not raw:
        raise refuse(Reason.BAD_KEY, f"an empty key; a key has 1 to {KEY_BYTES_MAX} bytes")
    raise refuse(
        Reason.BAD_KEY, f"key {shown(raw)} is too long; a key has 1 to {KEY_BYTES_MAX} bytes"
    )


def bound_bytes(bound: bytes | str, what: str) -> bytes:
    """A prefix or a bound of a range; it may be empty, and it may be no possible key."""
    return as_bytes(bound, Reason.BAD_KEY, what)


def as_bytes(text: bytes | str, reason: Reason, what: str) -> bytes:
    """Bytes as they are, text as UTF-8."""
    if isinstance(text, str):
        try:
            return text.encode()
        except UnicodeEncodeError as error:
            raise refuse(
                reason, f"{what} {text!r} has no UTF-8 form ({error.reason}); pass bytes"
            ) from error
    if isinstance(text, bytes):
        return text
    raise refuse(reason, f"a {what} must be bytes or str, not {type(text).__name__}")


def request_id_bytes(request_id: bytes | UUID) -> bytes:
    """A request id as the caller gave it, 16 bytes."""
    raw = request_id.bytes if isinstance(request_id, UUID) else request_id
    if not isinstance(raw, bytes) or len(raw) != REQUEST_ID_BYTES:
        raise refuse(Reason.BAD_REQUEST, f"a request id is {REQUEST_ID_BYTES} bytes or a uuid.UUID")
    return raw


def page_keys(page_size: int) -> int:
    """Keys a page."""
    if isinstance(page_size, bool) or not isinstance(page_size, int):
        raise refuse(Reason.BAD_REQUEST, "page_size must be an integer")
    if not 1 <= page_size <= PAGE_KEYS_MAX:
        raise refuse(Reason.BAD_REQUEST, f"page_size {page_size} is not in 1..{PAGE_KEYS_MAX}")
    return page_size


def single_request(operation: Operation, request_id: bytes) -> kv_pb2.WriteRequest:
    """One operation that a node can take."""
    request = kv_pb2.WriteRequest(request_id=request_id)
    add_operation(request, operation)
    return request


def write_request(operations: Iterable[Operation], request_id: bytes) -> kv_pb2.WriteRequest:
    """A batch that a node can take: 1 to 10,000 operations, 4 MiB.

    Filled in place: a message built first and then copied into the batch took 5 us an
    operation instead of 2.
    """
    if not isinstance(operations, Iterable):
        kind = type(operations).__name__
        raise refuse(Reason.BAD_REQUEST, f"write takes several operations: pass a list, not {kind}")
    request = kv_pb2.WriteRequest(request_id=request_id)
    total_bytes = 0
    position = -1
    for position, operation in enumerate(operations):
        if position == BATCH_OPERATIONS_MAX:
            raise refuse(
                Reason.BATCH_TOO_LARGE, f"a batch has at most {BATCH_OPERATIONS_MAX} operations"
            )
        try:
            total_bytes += add_operation(request, operation)
        except InvalidArgument as error:
            raise InvalidArgument(f"operation {position}: {error}", reason=error.reason) from error
        if total_bytes > BATCH_BYTES_MAX:
            raise refuse(
                Reason.BATCH_TOO_LARGE,
                f"the keys and values of a batch have at most {BATCH_BYTES_MAX} bytes together",
            )
    if position < 0:
        raise refuse(Reason.BAD_REQUEST, "a batch without operations")
    return request


def add_operation(request: kv_pb2.WriteRequest, operation: Operation) -> int:
    """One more in a batch: the bytes that count for it."""
    add = request.operations.add
    if isinstance(operation, Increment):
        return fill_increment(add().increment, operation.key, operation.amount, operation.type)
    if isinstance(operation, Put):
        return fill_put(
            add().put,
            operation.key,
            operation.value,
            lww=operation.lww,
            context=operation.context,
            blind=operation.blind,
            ttl=operation.ttl,
        )
    if isinstance(operation, Delete):
        return fill_delete(add().delete, operation.key, operation.type, operation.context)
    raise refuse(
        Reason.BAD_REQUEST,
        f"it is a {type(operation).__name__}, not a Put, Increment or Delete",
    )


def keys_of(request: kv_pb2.WriteRequest) -> tuple[bytes, ...]:
    """The keys its operations are about, in order."""
    return tuple([key_of(operation) for operation in request.operations])


def key_of(operation: kv_pb2.Operation) -> bytes:
    """The key an operation is about."""
    if operation.HasField("put"):
        return operation.put.key
    return operation.increment.key if operation.HasField("increment") else operation.delete.key


# ---- each fills a message with what it checked, and returns the bytes that count for a batch. They
# take the fields, not an operation: for a single call to make one took as long as to fill this


def fill_put(
    message: kv_pb2.Put,
    key: bytes | str,
    value: bytes | str,
    *,
    lww: bool,
    context: bytes | None,
    blind: bool,
    ttl: float | None,
) -> int:
    """A put: the bytes of its key and value."""
    raw_key = key_bytes(key)
    raw_value = value_bytes(value, raw_key)
    if blind:
        if context is not None:
            raise refuse(Reason.BAD_REQUEST, "blind replaces nothing, so it takes no context")
        if lww:
            raise refuse(Reason.BAD_REQUEST, "blind adds a sibling, an LWW register has none")
        message.blind = True
    message.key = raw_key
    message.value = raw_value
    message.type = WIRE_TYPES[DataType.LWW_REGISTER if lww else DataType.SIBLINGS]
    if context is not None:
        message.context = checked_context(context)
    if ttl is not None:
        message.ttl_ms = ttl_ms(ttl)
    return len(raw_key) + len(raw_value)


def value_bytes(value: bytes | str, key: bytes) -> bytes:
    """The value as bytes, at most 1 MiB."""
    raw = value if type(value) is bytes else as_bytes(value, BAD_VALUE, "value")
    if len(raw) > VALUE_BYTES_MAX:
        raise refuse(
            Reason.BAD_VALUE,
            f"the value of key {shown(key)} has more than 1 MiB ({VALUE_BYTES_MAX:,} bytes)",
        )
    return raw


def ttl_ms(ttl: float) -> int:
    """A time to live in whole milliseconds: 1 ms to 100 years."""
    if isinstance(ttl, bool) or not isinstance(ttl, (int, float)):
        raise refuse(Reason.BAD_REQUEST, f"ttl {ttl!r} is not a number of seconds")
    if not 0.001 <= ttl <= TTL_S_MAX:
        raise refuse(Reason.BAD_REQUEST, f"ttl {ttl:g} is not in 0.001..{TTL_S_MAX} seconds")
    return round(ttl * 1000)


def fill_increment(
    message: kv_pb2.Increment, key: bytes | str, amount: int, kind: DataType | None
) -> int:
    """An increment: the bytes of its key."""
    check_amount(amount, kind)
    raw_key = key_bytes(key)
    message.key = raw_key
    message.amount = amount
    if kind is not None:
        message.type = WIRE_TYPES[kind]
    return len(raw_key)


def check_amount(amount: int, kind: DataType | None) -> None:
    """It can be added to such a counter."""
    if isinstance(amount, bool) or not isinstance(amount, int):
        raise refuse(Reason.BAD_AMOUNT, f"amount {amount!r} is not an integer")
    if amount == 0:
        raise refuse(Reason.BAD_AMOUNT, "an amount of 0 changes nothing")
    if not -INT64_MAX <= amount <= INT64_MAX:
        raise refuse(Reason.BAD_AMOUNT, f"amount {amount} is not in -(2^63-1)..2^63-1")
    if counter_type(kind) == DataType.G_COUNTER and amount < 0:
        raise refuse(Reason.BAD_AMOUNT, f"a G-counter only grows, amount {amount} is negative")


def counter_type(kind: DataType | None) -> DataType | None:
    """A counter's type, or none."""
    if kind is not None and kind not in (DataType.G_COUNTER, DataType.PN_COUNTER):
        raise refuse(Reason.BAD_REQUEST, f"{kind!r} is not a counter type")
    return kind


def fill_delete(
    message: kv_pb2.Delete, key: bytes | str, kind: DataType | None, context: bytes | None
) -> int:
    """A delete: the bytes of its key."""
    if kind is not None:
        if not isinstance(kind, DataType):
            raise refuse(Reason.BAD_REQUEST, f"{kind!r} is not a type of kvnode")
        message.type = WIRE_TYPES[kind]
    raw_key = key_bytes(key)
    message.key = raw_key
    if context is not None:
        message.context = checked_context(context)
    return len(raw_key)


def checked_context(context: bytes) -> bytes:
    """A context as it was read.

    An empty context is refused: the wire cannot tell it from none, and the write would replace
    values that its caller never saw.
    """
    if not isinstance(context, bytes) or not context:
        raise refuse(
            Reason.BAD_CONTEXT,
            "a context is the non-empty bytes that a read returned; leave it out to replace"
            " what the node holds now",
        )
    return context
