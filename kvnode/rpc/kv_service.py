"""The KeyValue service over a node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import grpc

from kvnode.core.entry import Entry, in_conflict, visible_types
from kvnode.core.errors import Reason, Refused, quoted
from kvnode.core.limits import Limits
from kvnode.core.ranges import prefix_end
from kvnode.rpc import kv_writing as writing
from kvnode.rpc.handlers import stream_both, timed, unary
from kvnode.rpc.kv_codec import KvCodec
from kvnode.rpc.kv_writing import Writing
from kvnode.rpc.levels_codec import freshness_of, prepare_read
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


class Store(writing.Store, Protocol):
    """What the service needs of a node."""

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
        self._writing = Writing(store, codec, limits)

    def handler(self) -> grpc.GenericRpcHandler:
        """For ``grpc.aio.Server.add_generic_rpc_handlers``."""
        writing = self._writing
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Get": timed(pb.GetRequest, self.get),
                "BatchGet": timed(pb.BatchGetRequest, self.batch_get),
                "Scan": timed(pb.ScanRequest, self.scan),
                "ListConflicts": timed(pb.ListConflictsRequest, self.list_conflicts),
                "Put": timed(pb.PutRequest, writing.put),
                "Delete": timed(pb.DeleteRequest, writing.delete),
                "Increment": timed(pb.IncrementRequest, writing.increment),
                "Write": timed(pb.WriteRequest, writing.write),
                "WriteMany": timed(pb.WriteManyRequest, writing.write_many),
                "WriteStream": stream_both(pb.WriteManyRequest, writing.write_stream),
                "Outcome": unary(pb.OutcomeRequest, writing.outcome),
            },
        )

    async def get(self, request: pb.GetRequest, until: float) -> pb.GetResponse:
        """One key; Refused (KEY_NOT_FOUND)."""
        self._limits.check_key(request.key)
        if request.HasField("options"):
            await prepare_read(request.options, self._store.levels, until)
        entry = self._store.read(request.key)
        state = self._codec.state(request.key, entry, self._store.now_ms())
        if not _visible(state):
            raise Refused(
                Reason.KEY_NOT_FOUND, f"no key {quoted(request.key)}", context=state.context.hex()
            )
        return pb.GetResponse(
            state=state,
            session=vector_to_wire(self._store.vector),
            freshness=freshness_of(request.options, self._store.levels),
        )

    async def batch_get(self, request: pb.BatchGetRequest, until: float) -> pb.BatchGetResponse:
        """Many keys, as far as they fit into one reply."""
        if not request.keys:
            raise Refused(Reason.BAD_REQUEST, "no keys to read")
        self._limits.check_batch(len(request.keys))
        if request.HasField("options"):
            await prepare_read(request.options, self._store.levels, until)
        response = pb.BatchGetResponse(
            session=vector_to_wire(self._store.vector),
            freshness=freshness_of(request.options, self._store.levels),
        )
        size, now_ms = 0, self._store.now_ms()
        for key in request.keys:
            self._limits.check_key(key)
            state = self._codec.state(key, self._store.read(key), now_ms)
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

    async def scan(self, request: pb.ScanRequest, until: float) -> pb.ScanResponse:
        """A page of visible keys."""
        if request.HasField("options"):
            await prepare_read(request.options, self._store.levels, until)
        start = max(request.prefix, request.start)
        ends = [end for end in (prefix_end(request.prefix), request.end) if end]
        states, token = self._page(
            start, min(ends, default=b""), request.page_token, request.limit, conflicts=False
        )
        return pb.ScanResponse(
            states=states,
            next_page_token=token,
            session=vector_to_wire(self._store.vector),
            freshness=freshness_of(request.options, self._store.levels),
        )

    async def list_conflicts(
        self, request: pb.ListConflictsRequest, until: float
    ) -> pb.ListConflictsResponse:
        """A page of keys in conflict."""
        if request.HasField("options"):
            await prepare_read(request.options, self._store.levels, until)
        states, token = self._page(
            request.prefix,
            prefix_end(request.prefix),
            request.page_token,
            request.limit,
            conflicts=True,
        )
        return pb.ListConflictsResponse(
            states=states,
            next_page_token=token,
            session=vector_to_wire(self._store.vector),
            freshness=freshness_of(request.options, self._store.levels),
        )

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
        size, now_ms = 0, self._store.now_ms()

        def accept(key: bytes, entry: Entry) -> bool:
            nonlocal size
            if len(states) >= limit or size > PAGE_BYTES_MAX:
                return False
            if in_conflict(entry, now_ms) if conflicts else bool(visible_types(entry, now_ms)):
                states.append(self._codec.state(key, entry, now_ms))
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
