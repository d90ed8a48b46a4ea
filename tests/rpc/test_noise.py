"""Random and mutated bytes into every unary call: documented answers only, and the node lives."""

from __future__ import annotations

import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from kvnode.v1 import admin_pb2, kv_pb2

from .api import LWW_REGISTER, METHODS, PN_COUNTER, Api, delete, failed, increment, put, refusal_of
from .impostor import now_ms

EXAMPLES = 30
"""Each a call of about a millisecond, for every method; more finds no more (3,000 were tried)."""

SEEDS: dict[str, Message] = {
    "Get": kv_pb2.GetRequest(key=b"noise"),
    "BatchGet": kv_pb2.BatchGetRequest(keys=[b"noise", b"noise 2", b"n"]),
    "Put": kv_pb2.PutRequest(
        put=kv_pb2.Put(key=b"noise", value=b"v", type=LWW_REGISTER, context=b"\x01\x90" + b"c" * 8),
        request_id=b"r" * 16,
    ),
    "Delete": kv_pb2.DeleteRequest(
        delete=kv_pb2.Delete(key=b"noise", type=LWW_REGISTER, context=b"\x01\x90" + b"c" * 8),
        request_id=b"s" * 16,
    ),
    "Increment": kv_pb2.IncrementRequest(
        increment=kv_pb2.Increment(key=b"noise n", amount=-3, type=PN_COUNTER), request_id=b"t" * 16
    ),
    "Write": kv_pb2.WriteRequest(
        operations=[
            put(b"noise", b"v", blind=True),
            increment(b"noise n", 5),
            delete(b"noise"),
            put(b"noise r", b"v", type=LWW_REGISTER),
        ],
        request_id=b"u" * 16,
    ),
    "Scan": kv_pb2.ScanRequest(
        prefix=b"noise", start=b"noise", end=b"noiset", limit=5, page_token=b"\x01noise m"
    ),
    "ListConflicts": kv_pb2.ListConflictsRequest(
        prefix=b"noise", limit=5, page_token=b"\x01noise m"
    ),
    "Status": admin_pb2.StatusRequest(),
    "Inspect": admin_pb2.InspectRequest(key=b"noise"),
}


@st.composite
def mutated(draw: st.DrawFn, whole: bytes) -> bytes:
    """The message with bytes changed, taken out, put in or repeated."""
    raw = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(raw)))
        match draw(st.integers(0, 4)):
            case 0:
                raw[at:at] = draw(st.binary(min_size=1, max_size=8))
            case 1:
                del raw[at : at + draw(st.integers(1, 8))]
            case 2 if at < len(raw):
                raw[at] = draw(st.integers(0, 255))
            case 3 if at < len(raw):
                raw[at] ^= 1 << draw(st.integers(0, 7))
            case _:
                raw[at:at] = raw[at : at + draw(st.integers(1, 40))]
    return bytes(raw)


def answered(api: Api, method: str, request: bytes) -> None:
    """A reply, or a refusal as documented, in good time."""
    before_ms = now_ms()
    error = failed(lambda: api.raw(method, request))
    if error is not None:
        assert refusal_of(error), f"{error.code()} {error.details()} for {request.hex()}"
    assert now_ms() - before_ms < 5_000


@pytest.mark.parametrize("method", SEEDS)
def test_random_bytes(api: Api, method: str) -> None:
    path = METHODS[type(SEEDS[method])]

    @settings(max_examples=EXAMPLES)
    @given(st.binary(max_size=200))
    def run(request: bytes) -> None:
        answered(api, path, request)

    run()
    assert api.status().state == "serving"


@pytest.mark.parametrize("method", SEEDS)
def test_mutated_requests(api: Api, method: str) -> None:
    path = METHODS[type(SEEDS[method])]

    @settings(max_examples=EXAMPLES)
    @given(mutated(SEEDS[method].SerializeToString()))
    def run(request: bytes) -> None:
        answered(api, path, request)

    run()
    assert api.status().state == "serving"
    assert api.put(b"after noise", b"v").result.dot.seq == api.seq()
