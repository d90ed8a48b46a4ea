"""The KeyValue service over a node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import grpc

from kvnode.core.dots import Vector
from kvnode.core.entry import Entry, in_conflict, visible_types
from kvnode.core.errors import Reason, Refused, quoted
from kvnode.core.limits import Limits
from kvnode.core.operations import Operation
from kvnode.core.ranges import prefix_end
from kvnode.core.writer import Accepted
from kvnode.rpc.handlers import unary
from kvnode.rpc.kv_codec import KvCodec, increment
from kvnode.rpc.replication_codec import vector_to_wire
from kvnode.v1 import kv_pb2 as pb
from kvnode.v1 import types_pb2

SERVICE = "kvnode.v1.KeyValue"
PAGE_KEYS = 1_000
PAGE_KEYS_MAX = 10_000
PAGE_BYTES_MAX = 2 << 20
"""A page ends behind it; with one more value of a MiB it is still below gRPC's 4 MiB default."""
REPLY_BYTES_MAX = 3 << 20
"""Of a BatchGet, for the same reason."""
TOKEN_VERSION = b"\x01"


class Store(Protocol):
    """What the service needs of a node."""

    @property
    def vector(self) -> Vector: ...
    async def write(
        self, operations: Sequence[Operation], request_id: bytes, size: int
    ) -> tuple[Accepted, Vector]: ...
    def read(self, key: bytes) -> Entry: ...
    def scan(
        self,
        start: bytes,
        end: bytes,
        accept: Callable[[bytes, Entry], bool],
        *,
        conflicts: bool = False,
    ) -> bytes | None: ...


