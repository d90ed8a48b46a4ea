"""Batches of alike operations, in columns: a list of keys and one of values, not an object each.

What a caller passes is looked at column by column: one pass of C code for all types, one for all
lengths. That takes a tenth of what it takes to look at each operation, but it only tells that all
is well, not what is wrong where. So whatever is not plainly well goes the general way
(``write_request``), operation by operation: that refuses it with its number and the words of any
other batch, or, for a subclass of ``bytes`` or the like, makes an ordinary batch of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import TypeAlias, TypeVar

from kvnode.client.operations import (
    BATCH_BYTES_MAX,
    BATCH_OPERATIONS_MAX,
    INT64_MAX,
    KEY_BYTES_MAX,
    VALUE_BYTES_MAX,
    WIRE_TYPES,
    Increment,
    Operation,
    Put,
    counter_type,
    keys_of,
    refuse,
    ttl_ms,
    write_request,
)
from kvnode.client.values import DataType
from kvnode.core.errors import Reason
from kvnode.v1 import kv_pb2

Made: TypeAlias = tuple[kv_pb2.WriteRequest, tuple[bytes, ...]]
"""A request that asks for a brief answer, and the keys it is about, in order."""

ItemT = TypeVar("ItemT")
KeyT = TypeVar("KeyT", bound=bytes | str)


def puts_request(
    keys: Sequence[bytes | str],
    values: Sequence[bytes | str],
    *,
    lww: bool,
    ttl: float | None,
    request_id: bytes,
) -> Made:
    """One put for each key, in order."""
    expiry_ms = None if ttl is None else ttl_ms(ttl)
    raw_keys = plain_keys(keys)
    raw_values = plain(values)
    if raw_keys is not None and raw_values is not None:
        sizes = list(map(len, raw_values))
        total_bytes = sum(map(len, raw_keys)) + sum(sizes)
        if max(sizes) <= VALUE_BYTES_MAX and total_bytes <= BATCH_BYTES_MAX:
            request = kv_pb2.WriteRequest(request_id=request_id, brief=True)
            puts = request.puts
            puts.keys.extend(raw_keys)
            puts.values.extend(raw_values)
            puts.type = WIRE_TYPES[DataType.LWW_REGISTER if lww else DataType.SIBLINGS]
            if expiry_ms is not None:
                puts.ttl_ms = expiry_ms
            return request, tuple(raw_keys)
    pairs = zip(keys, values, strict=True)
    return in_general((Put(key, value, lww, ttl=ttl) for key, value in pairs), request_id)


def increments_request(
    keys: Sequence[bytes | str],
    amounts: Sequence[int] | None,
    *,
    type: DataType | None,  # noqa: A002 - the proto's name
    request_id: bytes,
) -> Made:
    """One increment for each key, in order; without amounts by one."""
    kind = counter_type(type)
    raw_keys = plain_keys(keys)
    if raw_keys is not None and (amounts is None or add_up(amounts, kind)):
        request = kv_pb2.WriteRequest(request_id=request_id, brief=True)
        increments = request.increments
        increments.keys.extend(raw_keys)
        if amounts is not None:
            increments.amounts.extend(amounts)
        if kind is not None:
            increments.type = WIRE_TYPES[kind]
        return request, tuple(raw_keys)
    pairs = zip(keys, [1] * len(keys) if amounts is None else amounts, strict=True)
    return in_general((Increment(key, amount, kind) for key, amount in pairs), request_id)


def in_general(operations: Iterable[Operation], request_id: bytes) -> Made:
    """The same as any other batch, but for its answer; InvalidArgument says what is wrong."""
    request = write_request(operations, request_id)
    request.brief = True
    return request, keys_of(request)


# ---- columns that are plainly well


def plain(texts: Sequence[bytes | str]) -> Sequence[bytes] | None:
    """All as bytes; None if something else is among them."""
    kinds = set(map(type, texts))
    if kinds == {bytes}:
        return texts  # type: ignore[return-value] # that is what was just seen
    if not kinds <= {bytes, str}:
        return None
    try:
        return [text.encode() if isinstance(text, str) else text for text in texts]
    except UnicodeEncodeError:
        return None


def plain_keys(keys: Sequence[bytes | str]) -> Sequence[bytes] | None:
    """All as bytes, as many and as long as they may be; None if not."""
    if not 0 < len(keys) <= BATCH_OPERATIONS_MAX:
        return None
    raw = plain(keys)
    if raw is None:
        return None
    sizes = list(map(len, raw))
    return raw if min(sizes) > 0 and max(sizes) <= KEY_BYTES_MAX else None


def add_up(amounts: Sequence[int], kind: DataType | None) -> bool:
    """Whether all are amounts that such a counter takes."""
    if set(map(type, amounts)) != {int} or 0 in amounts:
        return False
    least = min(amounts)
    return max(amounts) <= INT64_MAX and least >= (0 if kind is DataType.G_COUNTER else -INT64_MAX)


# ---- columns of what a caller passes


def put_columns(
    values: Mapping[bytes, bytes | str]
    | Mapping[str, bytes | str]
    | Iterable[tuple[bytes | str, bytes | str]],
) -> tuple[list[bytes | str], list[bytes | str]]:
    """Keys and values of a mapping or of pairs."""
    if isinstance(values, Mapping):
        return list(values), list(values.values())
    pairs = first_of(values, "pairs of key and value")
    for position, pair in enumerate(pairs):
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise refuse(
                Reason.BAD_REQUEST,
                f"operation {position}: it is {type(pair).__name__}, not a pair of key and value",
            )
    return [key for key, _ in pairs], [value for _, value in pairs]


def increment_columns(
    amounts: Mapping[bytes, int] | Mapping[str, int] | Iterable[bytes | str],
) -> tuple[list[bytes | str], list[int] | None]:
    """Keys and amounts of a mapping, or the keys alone."""
    if isinstance(amounts, Mapping):
        return list(amounts), list(amounts.values())
    return first_of(amounts, "keys"), None


def key_column(keys: Iterable[KeyT]) -> list[KeyT]:
    """All of them; InvalidArgument if it is one, whose letters were hardly meant."""
    if isinstance(keys, (bytes, str)) or not isinstance(keys, Iterable):
        kind = type(keys).__name__
        raise refuse(Reason.BAD_REQUEST, f"keys are several: pass a list, not {kind}")
    return list(keys)


def first_of(items: Iterable[ItemT], what: str) -> list[ItemT]:
    """As many as a batch can have, and one more if there are too many."""
    if isinstance(items, (bytes, str)):
        raise refuse(Reason.BAD_REQUEST, f"it is {type(items).__name__}, not a mapping or {what}")
    return list(islice(items, BATCH_OPERATIONS_MAX + 1))
