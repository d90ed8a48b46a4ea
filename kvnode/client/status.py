"""gRPC errors as kvnode's exceptions: the one table of the client's edge.

What matters about a failed call is whether the node said so itself. A kvnode that refuses adds a
``google.rpc.ErrorInfo`` of the domain "kvnode", and then nothing was changed. Any other error is
the transport's, and a request that left this process may have been carried out.

=========  ===================================================  =============================
fate       seen as                                              what follows
=========  ===================================================  =============================
REFUSED    ErrorInfo                                            raised
ELSEWHERE  ErrorInfo with UNAVAILABLE (stopping) or DATA_LOSS   the next endpoint
           (its copy is damaged): this node cannot
BROKEN     UNIMPLEMENTED and the like: not a kvnode             raised; nothing was changed
LOST       everything else                                      a read: the next endpoint;
                                                                a write: asked again there
=========  ===================================================  =============================
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, cast

from grpc import Call, RpcError, StatusCode

from kvnode.core.errors import Reason
from kvnode.errors import (
    DOMAIN,
    EXCEPTIONS,
    DeadlineExceeded,
    KvnodeError,
    NodeFailure,
    NodeUnavailable,
    RequestRefused,
    ResourceExhausted,
)

if TYPE_CHECKING:
    from google.rpc.error_details_pb2 import ErrorInfo

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


class Fate(Enum):
    """What became of a call that failed."""

    REFUSED = auto()
    ELSEWHERE = auto()
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


def failure_of(error: RpcError, address: str) -> Failure:
    """The failure that a gRPC error means."""
    code = error.code()
    said = error.details() or "no details"
    details = error_details(error)
    if details is not None:
        info, retry_after_s = details
        kind = EXCEPTIONS.get(code)
        if kind is None:
            strange = NodeFailure(f"{address} answered {code.name}: {said}")
            return Failure(Fate.REFUSED, strange, error)
        here = code in THIS_NODE or info.reason in THIS_NODES_REASONS
        fate = Fate.ELSEWHERE if here else Fate.REFUSED
        return Failure(fate, refusal(kind, said, info, retry_after_s), None)
    if code in NOT_A_KVNODE:
        return Failure(
            Fate.BROKEN,
            NodeFailure(f"{address} is no kvnode of this version: {code.name}, {said}"),
            error,
        )
    return Failure(Fate.LOST, transport_exception(code, said, address), error)


def refusal(
    kind: type[RequestRefused], said: str, info: ErrorInfo, retry_after_s: float | None
) -> RequestRefused:
    """What the node itself said."""
    return kind(said, reason=info.reason, facts=dict(info.metadata), retry_after_s=retry_after_s)


def transport_exception(code: StatusCode, said: str, address: str) -> KvnodeError:
    """What the transport's error means for a read."""
    match code:
        case StatusCode.UNAVAILABLE | StatusCode.CANCELLED:
            return NodeUnavailable(f"the connection to {address} broke: {said}")
        case StatusCode.DEADLINE_EXCEEDED:
            return DeadlineExceeded(f"{address} did not answer in time")
        case StatusCode.RESOURCE_EXHAUSTED:
            # gRPC's own limits: calls in progress, or a message of more than 16 MiB
            return ResourceExhausted(f"{address}: {said}")
        case _:
            return NodeFailure(f"{address} answered {code.name}: {said}")


def error_details(error: RpcError) -> tuple[ErrorInfo, float | None] | None:
    """kvnode's ErrorInfo and the seconds of RetryInfo; None if the error is not kvnode's own.

    The modules are imported here: most programs never see an error, and every start would pay.
    """
    # every RpcError of a call is a Call too; the library's types do not say so
    trailing = cast("Call", error).trailing_metadata() or ()
    packed = next((value for key, value in trailing if key == DETAILS_KEY), None)
    if not isinstance(packed, bytes):
        return None
    from google.protobuf.message import DecodeError
    from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
    from google.rpc.status_pb2 import Status

    info: ErrorInfo | None = None
    retry_after_s: float | None = None
    try:
        for detail in Status.FromString(packed).details:
            if detail.Is(ErrorInfo.DESCRIPTOR):
                info = ErrorInfo.FromString(detail.value)
            elif detail.Is(RetryInfo.DESCRIPTOR):
                delay = RetryInfo.FromString(detail.value).retry_delay
                retry_after_s = delay.seconds + delay.nanos / 1e9
    except DecodeError:
        return None
    if info is None or info.domain != DOMAIN:
        return None
    return info, retry_after_s
