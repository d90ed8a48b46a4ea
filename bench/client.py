"""What does the client cost per operation of a batch, beside serialising the message?

``python -m bench.client``: no node; building the request from operations and the receipts from a
response; and the same of ``put_many`` and ``increment_many``, from the caller's mapping or keys to
the request, and from the brief answer to the receipt; and from the bytes of an answer to what
``batch_get`` and ``get_many`` return. CPU time, best of several.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import click

from bench.report import heading
from kvnode import Increment, Operation, Put
from kvnode.client.columns import (
    increment_columns,
    increments_request,
    put_columns,
    puts_request,
)
from kvnode.client.operations import write_request
from kvnode.client.reads import IN_VALUES, brief_column
from kvnode.client.receipts import many_receipt_of
from kvnode.client.states import key_state_of
from kvnode.client.values import OperationReceipt, operation_receipt_of
from kvnode.v1 import kv_pb2, types_pb2

BATCH = 500
REPEATS = 15
CALLS = 20


def best_us(call: Callable[[], object]) -> float:
    """Microseconds of CPU per operation."""
    best = float("inf")
    for _ in range(REPEATS):
        started = time.process_time()
        for _ in range(CALLS):
            call()
        best = min(best, time.process_time() - started)
    return best / CALLS / BATCH * 1e6


def receipts_of(response: kv_pb2.WriteResponse) -> list[OperationReceipt]:
    """What a caller gets of a response."""
    return [operation_receipt_of(result) for result in response.results]


def answers() -> tuple[kv_pb2.BatchGetResponse, kv_pb2.BatchGetResponse]:
    """The same keys as states and as values alone."""
    value = types_pb2.StoredValue(
        value=b"x" * 100, dot=types_pb2.Dot(origin=2**63 + 1, seq=1), time_ms=1, node="n1"
    )
    states = [
        types_pb2.KeyState(key=b"user:%d" % number, context=b"c" * 40, lww_register=value)
        for number in range(BATCH)
    ]
    values = kv_pb2.BatchGetResponse(kinds=IN_VALUES[:1] * BATCH, values=[b"x" * 100] * BATCH)
    return kv_pb2.BatchGetResponse(states=states), values


def states_of(raw: bytes) -> list[object]:
    """What ``batch_get`` makes of them."""
    return [key_state_of(state) for state in kv_pb2.BatchGetResponse.FromString(raw).states]


def values_of(keys: list[str], raw: bytes) -> dict[str, object]:
    """What ``get_many`` makes of them."""
    column = brief_column(kv_pb2.BatchGetResponse.FromString(raw), len(keys))
    return dict(zip(keys, column, strict=True))


def many_puts(values: dict[str, bytes]) -> kv_pb2.WriteRequest:
    """What ``put_many`` makes of them."""
    keys, texts = put_columns(values)
    return puts_request(keys, texts, lww=True, ttl=None, request_id=b"0" * 16)[0]


def many_increments(keys: list[str]) -> kv_pb2.WriteRequest:
    """What ``increment_many`` makes of them."""
    asked, amounts = increment_columns(keys)
    return increments_request(asked, amounts, type=None, request_id=b"0" * 16)[0]


@click.command()
def main() -> None:
    """Print microseconds per operation."""
    click.echo(heading(f"Client alone, batches of {BATCH}"))
    workloads: dict[str, list[Operation]] = {
        "increments": [Increment(f"counter:{number}", number + 1) for number in range(BATCH)],
        "puts": [Put(f"user:{number}", b"x" * 100) for number in range(BATCH)],
    }
    for name, operations in workloads.items():
        request = write_request(operations, b"0" * 16)
        response = kv_pb2.WriteResponse(
            results=[
                kv_pb2.WriteResult(
                    dot=types_pb2.Dot(origin=2**63 + 1, seq=number + 1), context=b"c" * 40
                )
                for number in range(BATCH)
            ]
        )
        serialise = best_us(request.SerializeToString)
        build = best_us(partial(write_request, operations, b"0" * 16))
        receipts = best_us(partial(receipts_of, response))
        click.echo(
            f"  {name:14} build {build:5.2f} us, receipts {receipts:5.2f} us, "
            f"serialise alone {serialise:5.2f} us"
        )
    keys = [f"user:{number}" for number in range(BATCH)]
    brief = kv_pb2.WriteResponse(
        first=types_pb2.Dot(origin=2**63 + 1, seq=1),
        session=types_pb2.VersionVector(entries=[types_pb2.Dot(origin=1, seq=1)] * 3),
    )
    receipt = best_us(partial(many_receipt_of, brief, "h:1", BATCH))
    makers: dict[str, Callable[[], kv_pb2.WriteRequest]] = {
        "increment_many": partial(many_increments, keys),
        "put_many": partial(many_puts, dict.fromkeys(keys, b"x" * 100)),
    }
    for name, make in makers.items():
        click.echo(
            f"  {name:14} build {best_us(make):.2f} us, receipt {receipt:.3f} us, "
            f"serialise alone {best_us(make().SerializeToString):.2f} us"
        )
    states, values = answers()
    results: dict[str, Callable[[], object]] = {
        "batch_get": partial(states_of, states.SerializeToString()),
        "get_many": partial(values_of, keys, values.SerializeToString()),
    }
    for name, call in results.items():
        click.echo(f"  {name:14} result {best_us(call):.2f} us")


if __name__ == "__main__":
    main()
