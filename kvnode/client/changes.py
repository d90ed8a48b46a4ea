"""What a watch hands out, and how it makes its way: which endpoint next, when it ends.

``Course`` is told of responses and failures and says what follows; it reads, writes and waits for
nothing itself, so threads and asyncio (``watching.py``) share it. ``Readers`` sees that only one
iteration at a time moves it.

=============================  ================================================================
the endpoint                   what follows
=============================  ================================================================
cannot be reached, breaks off  the next one, from the last token; a pause after each full round
does not have it all yet       the same (WATCH_AHEAD)
has too many watches, stops    the same
has not kept what comes next,  the next one, but not this one again: when all say so that is the
or does not know of watches    end
refuses for another reason     the end: all would
=============================  ================================================================

The end also comes when no endpoint has told of anything for ``patience_s``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from threading import Lock
from typing import Final, NamedTuple, cast

from grpc import Call, StatusCode

from kvnode.client.channels import addresses_of
from kvnode.client.operations import bound_bytes, refuse
from kvnode.client.settings import checked_heartbeat_s, positive_s
from kvnode.client.states import key_state_of
from kvnode.client.status import Failure, Fate
from kvnode.client.values import DataType, Dot, KeyState, dot_of
from kvnode.core.errors import Reason
from kvnode.errors import (
    DeadlineExceeded,
    KvnodeError,
    NodeUnavailable,
    RequestRefused,
    WatchBehind,
    cause_of,
)
from kvnode.v1 import watch_pb2

BEGINNING: Final = b""
"""``since`` this: first all keys that are there, then what changes."""

SILENT_BEATS: Final = 3
"""Heartbeats that may be missed before a node counts as gone."""
SILENT_S_MIN: Final = 1.0
"""A busy machine is not a dead one."""
FIRST_S: Final = 5.0
"""A node's first response comes at once; who does not send it by then is not there."""
WAITING_S: Final = 1.0
"""How long no endpoint may be well before that is told: another one mostly is at once."""
PAUSE_S: Final = 0.05
"""After every endpoint has failed; doubled each time up to ``PAUSE_S_MAX``."""
PAUSE_S_MAX: Final = 1.0
SECOND_READER: Final = (
    "this watch has another reader: one thread or task iterates over a watch; make one for each"
)


class WriteKind(IntEnum):
    """What a write did; the numbers are those of the wire."""

    PUT = 1
    INCREMENT = 2
    DELETE = 3


class KeyWrite(NamedTuple):
    """One write of a key."""

    dot: Dot
    type: DataType
    kind: WriteKind


@dataclass(frozen=True, slots=True)
class Change:
    """A key that was written, or was there when the watch began."""

    state: KeyState
    """The key as it was when the node told of it; not ``visible`` if it was absent."""
    writes: tuple[KeyWrite, ...]
    """Empty: no write, the key was there."""
    token: bytes
    """Where to go on when this change was taken care of. Inside a step that is the step's
    beginning: who goes on there is told the whole step again."""

    @property
    def key(self) -> bytes:
        """The key."""
        return self.state.key


@dataclass(frozen=True, slots=True)
class Step:
    """What belongs together, with the token behind it. A batch is whole in one step."""

    changes: tuple[Change, ...]
    """None: only the token has moved, over what others wrote; or not even that (``idle_s``)."""
    token: bytes
    current: bool
    """All steps so far are together the state of one moment, all that the node had."""


