"""Endpoints: one gRPC channel to each node, and whether a call can be sent there.

A write must not leave this process unless a node is there to take it: as long as nothing was sent,
"no endpoint can be reached" is a certainty and the next endpoint may be tried. gRPC does not tell
a request that never left from one whose reply was lost, and what it tells of a channel's state
is that of the connection, also when the process behind it hangs. So a node that has not answered
anything for a while is asked a question without consequences first (``Endpoint.reach``): one more
round trip for the first write after a pause, none in a stream of writes.

An endpoint must be the address of one node. A name that stands for several nodes would send a
repeated write to a node that does not know its request id.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar, cast

import grpc
from google.protobuf.message import Message
from grpc import StatusCode

from kvnode.core.errors import Reason
from kvnode.errors import InvalidArgument, cause_of

MESSAGE_BYTES_MAX: Final = 128 << 20
"""Above the largest page of a scan (2 MiB and one value) and the largest batch (4 MiB)."""

REACH_S_MAX: Final = 2.0
"""How long a call waits for one endpoint to be connected and to answer the first question."""

FRESH_S: Final = 0.2
"""After an answer a node counts as there for so long; a person's next write asks anew."""

RECONNECT_MS_MAX: Final = 1_000
"""gRPC's longest pause between two attempts to connect to a node that is down."""

QUESTION: Final = "/grpc.health.v1.Health/Check"
"""Asks the whole server; only that there is an answer counts, so its bytes are not looked at."""

SILENT: Final = frozenset(
    {StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED, StatusCode.CANCELLED}
)
"""How a call ends when nobody is there."""

CLOSED: Final = "this client is closed"

