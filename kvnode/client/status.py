"""gRPC errors as kvnode's exceptions: the one table of the client's edge.

What matters about a failed call is whether the node said so itself. A kvnode that refuses adds a
``google.rpc.ErrorInfo`` of the domain "kvnode", and then nothing was changed. Any other error is
the transport's, and a request that left this process may have been carried out.

=========  ===================================================  =============================
fate       seen as                                              what follows
=========  ===================================================  =============================
REFUSED    ErrorInfo                                            raised
           (NOT_REPLICATED among them: done, not undone)
ELSEWHERE  ErrorInfo with UNAVAILABLE (stopping) or DATA_LOSS   the next endpoint
           (its copy is damaged) or BEHIND: this node cannot
UNSENT     UNAVAILABLE with ``NEVER_LEFT``: no connection;      the next endpoint
           or ``STOOD_STILL``
BROKEN     UNIMPLEMENTED and the like: not a kvnode             raised; nothing was changed
LOST       everything else                                      a read: the next endpoint;
                                                                a write: asked again there
=========  ===================================================  =============================
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from grpc import Call, RpcError, StatusCode

from kvnode.client.values import NotReplicated
from kvnode.core.errors import Reason
from kvnode.errors import (
    DOMAIN,
    EXCEPTIONS,
    Behind,
    DeadlineExceeded,
    KvnodeError,
    NodeFailure,
    NodeUnavailable,
    ResourceExhausted,
)
from kvnode.v1 import kv_pb2, types_pb2

if TYPE_CHECKING:
    from google.rpc.error_details_pb2 import ErrorInfo
    from google.rpc.status_pb2 import Status

DETAILS_KEY: Final = "grpc-status-details-bin"
"""Trailing metadata with a serialized ``google.rpc.Status``."""

NOT_A_KVNODE: Final = frozenset(
    {StatusCode.UNIMPLEMENTED, StatusCode.UNAUTHENTICATED, StatusCode.PERMISSION_DENIED}
)
"""Codes with which a server turns a call away before any handler of a kvnode ran."""


THIS_NODE: Final = frozenset({StatusCode.UNAVAILABLE, StatusCode.DATA_LOSS})
"""Codes of refusals that say nothing of what other nodes would answer."""

THIS_NODES_REASONS: Final = frozenset({Reason.NODE_FENCED, Reason.CLOCK_OFF})
"""The same under codes that otherwise speak for the cluster: this node's identity, its clock."""


NEVER_LEFT: Final = "failed to connect to all addresses"
"""How gRPC begins where it had no connection to send the call on. It says so of the last attempt,
which for writes is the only one. Should it ever say it otherwise, writes count as lost again."""

STOOD_STILL: Final = "the stream to the node stands still"
"""How a request ends that waited on this side for a stream and was taken back (``pipeline.py``)."""

CODES_BY_NUMBER: Final = {code.value[0]: code for code in StatusCode}


class Fate(Enum):
    """What became of a call that failed."""

    REFUSED = auto()
    ELSEWHERE = auto()
    UNSENT = auto()
    BROKEN = auto()
    LOST = auto()


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed call: its fate, and what a read raises because of it."""

    fate: Fate
    exception: KvnodeError
    cause: RpcError | None
    """What it is raised from: nothing if the node itself said it, whose words are all there is
    to know, and gRPC's are 20 lines."""
    reply: kv_pb2.WriteResponse | None = None
    """With ``NotReplicated``: what was done."""


def failure_of(error: RpcError, address: str) -> Failure:
    """The failure that a gRPC error means."""
    code = error.code()
    # every RpcError of a call is a Call too; the library's types do not say so
    trailing = cast("Call", error).trailing_metadata() or ()
    packed = next((value for key, value in trailing if key == DETAILS_KEY), None)
    told = told_by(packed) if isinstance(packed, bytes) else None
    return judged(code, error.details() or "no details", told, address, error)


def failure_of_status(status: Status, address: str) -> Failure:
    """The failure of one request among several in a call."""
    code = CODES_BY_NUMBER.get(status.code, StatusCode.UNKNOWN)
    return judged(code, status.message or "no details", told_in(status), address, None)


