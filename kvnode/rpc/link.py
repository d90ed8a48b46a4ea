"""The calling side of a link to one peer: its channel, the push stream and pulls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass

import grpc
import grpc.aio
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from kvnode.core.dots import Dot
from kvnode.core.errors import Refused
from kvnode.core.report import Hello, Meeting, Report
from kvnode.core.snapshot import Position
from kvnode.errors import cause_of
from kvnode.rpc.replication_codec import (
    hello_from_wire,
    hello_to_wire,
    report_from_wire,
    report_to_wire,
    vector_from_wire,
    vector_to_wire,
)
from kvnode.rpc.snapshot_codec import Assembler, Fetched
from kvnode.tls import Credentials
from kvnode.v1 import replication_pb2 as pb
from kvnode.v1 import snapshot_pb2, types_pb2
from kvnode.v1.replication_pb2_grpc import ReplicationStub
from kvnode.v1.snapshot_pb2_grpc import SnapshotsStub

DETAILS_KEY = "grpc-status-details-bin"
MESSAGE_BYTES_MAX = 128 << 20
"""A key with 100 siblings of 1 MiB has to fit; blocks are bounded far below."""

CHUNK_BYTES_MAX = 1 << 30
"""Of a snapshot: the largest entry a store can hold has to fit, and into memory."""

REFUSALS = frozenset(
    {
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)
"""Codes with which a peer that is there turns a link away."""


class LinkError(Exception):
    """The link is down; the message says why in one line."""

    def __init__(
        self, message: str, *, refused: bool = False, reason: str = "", node: str = ""
    ) -> None:
        super().__init__(message)
        self.refused = refused
        """The peer is there and does not want to talk."""
        self.reason = reason
        """Its machine-readable reason, if it gave one."""
        self.node = node
        """Its name, if it gave one."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """One message of a pull."""

    report: Report
    hello: Hello | None
    blocks: Sequence[bytes]
    complete: bool
    floor: Mapping[int, int] | None = None
    """Set if what is lacking is no longer in the peer's log: where that begins."""


class PushStream:
    """An open push stream. ``send`` and ``receive`` may run concurrently."""

    def __init__(self, call: grpc.aio.StreamStreamCall[pb.PushRequest, pb.PushReply]) -> None:
        self._call = call

    async def send(
        self, report: Report, position: int, blocks: Sequence[bytes], hello: Hello | None
    ) -> None:
        """Send one message; LinkError if the link is down."""
        message = pb.PushRequest(report=report_to_wire(report), position=position, blocks=blocks)
        if hello:
            message.hello.CopyFrom(hello_to_wire(hello))
        try:
            await self._call.write(message)
        except (grpc.RpcError, asyncio.InvalidStateError) as error:
            raise await self._ended(error) from error
        except asyncio.CancelledError as error:
            raise _of_the_call(error) from error

    async def receive(self) -> tuple[Report, Hello | None]:
        """The peer's answer to one message; LinkError if the link is down."""
        try:
            reply = await self._call.read()
        except grpc.RpcError as error:
            raise link_error(error) from error
        except asyncio.CancelledError as error:
            raise _of_the_call(error) from error
        if not isinstance(reply, pb.PushReply):
            raise await self._ended(None)
        hello = hello_from_wire(reply.hello) if reply.HasField("hello") else None
        try:
            return report_from_wire(reply.report), hello
        except Refused as error:
            raise LinkError(error.message, refused=True, reason=error.reason) from error

    def close(self) -> None:
        """End the stream."""
        self._call.cancel()

    async def _ended(self, cause: BaseException | None) -> LinkError:
        """Why the stream is over (it is: a write failed or a read found its end)."""
        if not self._call.done():
            self._call.cancel()
        code, details = await self._call.code(), await self._call.details()
        if code is grpc.StatusCode.OK:
            return LinkError("the peer ended the stream")
        if isinstance(cause, grpc.RpcError) and code is grpc.StatusCode.CANCELLED:
            return link_error(cause)
        return _status_error(code, details, await self._call.trailing_metadata())


