"""What can go wrong, for users of the client and for the gRPC edge.

::

    KvnodeError
     +-- RequestRefused            nothing was changed; ``.reason`` says why
     |    +-- InvalidArgument      the request itself is wrong
     |    +-- KeyNotFound
     |    +-- FailedPrecondition   the state or the node does not allow it now
     |    +-- ResourceExhausted    too much; retry after ``.retry_after_s``
     |    +-- WatchBehind          what a watch should go on with is no longer kept
     |    +-- DataDamaged          what is stored under the key fails its checksum
     |    +-- NodeUnavailable      joining, resyncing, stopping, or (client side) nobody is reached
     +-- OutcomeUnknown            a write was sent and no reply came; it may have happened
     +-- DeadlineExceeded          not in time
     |    +-- Behind               no node had in time what the call was to come after; nothing done
     |    +-- NotReplicated        the write is done, not on as many nodes as asked; ``.receipt``
     +-- NodeFailure               the node broke a rule of the protocol (a bug, or not a kvnode)

``CODES`` is the one table from reason to gRPC status code; the exception follows from the code.
"""

from __future__ import annotations

import copyreg
import re
from typing import Any, Final

from grpc import StatusCode

from kvnode.core.errors import Reason

DOMAIN: Final = "kvnode"
"""``google.rpc.ErrorInfo.domain`` of every error that kvnode itself raises."""

CODES: Final[dict[Reason, StatusCode]] = {
    Reason.BAD_KEY: StatusCode.INVALID_ARGUMENT,
    Reason.BAD_VALUE: StatusCode.INVALID_ARGUMENT,
    Reason.BAD_AMOUNT: StatusCode.INVALID_ARGUMENT,
    Reason.BAD_CONTEXT: StatusCode.INVALID_ARGUMENT,
    Reason.BAD_REQUEST: StatusCode.INVALID_ARGUMENT,
    Reason.BATCH_TOO_LARGE: StatusCode.INVALID_ARGUMENT,
    Reason.MALFORMED_MESSAGE: StatusCode.INVALID_ARGUMENT,
    Reason.UNKNOWN_FIELD: StatusCode.INVALID_ARGUMENT,
    Reason.BAD_TOKEN: StatusCode.INVALID_ARGUMENT,
    Reason.KEY_NOT_FOUND: StatusCode.NOT_FOUND,
    Reason.NO_SUCH_RECORD: StatusCode.NOT_FOUND,
    Reason.TYPE_CONFLICT: StatusCode.FAILED_PRECONDITION,
    Reason.COUNTER_OVERFLOW: StatusCode.FAILED_PRECONDITION,
    Reason.CLOCK_OFF: StatusCode.FAILED_PRECONDITION,
    Reason.NODE_FENCED: StatusCode.FAILED_PRECONDITION,
    Reason.WRONG_CLUSTER: StatusCode.FAILED_PRECONDITION,
    Reason.STATE_DAMAGED: StatusCode.DATA_LOSS,
    Reason.TOO_MANY_SIBLINGS: StatusCode.RESOURCE_EXHAUSTED,
    Reason.QUEUE_FULL: StatusCode.RESOURCE_EXHAUSTED,
    Reason.DISK_FULL: StatusCode.RESOURCE_EXHAUSTED,
    Reason.TOO_MANY_WATCHES: StatusCode.RESOURCE_EXHAUSTED,
    Reason.BEHIND: StatusCode.DEADLINE_EXCEEDED,
    Reason.NOT_REPLICATED: StatusCode.DEADLINE_EXCEEDED,
    Reason.STOPPING: StatusCode.UNAVAILABLE,
    Reason.JOINING: StatusCode.UNAVAILABLE,
    Reason.FORGOTTEN: StatusCode.UNAVAILABLE,
    Reason.WATCH_AHEAD: StatusCode.UNAVAILABLE,
    Reason.WATCH_BEHIND: StatusCode.OUT_OF_RANGE,
    Reason.NAME_TAKEN: StatusCode.FAILED_PRECONDITION,
    Reason.ALREADY_RUNNING: StatusCode.FAILED_PRECONDITION,
    Reason.NO_NEWCOMER: StatusCode.FAILED_PRECONDITION,
    Reason.PEERS_BEHIND: StatusCode.FAILED_PRECONDITION,
    Reason.RESYNCING: StatusCode.UNAVAILABLE,
    Reason.SNAPSHOT_GONE: StatusCode.FAILED_PRECONDITION,
}


