"""The Watches service over a node."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from typing import Protocol, cast

import grpc

from kvnode.core.dots import Vector, covers
from kvnode.core.entry import Entry
from kvnode.core.errors import Reason, Refused
from kvnode.core.watch import Cursor, Write, Writes, decode_cursor, encode_cursor
from kvnode.rpc.handlers import stream_reply
from kvnode.rpc.kv_codec import KvCodec
from kvnode.v1 import types_pb2
from kvnode.v1 import watch_pb2 as pb

SERVICE = "kvnode.v1.Watches"
PART_BYTES = 1 << 20
"""A response ends behind the change that goes beyond it."""
HEARTBEAT_MS_MIN = 100
HEARTBEAT_MS_MAX = 60_000
FACT_BYTES_MAX = 2_000
"""A token in an error: all of its facts travel in headers, which gRPC bounds at 8 KiB."""


class Store(Protocol):
    """What the service needs of a node."""

    @property
    def vector(self) -> Vector: ...
    def read(self, key: bytes) -> Entry: ...
    def now_ms(self) -> int: ...


class Watching(Protocol):
    """What moves cursors on (``node/watching.py``)."""

    def now(self) -> Cursor: ...
    def follow(
        self, cursor: Cursor, prefix: bytes, heartbeat_s: float
    ) -> AsyncIterator[Writes]: ...


class WatchService:
    """Checks, and shows what the cursors come across."""

    def __init__(self, store: Store, watching: Watching, codec: KvCodec, heartbeat_ms: int) -> None:
        """``heartbeat_ms``: for callers that do not ask for another."""
        self._store = store
        self._watching = watching
        self._codec = codec
        self._heartbeat_ms = heartbeat_ms

    def handler(self) -> grpc.GenericRpcHandler:
        """For ``grpc.aio.Server.add_generic_rpc_handlers``."""
        return grpc.method_handlers_generic_handler(
            SERVICE, {"Watch": stream_reply(pb.WatchRequest, self.watch)}
        )

    async def watch(self, request: pb.WatchRequest) -> AsyncGenerator[pb.WatchResponse, None]:
        """The changes; Refused (what ``follow`` says, BAD_KEY, BAD_REQUEST, BAD_TOKEN)."""
        cursor = self._cursor(request)
        steps = self._watching.follow(cursor, request.prefix, self._heartbeat_s(request))
        token = request.since
        try:
            async with aclosing(steps):  # type: ignore[type-var]
                async for writes in steps:
                    for response in self._responses(cursor, request.prefix, writes):
                        yield response
                        token = response.token or token
        except Refused as refusal:
            if len(token) <= FACT_BYTES_MAX:
                refusal.facts.setdefault("token", token.hex())
            raise

    def _cursor(self, request: pb.WatchRequest) -> Cursor:
        limit = self._codec.limits.key_bytes_max
        if len(request.prefix) > limit:
            raise Refused(
                Reason.BAD_KEY,
                f"no key has a prefix of {len(request.prefix)} bytes, a key has up to {limit}",
                limit=str(limit),
            )
        if request.since and request.existing:
            raise Refused(
                Reason.BAD_REQUEST,
                "a watch goes on from a token, or begins with the keys that exist, not both",
            )
        if request.since:
            return decode_cursor(request.since, request.prefix, self._codec.secret)
        cursor = self._watching.now()
        cursor.scanned = b"" if request.existing else None
        return cursor

    def _heartbeat_s(self, request: pb.WatchRequest) -> float:
        asked = request.heartbeat_ms or self._heartbeat_ms
        if request.heartbeat_ms and not HEARTBEAT_MS_MIN <= asked <= HEARTBEAT_MS_MAX:
            raise Refused(
                Reason.BAD_REQUEST,
                f"heartbeat_ms is {HEARTBEAT_MS_MIN} to {HEARTBEAT_MS_MAX}, not {asked}",
            )
        return asked / 1000

    def _responses(
        self, cursor: Cursor, prefix: bytes, writes: Writes
    ) -> Iterator[pb.WatchResponse]:
        """A step's changes in parts, the last one with the token.

        Between parts others run, so the states are of several moments: what the last one says of
        being current holds for all, as what was written in between has not been shown.
        """
        response, size = pb.WatchResponse(), 0
        for key, known in writes.items():
            if size > PART_BYTES:
                yield response
                response, size = pb.WatchResponse(), 0
            change = self._change(key, known)
            response.changes.append(change)
            size += change.ByteSize()
        vector = self._store.vector
        if writes:
            cursor.saw(vector)
        response.waiting = not covers(vector, cursor.seen)
        response.current = not response.waiting and cursor.current(vector)
        response.token = encode_cursor(cursor, prefix, self._codec.secret)
        yield response

    def _change(self, key: bytes, writes: Sequence[Write]) -> pb.Change:
        return pb.Change(
            state=self._codec.state(key, self._store.read(key), self._store.now_ms()),
            writes=[
                pb.KeyWrite(
                    dot=types_pb2.Dot(origin=write.dot[0], seq=write.dot[1]),
                    type=cast("types_pb2.DataType", write.type),
                    kind=cast("pb.WriteKind", write.kind),
                )
                for write in writes
            ],
        )
