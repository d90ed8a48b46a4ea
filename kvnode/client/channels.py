"""Endpoints: what is known of each node, and how gRPC is told to reach it.

A write must not leave this process unless a node is there to take it: as long as nothing was sent,
"no endpoint can be reached" is a certainty and the next endpoint may be tried. gRPC does not tell
a request that never left from one whose reply was lost, and what it tells of a channel's state
is that of the connection, also when the process behind it hangs. So a node that has not answered
anything for a while is asked a question without consequences first (``QUESTION``): one more
round trip for the first write after a pause, none in a stream of writes.

An endpoint must be the address of one node. A name that stands for several nodes would send a
repeated write to a node that does not know its request id.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from google.protobuf.message import Message
from grpc import StatusCode

from kvnode.core.errors import Reason
from kvnode.errors import InvalidArgument

if TYPE_CHECKING:
    from kvnode.v1 import types_pb2

MESSAGE_BYTES_MAX: Final = 128 << 20
"""Above the largest page of a scan (2 MiB and one value) and the largest batch (4 MiB)."""

REACH_S_MAX: Final = 2.0
"""How long a call waits for one endpoint to be connected and to answer the first question."""

FRESH_S: Final = 0.2
"""After an answer a node counts as there for so long; a person's next write asks anew."""

RECONNECT_MS_MAX: Final = 1_000
"""gRPC's longest pause between two attempts to connect to a node that is down."""

RETURN_S: Final = 2.0
"""An endpoint that could not take a call is looked at after so long, then after twice that,"""

RETURN_S_MAX: Final = 30.0
"""and so on up to this."""

SILENT: Final = frozenset(
    {StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED, StatusCode.CANCELLED}
)
"""How a call ends when nobody is there."""

CLOSED: Final = "this client is closed, or was used before its process was forked"

OPTIONS: Final = (
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    # A peer that went without a word is noticed after a minute: gRPC waits that long for the answer
    # to a ping, whatever the timeout of keepalive is. Less (grpc.http2.ping_timeout_ms) would end
    # links that are slow but well, where the answer waits behind a large reply. So what must not
    # wait has a deadline, and who listens on a stream watches over its silence (changes.py).
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

READ_RETRIES: Final = json.dumps(
    {
        "methodConfig": [
            {
                "name": [
                    {"service": "kvnode.v1.KeyValue", "method": method}
                    for method in ("Get", "BatchGet", "Scan", "ListConflicts", "Outcome")
                ],
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "0.05s",
                    "maxBackoff": "0.4s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ]
    }
)
"""gRPC's own retries, for reads of a client with one endpoint: with several, asking the next one is
quicker. Writes are never resent by gRPC: it does not know what became of the first."""

RequestT = TypeVar("RequestT", bound=Message)
ReplyT = TypeVar("ReplyT", bound=Message)


@dataclass(frozen=True, slots=True)
class Method(Generic[RequestT, ReplyT]):
    """One RPC of a service. Without types its messages are bytes."""

    path: str
    request: type[RequestT] | None
    reply: type[ReplyT] | None


QUESTION: Final[Method[Any, Any]] = Method("/grpc.health.v1.Health/Check", None, None)
"""Asks after the whole server. For a call any answer will do; ``WELL`` is what lets a node that
could not take a call be asked first again."""

WELL: Final = b"\x08\x01"
"""``HealthCheckResponse(status=SERVING)``; its module would cost every start its import."""


class Endpoint:
    """The address of one node and what is known of it. Hints: threads may overwrite each other's.

    ``answered_at``: when it answered last (monotonic seconds), None before the first answer and
    after a call without one. ``resting``: it could not take the last call, so others are asked
    first until it is found well again; it is looked at from ``look_at`` on. ``trouble``: why it
    could not be reached, for messages. ``shown``: origin -> how many of its writes the
    node has, at least.
    """

    __slots__ = ("address", "answered_at", "look_at", "pause_s", "resting", "shown", "trouble")

    def __init__(self, address: str) -> None:
        self.address = address
        self.answered_at: float | None = None
        self.resting = False
        self.trouble = ""
        self.look_at = 0.0
        self.pause_s = RETURN_S
        self.shown: dict[int, int] = {}

    def answered(self, now: float) -> None:
        """It did what it was asked."""
        self.answered_at = now
        self.resting = False
        self.trouble = ""
        self.pause_s = RETURN_S

    def spoke(self, now: float) -> None:
        """It is there, whatever it said."""
        self.answered_at = now
        self.trouble = ""

    def silent(self, now: float, why: str) -> None:
        """Nobody answered. While gRPC rests it does not say why; the last attempt did."""
        self.answered_at = None
        self.shown = {}  # who comes back may have lost what was only in its queue
        self.trouble = why or self.trouble or "no answer in time"
        self.rest(now)

    def showed(self, seen: types_pb2.VersionVector) -> None:
        """A reply told what it has."""
        shown = self.shown
        for entry in seen.entries:
            if entry.seq > shown.get(entry.origin, 0):
                shown[entry.origin] = entry.seq

    def has(self, wanted: types_pb2.VersionVector) -> bool:
        """Whether it has all that for certain."""
        shown = self.shown
        return all(shown.get(entry.origin, 0) >= entry.seq for entry in wanted.entries)

    def rest(self, now: float) -> None:
        """Ask others first for a while; longer each time until it has done something."""
        self.resting = True
        self.look_at = now + self.pause_s
        self.pause_s = min(2 * self.pause_s, RETURN_S_MAX)


def warn_unclosed(kind: str, addresses: tuple[str, ...], source: object) -> None:
    """That a client was used and forgotten; with tracemalloc also where it was made."""
    said = f"unclosed {kind} of {', '.join(addresses)}: use it in a with block, or close() it"
    warnings.warn(said, ResourceWarning, stacklevel=2, source=source)


def addresses_of(endpoints: str | Sequence[str]) -> tuple[str, ...]:
    """The addresses in "HOST:PORT,HOST:PORT" or a sequence of such, each once, in order.

    Nothing between two commas or after the last one is no endpoint and no mistake.
    """
    if isinstance(endpoints, bytes) or not isinstance(endpoints, Iterable):
        raise InvalidArgument(
            f"endpoints are HOST:PORT,HOST:PORT or a list of such, not {endpoints!r}",
            reason=Reason.BAD_REQUEST,
        )
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
