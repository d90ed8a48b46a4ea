"""Why the core refuses something, as a machine-readable reason.

The reason travels to clients unchanged (``google.rpc.ErrorInfo.reason``); the gRPC code and the
Python exception that belong to it stand in one table, ``kvnode/errors.py``.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Every way a request can be refused. Names are API: they never change."""

    # the request is wrong
    BAD_KEY = "BAD_KEY"
    BAD_VALUE = "BAD_VALUE"
    BAD_AMOUNT = "BAD_AMOUNT"
    BAD_CONTEXT = "BAD_CONTEXT"
    BAD_REQUEST = "BAD_REQUEST"
    BATCH_TOO_LARGE = "BATCH_TOO_LARGE"
    MALFORMED_MESSAGE = "MALFORMED_MESSAGE"
    UNKNOWN_FIELD = "UNKNOWN_FIELD"
    BAD_TOKEN = "BAD_TOKEN"
    # the state does not allow it
    KEY_NOT_FOUND = "KEY_NOT_FOUND"
    NO_SUCH_RECORD = "NO_SUCH_RECORD"
    TYPE_CONFLICT = "TYPE_CONFLICT"
    COUNTER_OVERFLOW = "COUNTER_OVERFLOW"
    CLOCK_OFF = "CLOCK_OFF"
    NODE_FENCED = "NODE_FENCED"
    WRONG_CLUSTER = "WRONG_CLUSTER"
    STATE_DAMAGED = "STATE_DAMAGED"
    # too much
    TOO_MANY_SIBLINGS = "TOO_MANY_SIBLINGS"
    QUEUE_FULL = "QUEUE_FULL"
    DISK_FULL = "DISK_FULL"
    TOO_MANY_WATCHES = "TOO_MANY_WATCHES"
    # not in time
    BEHIND = "BEHIND"
    NOT_REPLICATED = "NOT_REPLICATED"
    # not now
    STOPPING = "STOPPING"
    JOINING = "JOINING"
    FORGOTTEN = "FORGOTTEN"
    WATCH_AHEAD = "WATCH_AHEAD"
    # not any more
    WATCH_BEHIND = "WATCH_BEHIND"
    # between nodes
    NAME_TAKEN = "NAME_TAKEN"
    ALREADY_RUNNING = "ALREADY_RUNNING"
    # changes of the membership
    NO_NEWCOMER = "NO_NEWCOMER"
    PEERS_BEHIND = "PEERS_BEHIND"
    RESYNCING = "RESYNCING"
    SNAPSHOT_GONE = "SNAPSHOT_GONE"


def quoted(key: bytes) -> str:
    """A key in a message: as text where it is text, cut after 60 characters."""
    text = key.decode("utf-8", "backslashreplace")
    return repr(text if len(text) <= 60 else text[:57] + "...")


class Refused(Exception):
    """A request that changed nothing. ``facts`` name the key or limit, as strings."""

    operation = 0
    """Which of the request's operations it is about, if the writer refused it."""

    def __init__(self, reason: Reason, message: str, **facts: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.facts = facts


class OutcomeUnclear(Exception):
    """A request that was handed to the log, which failed: it happened or it did not."""


class BlockError(Exception):
    """Bytes that are not a well-formed block, or a block that breaks a rule."""


class StateError(Exception):
    """Bytes that are not a well-formed stored state."""
