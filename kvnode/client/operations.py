"""What a client can ask for, checked before it is sent.

A request that no node would take is refused here, with the same exception and reason a node would
give: nothing was changed, and no round trip was needed to learn it. The limits are those of the
API (``proto/kvnode/v1/kv.proto``); a node may be configured with tighter ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias, cast

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
TTL_S_MAX: Final = 100 * 365 * 24 * 3600
"""100 years."""

WIRE_TYPES: Final = {kind: cast("types_pb2.DataType", int(kind)) for kind in DataType}
"""The numbers of the wire; protobuf takes plain integers sooner than an enum's members."""


@dataclass(frozen=True, slots=True)
class Put:
    """Store a value: a sibling, or with ``lww`` a last-writer-wins register.

    What it replaces: what the node holds now (default), exactly what ``context`` shows, or with
    ``blind`` nothing. With ``ttl`` (seconds) the value expires so long after the node took it.
    """

    key: bytes | str
    value: bytes | str
    lww: bool = False
    context: bytes | None = None
    blind: bool = False
    ttl: float | None = None


@dataclass(frozen=True, slots=True)
class Increment:
    """Add ``amount``, negative for a PN-counter only.

    Without ``type``: to the counter the node shows under the key, else to a new PN-counter.
    """

    key: bytes | str
    amount: int = 1
    type: DataType | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove what the node holds now, or exactly what ``context`` shows.

    ``type`` is needed only for a key that shows several types.
    """

    key: bytes | str
    type: DataType | None = None
    context: bytes | None = None


Operation: TypeAlias = Put | Increment | Delete


def refuse(reason: Reason, message: str) -> InvalidArgument:
    """The exception for a request that is not worth sending."""
    return InvalidArgument(message, reason=reason)


def key_bytes(key: bytes | str) -> bytes:
    """The key as bytes, 1 to 480 of them."""
    raw = as_bytes(key, Reason.BAD_KEY, "key")
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
    if isinstance(text, bytes):
        return text
    if not isinstance(text, str):
        raise refuse(reason, f"a {what} must be bytes or str, not {type(text).__name__}")
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise refuse(
            reason, f"{what} {text!r} has no UTF-8 form ({error.reason}); pass bytes"
        ) from error


def request_id_bytes(request_id: bytes) -> bytes:
    """A request id as the caller gave it, 16 bytes."""
    if not isinstance(request_id, bytes) or len(request_id) != REQUEST_ID_BYTES:
        raise refuse(Reason.BAD_REQUEST, f"a request id has {REQUEST_ID_BYTES} bytes")
    return request_id


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
        return fill_increment(add().increment, operation)
    if isinstance(operation, Put):
        return fill_put(add().put, operation)
    if isinstance(operation, Delete):
        return fill_delete(add().delete, operation)
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


# ---- each fills a message with what it checked, and returns the bytes that count for a batch


def fill_put(message: kv_pb2.Put, put: Put) -> int:
    """A put: the bytes of its key and value."""
    key = key_bytes(put.key)
    value = as_bytes(put.value, Reason.BAD_VALUE, "value")
    if len(value) > VALUE_BYTES_MAX:
        raise refuse(
            Reason.BAD_VALUE,
            f"the value of key {shown(key)} has more than 1 MiB ({VALUE_BYTES_MAX:,} bytes)",
        )
    if put.blind:
        if put.context is not None:
            raise refuse(Reason.BAD_REQUEST, "blind replaces nothing, so it takes no context")
        if put.lww:
            raise refuse(Reason.BAD_REQUEST, "blind adds a sibling, an LWW register has none")
        message.blind = True
    message.key = key
    message.value = value
    message.type = WIRE_TYPES[DataType.LWW_REGISTER if put.lww else DataType.SIBLINGS]
    if put.context is not None:
        message.context = checked_context(put.context)
    if put.ttl is not None:
        message.ttl_ms = ttl_ms(put.ttl)
    return len(key) + len(value)


def ttl_ms(ttl: float) -> int:
    """A time to live in whole milliseconds: 1 ms to 100 years."""
    if isinstance(ttl, bool) or not isinstance(ttl, (int, float)):
        raise refuse(Reason.BAD_REQUEST, f"ttl {ttl!r} is not a number of seconds")
    if not 0.001 <= ttl <= TTL_S_MAX:
        raise refuse(Reason.BAD_REQUEST, f"ttl {ttl:g} is not in 0.001..{TTL_S_MAX} seconds")
    return round(ttl * 1000)


def fill_increment(message: kv_pb2.Increment, increment: Increment) -> int:
    """An increment: the bytes of its key."""
    amount = increment.amount
    if isinstance(amount, bool) or not isinstance(amount, int):
        raise refuse(Reason.BAD_AMOUNT, f"amount {amount!r} is not an integer")
    if amount == 0:
        raise refuse(Reason.BAD_AMOUNT, "an amount of 0 changes nothing")
    if not -INT64_MAX <= amount <= INT64_MAX:
        raise refuse(Reason.BAD_AMOUNT, f"amount {amount} is not in -(2^63-1)..2^63-1")
    kind = increment.type
    if kind is not None:
        if kind not in (DataType.G_COUNTER, DataType.PN_COUNTER):
            raise refuse(Reason.BAD_REQUEST, f"{kind!r} is not a counter type")
        if kind == DataType.G_COUNTER and amount < 0:
            raise refuse(Reason.BAD_AMOUNT, f"a G-counter only grows, amount {amount} is negative")
        message.type = WIRE_TYPES[kind]
    key = key_bytes(increment.key)
    message.key = key
    message.amount = amount
    return len(key)


def fill_delete(message: kv_pb2.Delete, delete: Delete) -> int:
    """A delete: the bytes of its key."""
    if delete.type is not None:
        if not isinstance(delete.type, DataType):
            raise refuse(Reason.BAD_REQUEST, f"{delete.type!r} is not a type of kvnode")
        message.type = WIRE_TYPES[delete.type]
    key = key_bytes(delete.key)
    message.key = key
    if delete.context is not None:
        message.context = checked_context(delete.context)
    return len(key)


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