def _of_the_call(cancelled: asyncio.CancelledError) -> BaseException:
    """Whoever sends or receives on a call that another task has ended is told that it is cancelled
    itself, by gRPC. Believed, that would end the task, and with it the node.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        return cancelled
    return LinkError("the stream was given up")


class Link:
    """A channel to one peer's address; it reconnects by itself."""

    def __init__(self, address: str, channel: grpc.aio.Channel) -> None:
        self.address = address
        self.channel = channel
        self._stub = ReplicationStub(self.channel)  # type: ignore[no-untyped-call]
        self._snapshots = SnapshotsStub(self.channel)  # type: ignore[no-untyped-call]

    @classmethod
    def open(
        cls, address: str, *, reconnect_ms: int, keepalive_ms: int, tls: Credentials | None = None
    ) -> Link:
        """Over a channel of its own."""
        options = [
            ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
            ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
            ("grpc.initial_reconnect_backoff_ms", min(100, reconnect_ms)),
            ("grpc.min_reconnect_backoff_ms", min(100, reconnect_ms)),
            ("grpc.max_reconnect_backoff_ms", reconnect_ms),
            ("grpc.keepalive_time_ms", keepalive_ms),
            ("grpc.keepalive_timeout_ms", keepalive_ms),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.enable_http_proxy", 0),
            # one connection per link, not one shared by all links to an address
            ("grpc.use_local_subchannel_pool", 1),
        ]
        if tls is None:
            return cls(address, grpc.aio.insecure_channel(address, options=options))
        return cls(address, grpc.aio.secure_channel(address, tls.of_channel(), options=options))

    def push(self) -> PushStream:
        """Open a push stream; whether it works shows with the first receive."""
        return PushStream(self._stub.Push())

    async def pull(
        self, hello: Hello, report: Report, have: Mapping[int, int], bytes_max: int, idle_s: float
    ) -> AsyncIterator[Pulled]:
        """What the peer has and ``have`` does not cover, in the peer's arrival order.

        Raises:
            LinkError: the link is down, or nothing came for ``idle_s`` seconds.
        """
        call = self._stub.Pull(
            pb.PullRequest(
                hello=hello_to_wire(hello),
                report=report_to_wire(report),
                have=vector_to_wire(have),
                bytes_max=bytes_max,
            )
        )
        try:
            while True:
                async with asyncio.timeout(idle_s):
                    reply = await call.read()
                if not isinstance(reply, pb.PullReply):
                    return
                yield Pulled(
                    report_from_wire(reply.report),
                    hello_from_wire(reply.hello) if reply.HasField("hello") else None,
                    reply.blocks,
                    reply.complete,
                    vector_from_wire(reply.floor) if reply.below_floor else None,
                )
        except TimeoutError as error:
            raise LinkError(f"{self.address} sent nothing for {idle_s:g} s") from error
        except grpc.RpcError as error:
            raise link_error(error) from error
        finally:
            call.cancel()

    async def meet(self, hello: Hello, about: Dot, deadline_s: float) -> Meeting:
        """Who is there, and what it knows about an origin; LinkError."""
        origin, seq = about
        request = pb.MeetRequest(
            hello=hello_to_wire(hello), about=types_pb2.Dot(origin=origin, seq=seq)
        )
        try:
            reply = await self._stub.Meet(request, timeout=deadline_s)
        except grpc.RpcError as error:
            raise link_error(error) from error
        return Meeting(
            hello_from_wire(reply.hello),
            reply.running,
            reply.seq,
            reply.chain,
            reply.chain_at,
            vector_from_wire(reply.vector),
        )

    async def fetch(
        self, hello: Hello, snapshot: bytes, position: Position, bytes_max: int, idle_s: float
    ) -> AsyncGenerator[Fetched]:
        """The chunks of a snapshot behind ``position``; a new snapshot if its id is empty.

        Raises:
            LinkError: the link is down, nothing came for ``idle_s`` seconds, or what came makes
                no chunk. ``refused`` if the peer no longer has that snapshot.
        """
        call = self._snapshots.Fetch(
            snapshot_pb2.SnapshotRequest(
                hello=hello_to_wire(hello),
                snapshot=snapshot,
                section=int(position.section),  # type: ignore[arg-type]
                after=position.after,
                bytes_max=bytes_max,
            )
        )
        assembler = Assembler(CHUNK_BYTES_MAX)
        try:
            while True:
                async with asyncio.timeout(idle_s):
                    message = await call.read()
                if not isinstance(message, snapshot_pb2.SnapshotChunk):
                    return
                yield assembler.add(message)
        except TimeoutError as error:
            raise LinkError(f"{self.address} sent nothing for {idle_s:g} s") from error
        except ValueError as error:
            raise LinkError(f"{self.address} sent what is no snapshot: {error}") from error
        except grpc.RpcError as error:
            raise link_error(error) from error
        finally:
            call.cancel()

    async def close(self) -> None:
        """Close the channel and what runs over it."""
        await self.channel.close(None)


OpenLink = Callable[[str], Link]
"""How to reach the node at an address."""


def link_error(error: grpc.RpcError) -> LinkError:
    """What a failed call over a link means."""
    assert isinstance(error, grpc.aio.AioRpcError)
    return _status_error(error.code(), error.details(), error.trailing_metadata())


def _status_error(
    code: grpc.StatusCode, details: str | None, metadata: grpc.aio.Metadata | None
) -> LinkError:
    text = details.splitlines()[0] if details else ""
    match code:
        case grpc.StatusCode.FAILED_PRECONDITION | grpc.StatusCode.INVALID_ARGUMENT if text:
            pass  # the peer's own words: they say what to change
        case grpc.StatusCode.UNAVAILABLE if text:
            text = cause_of(text)
        case _:
            text = f"{code.name}: {text}" if text else code.name
    info = _told(metadata)
    node = info.metadata.get("node", "")
    return LinkError(text, refused=code in REFUSALS, reason=info.reason, node=node)


def _told(metadata: grpc.aio.Metadata | None) -> ErrorInfo:
    """What the peer added to its refusal; empty if it added nothing."""
    status = Status()
    for key, value in metadata or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            status.ParseFromString(value)
    info = ErrorInfo()
    for detail in status.details:
        if detail.Unpack(info):
            break
    return info
