"""The KeyValue service over a node."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

import grpc

from kvnode.core.context import entry_token
from kvnode.core.entry import Entry, Held, in_conflict, visible_types
from kvnode.core.errors import Reason, Refused, quoted
from kvnode.core.limits import Limits
from kvnode.core.ranges import prefix_end
from kvnode.rpc import kv_queued
from kvnode.rpc.handlers import raw_call, stream_both, timed
from kvnode.rpc.kv_codec import KvCodec
from kvnode.rpc.kv_reading import Columns, States
from kvnode.rpc.kv_writing import Writing
from kvnode.rpc.levels_codec import freshness_of, prepare_read
from kvnode.rpc.pipeline import Pipelines
from kvnode.rpc.replication_codec import vector_to_wire
from kvnode.v1 import kv_pb2 as pb

SERVICE = "kvnode.v1.KeyValue"
PAGE_KEYS = 1_000
PAGE_KEYS_MAX = 10_000
PAGE_BYTES_MAX = 2 << 20
"""A page ends behind it; with one more value of a MiB it is still below gRPC's 4 MiB default."""
REPLY_BYTES_MAX = 3 << 20
"""Of a BatchGet, for the same reason."""
LOOK_KEYS = 64
"""Read at once for a BatchGet: each may hold a MiB."""
TOKEN_VERSION = b"\x01"


HeldT = TypeVar("HeldT", Entry, Held)


class Entries(Protocol):
    """What is kept under the keys (``storage/memtable.py``)."""

    def read(self, key: bytes) -> Entry: ...
    def read_many(self, keys: Sequence[bytes]) -> Mapping[bytes, Entry]:
        """Of most of them; for what is missing ask ``read``."""
        ...

    def held_many(self, keys: Sequence[bytes]) -> Mapping[bytes, Held]:
        """The same as they are held."""
        ...

    def scan(
        self,
        start: bytes,
        end: bytes,
        accept: Callable[[bytes, Entry], bool],
        *,
        conflicts: bool = False,
    ) -> bytes | None: ...