class Course:
    """Where a watch is, which endpoint is asked next, and when it ends. No input or output."""

    def __init__(
        self,
        endpoints: str | Sequence[str],
        prefix: bytes | str,
        since: bytes | None,
        *,
        patience_s: float,
        heartbeat_s: float,
    ) -> None:
        self.addresses = addresses_of(endpoints)
        self.prefix = bound_bytes(prefix, "prefix")
        self.token = _checked_since(since) or b""
        self.silence_s = FIRST_S
        """How long the next response may take."""
        self._existing = since == BEGINNING
        self._heartbeat_s = checked_heartbeat_s(heartbeat_s)
        self._patience_s = positive_s(patience_s, "patience_s")
        self._at = 0
        self._failures = 0
        """Since an endpoint was well."""
        self._ill_at: float | None = None
        """When the first of them was."""
        self._complained = False
        """Whether that was told."""
        self._answered = False
        self._hopeless: dict[str, KvnodeError] = {}
        """Endpoints that cannot go on from this token, whenever they are asked."""
        self._parts: list[watch_pb2.Change] = []
        self._told = False

    @property
    def address(self) -> str:
        """The endpoint to ask now."""
        return self.addresses[self._at]

    def described(self) -> str:
        """The arguments of a watch that goes on from here."""
        since = self.token or (BEGINNING if self._existing else None)
        return f"{','.join(self.addresses)!r}, prefix={self.prefix!r}, since={since!r}"

    def request(self) -> watch_pb2.WatchRequest:
        """What to ask it."""
        self._parts.clear()
        self._answered = False
        self.silence_s = FIRST_S
        return watch_pb2.WatchRequest(
            prefix=self.prefix,
            since=self.token,
            existing=self._existing and not self.token,
            heartbeat_ms=round(self._heartbeat_s * 1000),
        )

    def take(self, response: watch_pb2.WatchResponse) -> Step | None:
        """The step that is complete with this response, if one is and it says something new."""
        self._answered = True
        self.silence_s = max(SILENT_S_MIN, SILENT_BEATS * self._heartbeat_s)
        if response.waiting:
            return None
        self._ill_at, self._failures, self._complained = None, 0, False
        self._hopeless.clear()
        self._parts.extend(response.changes)
        if not response.token:
            return None
        before, self.token = self.token, response.token
        last = len(self._parts) - 1
        changes = tuple(
            _change(part, self.token if index == last else before)
            for index, part in enumerate(self._parts)
        )
        self._parts.clear()
        news = bool(changes) or self.token != before or (response.current and not self._told)
        self._told = response.current
        return Step(changes, self.token, response.current) if news else None

    def still(self) -> Step:
        """That nothing came since the last step."""
        return Step((), self.token, self._told)

    def failed(self, failure: Failure, now_s: float) -> float:
        """How long to wait before the next endpoint is asked; raises what ends the watch."""
        exception = failure.exception
        if self._answered and isinstance(exception, DeadlineExceeded):
            return 0.0  # the call was as long as a call may be
        if _speaks_for_all(failure):
            raise self._marked(exception) from failure.cause
        if isinstance(exception, WatchBehind) or failure.fate is Fate.BROKEN:
            self._hopeless[self.address] = exception
            if len(self._hopeless) == len(self.addresses):
                raise self._marked(exception) from failure.cause
        if self._ill_at is None:
            self._ill_at = now_s
        if now_s - self._ill_at > self._patience_s:
            ends = next(iter(self._hopeless.values()), None) or NodeUnavailable(
                f"no endpoint has told of changes for {self._patience_s:g} s, the last one asked"
                f" was {self.address} ({why(failure)})"
            )
            raise self._marked(ends) from failure.cause
        self._at = (self._at + 1) % len(self.addresses)
        self._failures += 1
        rounds = self._failures // len(self.addresses)
        return min(PAUSE_S_MAX, PAUSE_S * 2.0**rounds) if rounds else 0.0

    def complaint(self, failure: Failure, now_s: float) -> str:
        """Whom the watch waits for and why; once, when none has been well for ``WAITING_S``."""
        if self._complained or self._ill_at is None or now_s - self._ill_at < WAITING_S:
            return ""
        self._complained = True
        return f"{', '.join(self.addresses)} ({why(failure)})"

    def _marked(self, error: KvnodeError) -> KvnodeError:
        """The error with the token."""
        if isinstance(error, RequestRefused):
            error.facts["token"] = self.token.hex()
        return error


class Readers:
    """Lets one iteration at a time read a watch: two would share out its place, and its steps.

    A new one is refused while the one before waits for a step. If that is between two steps, who
    made it may well have left it there, in asyncio also after ``break``; so the new one goes on
    from its token, and the old one is refused if it comes back.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._reader: object = None
        self._waits = False

    def begin(self) -> object:
        """A new one, which waits from now on. RuntimeError if another does."""
        reader = object()
        self._enter(reader, self._reader)
        return reader

    def enter(self, reader: object) -> None:
        """It waits for a step again. RuntimeError if there is another one."""
        self._enter(reader, reader)

    def leave(self, reader: object) -> None:
        """It got a step, or it is over."""
        with self._lock:
            if self._reader is reader:
                self._waits = False

    def _enter(self, reader: object, before: object) -> None:
        with self._lock:
            if self._waits or self._reader is not before:
                raise RuntimeError(SECOND_READER)
            self._reader, self._waits = reader, True


def why(failure: Failure) -> str:
    """Why an endpoint tells nothing, in a few words if the transport said it."""
    if failure.cause is not None:
        ended = cast("Call", failure.cause)
        if ended.code() is StatusCode.UNAVAILABLE:
            return cause_of(ended.details() or "")
    return str(failure.exception)


def _checked_since(since: bytes | None) -> bytes | None:
    """Whether a node knows of the token is its to say."""
    if since is not None and not isinstance(since, bytes):
        raise refuse(
            Reason.BAD_TOKEN,
            f"since={since!r} is not a token: pass the bytes that a step or watch.token gave, or"
            " since=kvnode.BEGINNING for all that is there first, or none: from now on",
        )
    return since


def _change(message: watch_pb2.Change, token: bytes) -> Change:
    writes = tuple(
        KeyWrite(dot_of(write.dot), DataType(write.type), WriteKind(write.kind))
        for write in message.writes
    )
    return Change(key_state_of(message.state), writes, token)


def _speaks_for_all(failure: Failure) -> bool:
    """Whether every node would refuse this."""
    error = failure.exception
    return (
        failure.fate is Fate.REFUSED
        and not isinstance(error, WatchBehind)
        and getattr(error, "reason", "") != Reason.TOO_MANY_WATCHES
    )
