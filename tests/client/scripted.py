"""A gRPC server that answers as its script says: the other end of the wire, not a kvnode.

What a real node does is tested with real nodes; here it is what a client makes of answers that a
real node gives rarely: refusals, lost replies, nonsense.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from itertools import islice
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from kvnode.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    gc_pb2_grpc,
    kv_pb2,
    kv_pb2_grpc,
    membership_pb2_grpc,
    types_pb2,
)

from .scripted_pipeline import pipeline

Answer = Callable[[Any, grpc.ServicerContext], Message]
Reply = Message | Callable[[Any], Message]

DOT = types_pb2.Dot(origin=0x1122334455667788, seq=7)
SESSION = types_pb2.VersionVector(entries=[DOT])


def write_reply(request: kv_pb2.WriteRequest) -> kv_pb2.WriteResponse:
    """Every operation done: 5 is in every counter now."""
    if request.brief:
        return kv_pb2.WriteResponse(first=DOT, session=SESSION, stored_by=["EWR"])
    results = []
    for operation in operations_in(request):
        result = kv_pb2.WriteResult(dot=DOT)
        if operation.HasField("put"):
            result.context = b"ctx"
        elif operation.HasField("increment"):
            result.counter.value = 5
        results.append(result)
    return kv_pb2.WriteResponse(results=results, session=SESSION, stored_by=["EWR"])


def operations_in(request: kv_pb2.WriteRequest) -> list[kv_pb2.Operation]:
    """What a write is about, also where it came in columns."""
    if request.HasField("puts"):
        puts = request.puts
        ttl_ms = puts.ttl_ms if puts.HasField("ttl_ms") else None
        return [
            kv_pb2.Operation(put=kv_pb2.Put(key=key, value=value, type=puts.type, ttl_ms=ttl_ms))
            for key, value in zip(puts.keys, puts.values, strict=True)
        ]
    if request.HasField("increments"):
        increments = request.increments
        amounts = increments.amounts or [1] * len(increments.keys)
        return [
            kv_pb2.Operation(
                increment=kv_pb2.Increment(key=key, amount=amount, type=increments.type)
            )
            for key, amount in zip(increments.keys, amounts, strict=True)
        ]
    return list(request.operations)


def write_many_reply(request: kv_pb2.WriteManyRequest) -> kv_pb2.WriteManyResponse:
    """Every request done."""
    outcome = kv_pb2.WriteManyResponse.Outcome
    return kv_pb2.WriteManyResponse(
        outcomes=[outcome(response=write_reply(each)) for each in request.requests],
        alike=map(alike_reply, request.alike),
    )


def alike_reply(group: kv_pb2.AlikeRequests) -> kv_pb2.WriteManyResponse.Alike:
    """Every request done: 5 is in every counter now."""
    count = len(group.request_ids)
    if group.HasField("puts"):
        assert len(group.puts.keys) == len(group.puts.values) == count
        contexts = [b"ctx"] * count
        return kv_pb2.WriteManyResponse.Alike(first=DOT, contexts=contexts, session=SESSION)
    assert len(group.increments.keys) == count
    assert len(group.increments.amounts) in (0, count)
    return kv_pb2.WriteManyResponse.Alike(first=DOT, sums=[5] * count, session=SESSION)


def batch_get_reply(request: kv_pb2.BatchGetRequest) -> kv_pb2.BatchGetResponse:
    """Every key has the value v."""
    if request.brief:
        count = len(request.keys)
        return kv_pb2.BatchGetResponse(kinds=b"\4" * count, values=[b"v"] * count, session=SESSION)
    get: Any = REPLIES["Get"]
    states = []
    for key in request.keys:
        state = types_pb2.KeyState()
        state.CopyFrom(get.state)
        state.key = key
        states.append(state)
    return kv_pb2.BatchGetResponse(states=states)


REPLIES: dict[str, Reply] = {
    "Get": kv_pb2.GetResponse(
        state=types_pb2.KeyState(
            key=b"k",
            context=b"ctx",
            siblings=types_pb2.Siblings(
                values=[types_pb2.StoredValue(value=b"v", dot=DOT, time_ms=1000, node="EWR")]
            ),
        )
    ),
    "BatchGet": batch_get_reply,
    "Write": write_reply,
    "WriteMany": write_many_reply,
    "Outcome": kv_pb2.OutcomeResponse(),
    "Scan": kv_pb2.ScanResponse(),
    "ListConflicts": kv_pb2.ListConflictsResponse(),
    "Status": admin_pb2.StatusResponse(name="EWR"),
    "Inspect": admin_pb2.InspectResponse(key=b"k"),
}


class ScriptedNode:
    """Answers each call with the next of ``script``; when that is used up, with success."""

    def __init__(self, port: int) -> None:
        self.arrived = threading.Semaphore(0)
        """Released for every call that came."""
        self.address = f"127.0.0.1:{port}"
        self.script: list[Answer] = []
        self.calls: list[tuple[str, Any]] = []
        self._lock = threading.Lock()

    @property
    def methods(self) -> list[str]:
        """What was called, in order."""
        return [method for method, _ in self.calls]

    @property
    def request_ids(self) -> list[bytes]:
        """The ids of the writes that came."""
        found = []
        for method, request in self.calls:
            if method in ("Write", "WriteMany"):
                found += [each.request_id for each in writes_in(request)]
        return found

    @property
    def operations(self) -> list[kv_pb2.Operation]:
        """The operations of the writes that came."""
        return [
            operation
            for method, request in self.calls
            if method in ("Write", "WriteMany")
            for each in writes_in(request)
            for operation in operations_in(each)
        ]

    def answer(self, method: str, request: Any, context: grpc.ServicerContext) -> Message:
        """One call."""
        with self._lock:
            self.calls.append((method, request))
            self.arrived.release()
            step = self.script.pop(0) if self.script else succeed
        if step is not succeed:
            return step(request, context)
        usual = REPLIES[method]
        return usual if isinstance(usual, Message) else usual(request)


def writes_in(request: Any) -> list[kv_pb2.WriteRequest]:
    """The writes of one call, in the order in which a node carries them out."""
    if isinstance(request, kv_pb2.WriteRequest):
        return [request]
    return [*request.requests, *(each for group in request.alike for each in apart(group))]


def apart(group: kv_pb2.AlikeRequests) -> list[kv_pb2.WriteRequest]:
    """What came in columns, as the requests that it stands for."""
    puts = group.puts if group.HasField("puts") else None
    increments = group.increments if group.HasField("increments") else None
    operations = operations_in(kv_pb2.WriteRequest(puts=puts, increments=increments))
    return [
        kv_pb2.WriteRequest(operations=[operation], request_id=request_id)
        for operation, request_id in zip(operations, group.request_ids, strict=True)
    ]


def scripted(method: str) -> Callable[[Any, Any, grpc.ServicerContext], Message]:
    """The handler of one RPC."""

    def handle(self: Any, request: Any, context: grpc.ServicerContext) -> Message:
        node: ScriptedNode = self.node
        return node.answer(method, request, context)

    return handle


class KeyValue(kv_pb2_grpc.KeyValueServicer):
    """The key-value service of a scripted node."""

    def __init__(self, node: ScriptedNode) -> None:
        self.node = node

    def WriteStream(  # noqa: N802 - the RPC's name
        self, requests: Iterator[Any], context: grpc.ServicerContext
    ) -> Iterator[Message]:
        """Each message is answered as a WriteMany of its own."""
        for request in requests:
            yield self.node.answer("WriteMany", request, context)

    def Pipeline(  # noqa: N802 - the RPC's name
        self, requests: Iterator[Any], _context: grpc.ServicerContext
    ) -> Iterator[Message]:
        """Each request is answered as a call of its own."""
        yield from pipeline(self.node.answer, requests)


class Admin(admin_pb2_grpc.AdminServicer):
    """The admin service of a scripted node."""

    def __init__(self, node: ScriptedNode) -> None:
        self.node = node


class Collection(gc_pb2_grpc.CollectionServicer):
    """The collection service of a scripted node."""

    def __init__(self, node: ScriptedNode) -> None:
        self.node = node


class Membership(membership_pb2_grpc.MembershipServicer):
    """The membership service of a scripted node."""

    def __init__(self, node: ScriptedNode) -> None:
        self.node = node


for name in ("Get", "BatchGet", "Write", "WriteMany", "Outcome", "Scan", "ListConflicts"):
    setattr(KeyValue, name, scripted(name))
for name in ("Members", "Join", "Replace", "Forget", "Leave"):
    setattr(Membership, name, scripted(name))
for kind, name in ((Admin, "Status"), (Admin, "Inspect"), (Collection, "Status")):
    setattr(kind, name, scripted(name))


@contextmanager
def serving(node: ScriptedNode) -> Iterator[grpc.Server]:
    """The node, reachable at its address."""
    with futures.ThreadPoolExecutor(max_workers=32) as pool:
        server = grpc.server(pool, options=[("grpc.so_reuseport", 0)])
        kv_pb2_grpc.add_KeyValueServicer_to_server(KeyValue(node), server)  # type: ignore[no-untyped-call]
        admin_pb2_grpc.add_AdminServicer_to_server(Admin(node), server)  # type: ignore[no-untyped-call]
        gc_pb2_grpc.add_CollectionServicer_to_server(Collection(node), server)  # type: ignore[no-untyped-call]
        membership_pb2_grpc.add_MembershipServicer_to_server(Membership(node), server)  # type: ignore[no-untyped-call]
        assert server.add_insecure_port(node.address) == int(node.address.rpartition(":")[2])
        server.start()
        try:
            yield server
        finally:
            server.stop(0).wait()


@contextmanager
def scripted_node(*script: Answer) -> Iterator[ScriptedNode]:
    """A running node with a script."""
    node = ScriptedNode(free_port())
    node.script = list(script)
    with serving(node):
        yield node


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# ---- steps of a script


def succeed(_request: Any, _context: grpc.ServicerContext) -> Message:
    """The usual reply."""
    raise AssertionError("handled by ScriptedNode.answer")


def reply(message: Message) -> Answer:
    """This reply."""
    return lambda _request, _context: message


def outcomes(*told: kv_pb2.WriteManyResponse.Outcome) -> Answer:
    """One for each request of a call, in the order in which a node carries them out."""

    def step(request: kv_pb2.WriteManyRequest, _context: grpc.ServicerContext) -> Message:
        rest = iter(told)
        answer = kv_pb2.WriteManyResponse(outcomes=islice(rest, len(request.requests)))
        for group in request.alike:
            answer.alike.add().outcomes.extend(islice(rest, len(group.request_ids)))
        assert next(rest, None) is None, "more outcomes than requests"
        return answer

    return step


def refuse(
    code: grpc.StatusCode,
    reason: str,
    message: str = "no",
    *,
    domain: str = "kvnode",
    retry_after_s: float | None = None,
    **facts: str,
) -> Answer:
    """A refusal as a kvnode gives it, with ErrorInfo and RetryInfo."""

    def step(_request: Any, context: grpc.ServicerContext) -> Message:
        details = [pack(ErrorInfo(domain=domain, reason=reason, metadata=facts))]
        if retry_after_s is not None:
            delay = Duration()
            delay.FromNanoseconds(int(retry_after_s * 1e9))
            details.append(pack(RetryInfo(retry_delay=delay)))
        status = Status(code=code.value[0], message=message, details=details)
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(code, message)

    return step


def pack(message: Message) -> Packed:
    """A message as a detail of an error."""
    packed = Packed()
    packed.Pack(message)
    return packed


def behind(gate: threading.Event) -> Answer:
    """The usual reply, when the gate is open."""

    def step(request: Any, _context: grpc.ServicerContext) -> Message:
        assert gate.wait(100), "nobody opened the gate"
        usual = REPLIES[method_of(request)]
        return usual if isinstance(usual, Message) else usual(request)

    return step


def method_of(request: Any) -> str:
    """The call a request is for."""
    name: str = type(request).__name__
    return name.removesuffix("Request")


def fail(code: grpc.StatusCode, message: str = "transport") -> Answer:
    """An error that is not kvnode's own: what a broken connection looks like."""

    def step(_request: Any, context: grpc.ServicerContext) -> Message:
        context.abort(code, message)

    return step


def hang(_request: Any, context: grpc.ServicerContext) -> Message:
    """No answer until the caller gives up."""
    gone = threading.Event()
    if context.add_callback(gone.set):
        gone.wait(100)
    context.abort(grpc.StatusCode.CANCELLED, "too late")