class Store(kv_queued.Store, Protocol):
    """What the service needs of a node."""

    def busy_s(self) -> float:
        """Seconds, of all time, for which writes waited or were on their way to disk."""
        ...

    def entries(self) -> Entries:
        """Refused if clients have no business here now."""
        ...


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
        reads = {
            "Get": raw_call(pb.GetRequest, self.get),
            "BatchGet": raw_call(pb.BatchGetRequest, self.batch_get),
            "Scan": raw_call(pb.ScanRequest, self.scan),
            "ListConflicts": raw_call(pb.ListConflictsRequest, self.list_conflicts),
            "Outcome": raw_call(pb.OutcomeRequest, writing.outcome),
        }
        writes = {
            "Put": raw_call(pb.PutRequest, writing.put),
            "Delete": raw_call(pb.DeleteRequest, writing.delete),
            "Increment": raw_call(pb.IncrementRequest, writing.increment),
            "Write": raw_call(pb.WriteRequest, writing.write),
            "WriteMany": raw_call(pb.WriteManyRequest, writing.write_many),
        }
        pipelines = Pipelines(reads, writes, self._store.closing, self._store.busy_s)
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                **{name: timed(call) for name, call in pipelines.calls.items()},
                "WriteStream": stream_both(pb.WriteManyRequest, writing.write_stream),
                "Pipeline": pipelines.handler(),
            },
        )

    async def get(self, request: pb.GetRequest, until: float) -> pb.GetResponse:
        """One key; Refused (KEY_NOT_FOUND)."""
        self._limits.check_key(request.key)
        if request.HasField("options"):
            await prepare_read(request.options, self._store.levels, until)
        key, now_ms = request.key, self._store.now_ms()
        entry = self._store.entries().read(key)
        if not visible_types(entry, now_ms):
            token = entry_token(key, entry, self._codec.secret, now_ms)
            raise Refused(Reason.KEY_NOT_FOUND, f"no key {quoted(key)}", context=token.hex())
        response = pb.GetResponse()
        self._codec.fill_state(response.state, key, entry, now_ms)
        self._date(response, request.options)
        return response

    async def batch_get(self, request: pb.BatchGetRequest, until: float) -> pb.BatchGetResponse:
        """Many keys, as far as they fit into one reply."""
        if not request.keys:
            raise Refused(Reason.BAD_REQUEST, "no keys to read")
        self._limits.check_batch(len(request.keys))
        keys = list(request.keys)
        for key in keys:
            self._limits.check_key(key)
        if request.HasField("options"):
            await prepare_read(request.options, self._store.levels, until)
        response = pb.BatchGetResponse()
        self._date(response, request.options)
        entries, now_ms = self._store.entries(), self._store.now_ms()
        if request.brief:
            columns = Columns(response, self._codec, now_ms, REPLY_BYTES_MAX)
            self._gather(keys, entries.held_many, entries.read, columns.add)
            columns.fill()
        else:
            states = States(response.states, self._codec, now_ms, REPLY_BYTES_MAX)
            self._gather(keys, entries.read_many, entries.read, states.add)
        return response

    def _gather(
        self,
        keys: Sequence[bytes],
        look: Callable[[Sequence[bytes]], Mapping[bytes, HeldT]],
        read: Callable[[bytes], HeldT],
        add: Callable[[bytes, HeldT], bool],
    ) -> None:
        """Add what is under the keys, in order; Refused (BATCH_TOO_LARGE).

        One key's is never too much: there would be no way to get it.
        """
        for at in range(0, len(keys), LOOK_KEYS):
            some = keys[at : at + LOOK_KEYS]
            found = look(some)
            for key in some:
                entry = found.get(key)
                if entry is None:
                    entry = read(key)
                if add(key, entry) and len(keys) > 1:
                    raise Refused(
                        Reason.BATCH_TOO_LARGE,
                        f"the values together exceed {REPLY_BYTES_MAX} bytes: "
                        "ask for fewer keys a call",
                        limit=str(REPLY_BYTES_MAX),
                    )

    async def scan(self, request: pb.ScanRequest, until: float) -> pb.ScanResponse:
        """A page of visible keys."""
        if request.HasField("options"):
            await prepare_read(request.options, self._store.levels, until)
        start = max(request.prefix, request.start)
        ends = [end for end in (prefix_end(request.prefix), request.end) if end]
        response = pb.ScanResponse()
        self._date(response, request.options)
        end = min(ends, default=b"")
        self._page(response, start, end, request.page_token, request.limit, conflicts=False)
        return response

    async def list_conflicts(
        self, request: pb.ListConflictsRequest, until: float
    ) -> pb.ListConflictsResponse:
        """A page of keys in conflict."""
        if request.HasField("options"):
            await prepare_read(request.options, self._store.levels, until)
        response = pb.ListConflictsResponse()
        self._date(response, request.options)
        start, end = request.prefix, prefix_end(request.prefix)
        self._page(response, start, end, request.page_token, request.limit, conflicts=True)
        return response

    def _date(
        self,
        response: pb.GetResponse | pb.BatchGetResponse | pb.ScanResponse | pb.ListConflictsResponse,
        options: pb.ReadOptions,
    ) -> None:
        """Say what this node had applied, and how old that may be if it was asked."""
        response.session.CopyFrom(vector_to_wire(self._store.vector))
        freshness = freshness_of(options, self._store.levels)
        if freshness:
            response.freshness.extend(freshness)

    def _page(
        self,
        response: pb.ScanResponse | pb.ListConflictsResponse,
        start: bytes,
        end: bytes,
        page_token: bytes,
        limit: int,
        *,
        conflicts: bool,
    ) -> None:
        """Fill in the states of a page, and the token of the next."""
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
        entries, now_ms = self._store.entries(), self._store.now_ms()
        states = States(response.states, self._codec, now_ms, PAGE_BYTES_MAX)
        left = limit

        def accept(key: bytes, entry: Entry) -> bool:
            nonlocal left
            if not left:
                return False
            if conflicts and not in_conflict(entry, now_ms):
                return True
            if visible_types(entry, now_ms):
                left = 0 if states.add(key, entry) else left - 1
            return True

        if not end or start < end:
            last = entries.scan(start, end, accept, conflicts=conflicts)
            if last is not None:
                response.next_page_token = TOKEN_VERSION + last