class KvService:
    """Checks, translates and calls the store."""

    def __init__(self, store: Store, codec: KvCodec, limits: Limits) -> None:
        self._store = store
        self._codec = codec
        self._limits = limits

    def handler(self) -> grpc.GenericRpcHandler:
        """For ``grpc.aio.Server.add_generic_rpc_handlers``."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Get": unary(pb.GetRequest, self.get),
                "BatchGet": unary(pb.BatchGetRequest, self.batch_get),
                "Put": unary(pb.PutRequest, self.put),
                "Delete": unary(pb.DeleteRequest, self.delete),
                "Increment": unary(pb.IncrementRequest, self.increment),
                "Write": unary(pb.WriteRequest, self.write),
                "Scan": unary(pb.ScanRequest, self.scan),
                "ListConflicts": unary(pb.ListConflictsRequest, self.list_conflicts),
            },
        )

    async def get(self, request: pb.GetRequest) -> pb.GetResponse:
        """One key; Refused (KEY_NOT_FOUND)."""
        self._limits.check_key(request.key)
        state = self._codec.state(request.key, self._store.read(request.key))
        if not _visible(state):
            raise Refused(
                Reason.KEY_NOT_FOUND, f"no key {quoted(request.key)}", context=state.context.hex()
            )
        return pb.GetResponse(state=state, session=vector_to_wire(self._store.vector))

    async def batch_get(self, request: pb.BatchGetRequest) -> pb.BatchGetResponse:
        """Many keys, as far as they fit into one reply."""
        if not request.keys:
            raise Refused(Reason.BAD_REQUEST, "no keys to read")
        self._limits.check_batch(len(request.keys))
        response = pb.BatchGetResponse(session=vector_to_wire(self._store.vector))
        size = 0
        for key in request.keys:
            self._limits.check_key(key)
            state = self._codec.state(key, self._store.read(key))
            size += state.ByteSize()
            if size > REPLY_BYTES_MAX and response.states:
                raise Refused(
                    Reason.BATCH_TOO_LARGE,
                    f"the values together exceed {REPLY_BYTES_MAX} bytes: "
                    "ask for fewer keys a call",
                    limit=str(REPLY_BYTES_MAX),
                )
            response.states.append(state)
        return response

    async def put(self, request: pb.PutRequest) -> pb.PutResponse:
        """One put."""
        result, vector, repeated = await self._one(self._codec.put(request.put), request.request_id)
        return pb.PutResponse(
            key=request.put.key, result=result, session=vector_to_wire(vector), repeated=repeated
        )

    async def delete(self, request: pb.DeleteRequest) -> pb.DeleteResponse:
        """One delete."""
        result, vector, repeated = await self._one(
            self._codec.delete(request.delete), request.request_id
        )
        return pb.DeleteResponse(
            key=request.delete.key, result=result, session=vector_to_wire(vector), repeated=repeated
        )

    async def increment(self, request: pb.IncrementRequest) -> pb.IncrementResponse:
        """One increment."""
        result, vector, repeated = await self._one(increment(request.increment), request.request_id)
        return pb.IncrementResponse(
            key=request.increment.key,
            result=result,
            session=vector_to_wire(vector),
            repeated=repeated,
        )

    async def write(self, request: pb.WriteRequest) -> pb.WriteResponse:
        """An atomic batch."""
        self._limits.check_batch(len(request.operations))
        operation = self._codec.operation
        operations = [operation(message) for message in request.operations]
        accepted, vector = await self._commit(operations, request.request_id)
        return pb.WriteResponse(
            results=self._codec.results(operations, accepted, self._store.read),
            session=vector_to_wire(vector),
            repeated=accepted.repeated,
        )

    async def scan(self, request: pb.ScanRequest) -> pb.ScanResponse:
        """A page of visible keys."""
        start = max(request.prefix, request.start)
        ends = [end for end in (prefix_end(request.prefix), request.end) if end]
        states, token = self._page(
            start, min(ends, default=b""), request.page_token, request.limit, conflicts=False
        )
        return pb.ScanResponse(
            states=states, next_page_token=token, session=vector_to_wire(self._store.vector)
        )

    async def list_conflicts(self, request: pb.ListConflictsRequest) -> pb.ListConflictsResponse:
        """A page of keys in conflict."""
        states, token = self._page(
            request.prefix,
            prefix_end(request.prefix),
            request.page_token,
            request.limit,
            conflicts=True,
        )
        return pb.ListConflictsResponse(
            states=states, next_page_token=token, session=vector_to_wire(self._store.vector)
        )

    async def _one(
        self, operation: Operation, request_id: bytes
    ) -> tuple[pb.WriteResult, Vector, bool]:
        accepted, vector = await self._commit([operation], request_id)
        result = self._codec.results([operation], accepted, self._store.read)[0]
        return result, vector, accepted.repeated

    async def _commit(
        self, operations: list[Operation], request_id: bytes
    ) -> tuple[Accepted, Vector]:
        size = self._limits.check(operations, request_id)
        return await self._store.write(operations, request_id, size)

    def _page(
        self, start: bytes, end: bytes, page_token: bytes, limit: int, *, conflicts: bool
    ) -> tuple[list[types_pb2.KeyState], bytes]:
        limit = limit or PAGE_KEYS
        if limit > PAGE_KEYS_MAX:
            raise Refused(
                Reason.BAD_REQUEST, f"a page has at most {PAGE_KEYS_MAX} keys", limit=str(limit)
            )
        if page_token:
            if (
                page_token[:1] != TOKEN_VERSION
                or not start <= page_token[1:]
                or (end and page_token[1:] >= end)
            ):
                raise Refused(
                    Reason.BAD_REQUEST,
                    "the page token belongs to another scan: pass the one of the page before, "
                    "with the same prefix, start and end",
                )
            start = page_token[1:] + b"\0"  # behind the last key of the page before
        states: list[types_pb2.KeyState] = []
        size = 0

        def accept(key: bytes, entry: Entry) -> bool:
            nonlocal size
            if len(states) >= limit or size > PAGE_BYTES_MAX:
                return False
            if in_conflict(entry) if conflicts else bool(visible_types(entry)):
                states.append(self._codec.state(key, entry))
                size += states[-1].ByteSize()
            return True

        last = (
            None
            if end and start >= end
            else self._store.scan(start, end, accept, conflicts=conflicts)
        )
        return states, b"" if last is None else TOKEN_VERSION + last


def _visible(state: types_pb2.KeyState) -> bool:
    return any(
        state.HasField(name) for name in ("g_counter", "pn_counter", "lww_register", "siblings")
    )