class KvnodeError(Exception):
    """Base of everything kvnode raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled and copied as it is, with all attributes: what made them is not asked again."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class RequestRefused(KvnodeError):
    """The node, or the client before sending, refused; nothing was changed."""

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        facts: dict[str, str] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.facts = facts or {}
        self.retry_after_s = retry_after_s


class InvalidArgument(RequestRefused):
    """The request itself is wrong: key, value, amount, context or message."""


class KeyNotFound(RequestRefused):
    """The key has no visible value; ``context`` is the causal context of that absence."""

    @property
    def context(self) -> bytes:
        """Pass it to ``put`` to replace nothing but what was (not) seen."""
        return bytes.fromhex(self.facts.get("context", ""))


class FailedPrecondition(RequestRefused):
    """The key's type, the sum's range, the clock or the node's identity forbids it."""


class ResourceExhausted(RequestRefused):
    """A queue, the disk or the siblings of a key are full."""


class DataDamaged(RequestRefused):
    """What is stored under the key fails its checksum; it is never served."""


class WatchBehind(RequestRefused):
    """A watch, or the token it was to go on from, is further back than any log that was asked.

    There is no way to tell what was missed: begin anew with all keys (``since=BEGINNING``), and
    drop what was kept of those that do not come.
    """

    @property
    def token(self) -> bytes:
        """Where the watch was: all up to here was told."""
        return bytes.fromhex(self.facts.get("token", ""))


class NodeUnavailable(RequestRefused):
    """No endpoint took the request, or the node is stopping or merging a snapshot."""


class OutcomeUnknown(KvnodeError):
    """A write was sent and no reply came: it happened or it did not.

    The node at ``endpoint`` can tell, also after a restart: the same write under the same
    ``request_id`` gives its first outcome, or does it once. It remembers the ids of its last
    100,000 / n requests at the least, with n nodes. Others know an id once the write has reached
    them; not while they are cut off: that a read there does not show the write says nothing, and
    they would carry it out a second time. So an id goes to this node, by a client with it alone::

        try:
            client.increment("visits", 5)
        except OutcomeUnknown as error:
            with Client(error.endpoint) as same:
                receipt = same.increment("visits", 5, request_id=error.request_id)

    A put or delete with a ``context`` may also simply be repeated with that context, anywhere:
    nothing that its caller did not see is replaced. At worst both puts happened, and the key
    holds the value twice until the next write. Never simply repeat an increment, it may count
    twice.
    """

    def __init__(self, message: str, *, request_id: bytes, endpoint: str, write: str) -> None:
        super().__init__(message)
        self.request_id = request_id
        self.endpoint = endpoint
        self.write = write
        """Which write it is, for messages: "increment of key 'visits'"."""


class DeadlineExceeded(KvnodeError):
    """A read was not answered in time."""


class Behind(DeadlineExceeded):
    """No node had in time what the call was to come after; nothing was changed.

    That is the session, or with a consistency of "quorum" or "all" what other members had.
    ``facts`` name what is missing.
    """

    def __init__(self, message: str, facts: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.facts = facts or {}


class NodeFailure(KvnodeError):
    """The other side answered something no kvnode answers."""


EXCEPTIONS: Final[dict[StatusCode, type[RequestRefused]]] = {
    StatusCode.INVALID_ARGUMENT: InvalidArgument,
    StatusCode.NOT_FOUND: KeyNotFound,
    StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    StatusCode.RESOURCE_EXHAUSTED: ResourceExhausted,
    StatusCode.DATA_LOSS: DataDamaged,
    StatusCode.OUT_OF_RANGE: WatchBehind,
    StatusCode.UNAVAILABLE: NodeUnavailable,
}


CAUSE_CHARACTERS_MAX: Final = 80
"""One cell of a table, or one of several endpoints in a message."""

CAUSES: Final = (
    ("Connection refused", "connection refused"),
    ("Connection reset", "connection reset"),
    ("lookup failed", "host name not found"),
    ("errors resolving", "host name not found"),
    ("DNS resolution failed", "host name not found"),
    ("Failed parsing HTTP/2", "not a gRPC server"),
    ("WRONG_VERSION_NUMBER", "speaks no TLS"),
    ("CERTIFICATE_VERIFY_FAILED", "its certificate is of another authority, or out of date"),
    ("Hostname Verification Check", "its certificate is not for this host"),
    ("before receiving SETTINGS", "connected, but nobody answers"),
)
"""What gRPC's text about a broken connection contains, and what it means."""

CLOSED_AT_ONCE: Final = re.compile(r"failed to connect to all addresses;.*: Socket closed\Z", re.S)
"""A node that speaks TLS says no more to who does not, or shows what it does not trust."""


def cause_of(details: str) -> str:
    """Why a connection failed, in a few words.

    gRPC tells of every layer it went through, outermost first, in some 250 characters; what went
    wrong is in the last part.
    """
    if CLOSED_AT_ONCE.match(details):
        return "closed at once: does it want TLS, or another certificate?"
    for part, meaning in CAUSES:
        if part in details:
            return meaning
    last = re.split(r": |\n", details.strip())[-1].strip(" .!")
    cut = last[:CAUSE_CHARACTERS_MAX]
    return cut if cut == last else cut[:-3] + "..."
