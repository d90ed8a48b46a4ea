"""What is measured, behind one face: kvnode, and what a user would pick instead.

All over their Python clients with asyncio, the clients in the bench's own process. Values are
overwritten: LWW registers in kvnode, whose siblings and counters are questions of their own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import Any, ClassVar, Final, Protocol

import grpc
import grpc.aio

from bench import etcd_messages as etcd
from kvnode import AsyncClient

Pair = tuple[bytes, bytes]

TIMEOUT_S: Final = 30.0
CONNECTIONS_MAX: Final = 1_000
"""Of redis-py, which has one for each call in progress."""


class Store(Protocol):
    """One server, or the node of a cluster that this client talks to."""

    name: ClassVar[str]

    async def put(self, key: bytes, value: bytes) -> None:
        """One write, acknowledged."""

    async def write(self, pairs: Sequence[Pair]) -> None:
        """Many in one call."""

    async def get(self, key: bytes) -> bytes | None:
        """One read."""

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Many in one call."""

    async def position(self) -> object:
        """How far the server is: equal at two of a cluster that nobody writes to when they are."""

    async def is_at_rest(self) -> bool:
        """Whether it is done with what it does behind its callers' backs."""


class Counting(Store, Protocol):
    """One that has counters."""

    async def increment(self, key: bytes) -> None:
        """By one."""

    async def increment_many(self, keys: Sequence[bytes]) -> None:
        """Each by one, in one call."""


class KvnodeStore:
    """kvnode's own asyncio client."""

    name: ClassVar[str] = "kvnode"

    def __init__(self, client: AsyncClient) -> None:
        self.client = client

    async def put(self, key: bytes, value: bytes) -> None:
        """An LWW register."""
        await self.client.put(key, value, lww=True)

    async def write(self, pairs: Sequence[Pair]) -> None:
        """An atomic batch, in columns, answered briefly: as redis's pipeline tells OK."""
        await self.client.put_many(pairs, lww=True)

    async def get(self, key: bytes) -> bytes | None:
        """A local read of all there is to say of the key."""
        (state,) = await self.client.batch_get([key])
        return state.register.value if state.register else None

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Local reads of values alone, as redis's GET tells them; a conflict would be told too."""
        found = await self.client.get_many(keys)
        values = [found.get(key) for key in keys]
        return [value if isinstance(value, bytes) else None for value in values]

    async def increment(self, key: bytes) -> None:
        """A PN-Counter."""
        await self.client.increment(key)

    async def increment_many(self, keys: Sequence[bytes]) -> None:
        """An atomic batch, in columns, answered briefly."""
        await self.client.increment_many(keys)

    async def position(self) -> object:
        """The version vector."""
        status = await self.client.admin.status()
        return {entry.origin: entry.seq for entry in status.vector}

    async def is_at_rest(self) -> bool:
        """No checkpoint is being written."""
        return not (await self.client.admin.status()).checkpoint.running


class RedisStore:
    """redis-py with asyncio; many in one call are a pipeline."""

    name: ClassVar[str] = "redis"

    def __init__(self, client: Any) -> None:
        self._client = client

    async def put(self, key: bytes, value: bytes) -> None:
        """SET."""
        await self._client.set(key, value)

    async def write(self, pairs: Sequence[Pair]) -> None:
        """SET in a pipeline, not atomic: what redis is fastest with."""
        pipeline = self._client.pipeline(transaction=False)
        for key, value in pairs:
            pipeline.set(key, value)
        await pipeline.execute()

    async def get(self, key: bytes) -> bytes | None:
        """GET."""
        found: bytes | None = await self._client.get(key)
        return found

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """GET in a pipeline."""
        pipeline = self._client.pipeline(transaction=False)
        for key in keys:
            pipeline.get(key)
        found: list[bytes | None] = await pipeline.execute()
        return found

    async def increment(self, key: bytes) -> None:
        """INCR."""
        await self._client.incr(key)

    async def increment_many(self, keys: Sequence[bytes]) -> None:
        """INCR in a pipeline."""
        pipeline = self._client.pipeline(transaction=False)
        for key in keys:
            pipeline.incr(key)
        await pipeline.execute()

    async def position(self) -> object:
        """The primary's offset, or what a replica has applied of it."""
        told = await self._client.info("replication")
        return told["master_repl_offset"] if told["role"] == "master" else told["slave_repl_offset"]

    async def is_linked(self) -> bool:
        """A replica has its primary's data and follows it."""
        told = await self._client.info("replication")
        return bool(told.get("master_link_status") == "up")

    async def is_at_rest(self) -> bool:
        """Its file is not being rewritten."""
        found = await self._client.info("persistence")
        return not (found["aof_rewrite_in_progress"] or found["rdb_bgsave_in_progress"])


class EtcdStore:
    """etcd's KV service over grpcio; many in one call are a transaction."""

    name: ClassVar[str] = "etcd"

    def __init__(self, channel: grpc.aio.Channel) -> None:
        def method(name: str, reply: Any) -> Any:
            return channel.unary_unary(
                f"/etcdserverpb.KV/{name}",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=reply.FromString,
            )

        self._put = method("Put", etcd.PutResponse)
        self._range = method("Range", etcd.RangeResponse)
        self._txn = method("Txn", etcd.TxnResponse)

    async def put(self, key: bytes, value: bytes) -> None:
        """Put."""
        await self._put(etcd.PutRequest(key=key, value=value), timeout=TIMEOUT_S)

    async def write(self, pairs: Sequence[Pair]) -> None:
        """A transaction without conditions."""
        request = etcd.TxnRequest()
        for key, value in pairs:
            put = request.success.add().request_put
            put.key, put.value = key, value
        await self._txn(request, timeout=TIMEOUT_S)

    async def get(self, key: bytes) -> bytes | None:
        """Range of one key, answered by the asked member alone."""
        reply = await self._range(etcd.RangeRequest(key=key, serializable=True), timeout=TIMEOUT_S)
        return bytes(reply.kvs[0].value) if reply.kvs else None

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The same in a transaction."""
        request = etcd.TxnRequest()
        for key in keys:
            asked = request.success.add().request_range
            asked.key, asked.serializable = key, True
        reply = await self._txn(request, timeout=TIMEOUT_S)
        found = [each.response_range.kvs for each in reply.responses]
        return [bytes(kvs[0].value) if kvs else None for kvs in found]

    async def position(self) -> object:
        """The revision of the asked member."""
        request = etcd.RangeRequest(key=b"\0", serializable=True)
        reply = await self._range(request, timeout=TIMEOUT_S)
        return reply.header.revision

    async def is_at_rest(self) -> bool:
        """It keeps its one file as it goes."""
        return True


@asynccontextmanager
async def kvnode_store(endpoint: str) -> AsyncIterator[KvnodeStore]:
    """A client of one node."""
    async with AsyncClient(endpoint, timeout_s=TIMEOUT_S) as client:
        yield KvnodeStore(client)


@asynccontextmanager
async def redis_store(port: int) -> AsyncIterator[RedisStore]:
    """A client with a pool of connections."""
    from redis.asyncio import Redis

    client: Any = Redis(host="127.0.0.1", port=port, max_connections=CONNECTIONS_MAX)
    try:
        yield RedisStore(client)
    finally:
        await client.aclose()


@asynccontextmanager
async def etcd_store(endpoint: str) -> AsyncIterator[EtcdStore]:
    """A client of one member."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(endpoint, options=options) as channel:
        yield EtcdStore(channel)


def redis_py_is_there() -> bool:
    """The extra ``bench`` is installed."""
    return find_spec("redis") is not None