OPTIONS: Final = (
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    # a peer that went without a word is noticed within 4 s of a call, before its usual deadline
    ("grpc.keepalive_time_ms", 2_000),
    ("grpc.keepalive_timeout_ms", 2_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", RECONNECT_MS_MAX),
    # two clients of one process do not share the fate of a connection
    ("grpc.use_local_subchannel_pool", 1),
    # a database is not reached through the proxy of a browser
    ("grpc.enable_http_proxy", 0),
)

RequestT = TypeVar("RequestT", bound=Message)
ReplyT = TypeVar("ReplyT", bound=Message)


@dataclass(frozen=True, slots=True)
class Method(Generic[RequestT, ReplyT]):
    """One RPC of a service."""

    path: str
    request: type[RequestT]
    reply: type[ReplyT]


class Endpoint:
    """The address of one node, connected on first use. Thread safe.

    ``answered_at``: when the node answered last (monotonic seconds), None before the first answer
    and after a call without one. ``resting``: the last call found nobody. ``trouble``: why it could
    not be reached, for messages. All are hints; threads may overwrite each other's.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.answered_at: float | None = None
        self.resting = False
        self.trouble = ""
        self._lock = threading.Lock()
        self._closed = False
        self._channel: grpc.Channel | None = None
        self._calls: dict[str, grpc.UnaryUnaryMultiCallable[Any, Any]] = {}

    def reach(self, until: float, fresh_s: float) -> bool:
        """Whether the node is there: it answered within the last ``fresh_s``, or does so now.

        A refused connection is False at once. Where the last attempt failed already, gRPC rests
        before it connects again, and waiting for that is part of the question.
        """
        answered_at = self.answered_at
        if answered_at is not None and time.monotonic() < answered_at + fresh_s:
            return True
        timeout_s = remaining_s(min(until, time.monotonic() + REACH_S_MAX))
        code = StatusCode.OK
        try:
            self._callable(QUESTION, None, None)(
                b"", timeout=timeout_s, wait_for_ready=self.resting
            )
        except grpc.RpcError as error:
            code = error.code()
            if code is StatusCode.UNAVAILABLE:
                self.trouble = cause_of(error.details() or "")
            elif code in SILENT:
                # while gRPC rests it does not say why; the last attempt did
                self.trouble = self.trouble or "no answer in time"
        except (ValueError, RuntimeError):  # closed by another thread
            return False
        self._note(code)
        return code not in SILENT

    def call(self, method: Method[RequestT, ReplyT], request: RequestT, timeout_s: float) -> ReplyT:
        """The node's reply; ``grpc.RpcError`` if there is none. Only after ``reach``."""
        multicallable = self._callable(
            method.path, method.request.SerializeToString, method.reply.FromString
        )
        try:
            reply = cast("ReplyT", multicallable(request, timeout=timeout_s))
        except ValueError as error:  # gRPC's word for a channel closed since
            raise RuntimeError(CLOSED) from error
        except grpc.RpcError as error:
            self._note(error.code())
            raise
        self._note(StatusCode.OK)
        return reply

    def stream(
        self, method: Method[RequestT, ReplyT], request: RequestT, timeout_s: float
    ) -> Iterator[ReplyT]:
        """The node's replies; ``grpc.RpcError`` where they break off. Only after ``reach``."""
        with self._lock:
            channel = self._connected()
            call = channel.unary_stream(
                method.path, method.request.SerializeToString, method.reply.FromString
            )
        replies = call(request, timeout=timeout_s)
        try:
            yield from cast("Iterator[ReplyT]", replies)
        finally:
            replies.cancel()

    def close(self) -> None:
        """Give up the connection; calls in progress fail as lost."""
        with self._lock:
            self._closed = True
            channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def _note(self, code: StatusCode) -> None:
        """Keep what the end of a call shows; also an error can show that somebody is there."""
        self.resting = code in SILENT
        if not self.resting:
            self.trouble = ""
        self.answered_at = None if self.resting else time.monotonic()

    def _callable(
        self,
        path: str,
        serializer: Callable[[Any], bytes] | None,
        deserializer: Callable[[bytes], Any] | None,
    ) -> grpc.UnaryUnaryMultiCallable[Any, Any]:
        """gRPC's object for calls of one RPC. RuntimeError after ``close``."""
        with self._lock:
            channel = self._connected()
            known = self._calls.get(path)
            if known is None:
                known = channel.unary_unary(path, serializer, deserializer)
                self._calls[path] = known
            return known

    def _connected(self) -> grpc.Channel:
        """The channel, made on first use; to be called under the lock."""
        if self._closed:
            raise RuntimeError(CLOSED)
        if self._channel is None:
            self._channel = grpc.insecure_channel(self.address, options=OPTIONS)
        return self._channel


def remaining_s(until: float) -> float:
    """Seconds left, never quite none: gRPC takes 0 for a deadline that has passed already."""
    return max(0.001, until - time.monotonic())


def addresses_of(endpoints: str | Sequence[str]) -> tuple[str, ...]:
    """The addresses in "HOST:PORT,HOST:PORT" or a sequence of such, each once, in order.

    Nothing between two commas or after the last one is no endpoint and no mistake.
    """
    listed = [endpoints] if isinstance(endpoints, str) else list(endpoints)
    found: dict[str, None] = {}
    for text in listed:
        if not isinstance(text, str):
            raise InvalidArgument(f"endpoint {text!r} is not text", reason=Reason.BAD_REQUEST)
        for part in text.split(","):
            if part.strip():
                found[checked_address(part.strip())] = None
    if not found:
        raise InvalidArgument(
            "no endpoint given; one is HOST:PORT, for example 127.0.0.1:7080",
            reason=Reason.BAD_REQUEST,
        )
    return tuple(found)


def checked_address(address: str) -> str:
    """``address`` if it is HOST:PORT or [IPV6]:PORT."""
    host, colon, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if (
        not colon
        or not host
        or (":" in host and not bracketed)
        or any(letter.isspace() or letter == "/" for letter in host)
        or not (port.isascii() and port.isdigit())
        or not 1 <= int(port) <= 65_535
    ):
        raise InvalidArgument(
            f"endpoint {address!r} is not HOST:PORT, for example 127.0.0.1:7080",
            reason=Reason.BAD_REQUEST,
        )
    return address