def judged(
    code: StatusCode, said: str, told: Told | None, address: str, error: RpcError | None
) -> Failure:
    """What a code means, with what the node told of it and without."""
    if told is None:
        if code in NOT_A_KVNODE:
            broken = NodeFailure(f"{address} is no kvnode of this version: {code.name}, {said}")
            return Failure(Fate.BROKEN, broken, error)
        if code is StatusCode.UNAVAILABLE and said.startswith((NEVER_LEFT, STOOD_STILL)):
            return Failure(Fate.UNSENT, transport_exception(code, said, address), error)
        return Failure(Fate.LOST, transport_exception(code, said, address), error)
    info = told.info
    if code is StatusCode.DEADLINE_EXCEEDED:
        if info.reason == Reason.NOT_REPLICATED:
            return Failure(Fate.REFUSED, NotReplicated(said, facts_of(info)), None, told.reply)
        behind = Behind(said, facts_of(info))
        return Failure(Fate.ELSEWHERE, behind, None)
    kind = EXCEPTIONS.get(code)
    if kind is None:
        strange = NodeFailure(f"{address} answered {code.name}: {said}")
        return Failure(Fate.REFUSED, strange, error)
    here = code in THIS_NODE or info.reason in THIS_NODES_REASONS
    fate = Fate.ELSEWHERE if here else Fate.REFUSED
    refused = kind(said, reason=info.reason, facts=facts_of(info), retry_after_s=told.retry_after_s)
    return Failure(fate, refused, None)


def facts_of(info: ErrorInfo) -> dict[str, str]:
    """What the node names: keys, limits."""
    return dict(info.metadata)


def transport_exception(code: StatusCode, said: str, address: str) -> KvnodeError:
    """What the transport's error means for a read."""
    match code:
        case StatusCode.UNAVAILABLE:
            return NodeUnavailable(f"the connection to {address} broke: {said}")
        case StatusCode.CANCELLED:
            # gRPC there, without words of its own; a caller that gives up itself sees no exception
            return NodeUnavailable(
                f"{address} cancelled the call: more wait there than it can take up, or it stops. "
                "Try again more slowly, or give the client more endpoints"
            )
        case StatusCode.DEADLINE_EXCEEDED:
            return DeadlineExceeded(f"{address} did not answer in time")
        case StatusCode.RESOURCE_EXHAUSTED:
            # gRPC's own limits: calls in progress, or a message of more than 16 MiB
            return ResourceExhausted(f"{address}: {said}")
        case _:
            return NodeFailure(f"{address} answered {code.name}: {said}")


class Told(NamedTuple):
    """What a kvnode adds to an error."""

    info: ErrorInfo
    retry_after_s: float | None
    reply: kv_pb2.WriteResponse | None


def told_by(packed: bytes) -> Told | None:
    """What the details of an error tell; None if the error is not kvnode's own.

    The modules are imported here: most programs never see an error, and every start would pay.
    """
    from google.protobuf.message import DecodeError
    from google.rpc.status_pb2 import Status

    try:
        return told_in(Status.FromString(packed))
    except DecodeError:
        return None


def told_in(status: Status) -> Told | None:
    """The same of a parsed status."""
    from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo

    info: ErrorInfo | None = None
    retry_after_s: float | None = None
    reply: kv_pb2.WriteResponse | None = None
    for detail in status.details:
        if detail.Is(ErrorInfo.DESCRIPTOR):
            info = ErrorInfo.FromString(detail.value)
        elif detail.Is(RetryInfo.DESCRIPTOR):
            delay = RetryInfo.FromString(detail.value).retry_delay
            retry_after_s = delay.seconds + delay.nanos / 1e9
        elif detail.Is(kv_pb2.Shortfall.DESCRIPTOR):
            reply = done_so_far(kv_pb2.Shortfall.FromString(detail.value))
    if info is None or info.domain != DOMAIN:
        return None
    return Told(info, retry_after_s, reply)


def done_so_far(shortfall: kv_pb2.Shortfall) -> kv_pb2.WriteResponse:
    """The reply to a write that is done, and not yet where it was to be."""
    origin, seq = shortfall.first.origin, shortfall.first.seq
    count = shortfall.operations
    return kv_pb2.WriteResponse(
        results=[
            kv_pb2.WriteResult(dot=types_pb2.Dot(origin=origin, seq=seq + index))
            for index in range(count)
        ],
        session=types_pb2.VersionVector(
            entries=[types_pb2.Dot(origin=origin, seq=seq + count - 1)]
        ),
        repeated=shortfall.repeated,
        stored_by=shortfall.stored_by,
        first=shortfall.first,
    )
