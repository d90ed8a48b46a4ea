"""What each method of a client does, for both kinds of clients: generators without I/O.

``Calls`` is one client's view: its levels, its patience and its session. Each method checks its
arguments, has a request carried out (``Submit``: together with other callers') and makes the
caller's result of the reply.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from kvnode.client.channels import MESSAGE_BYTES_MAX, addresses_of
from kvnode.client.failover import Failover
from kvnode.client.lanes import Entry, Flight
from kvnode.client.levels import (
    Consistency,
    Durability,
    checked_consistency,
    checked_durability,
    read_options,
    write_options,
)
from kvnode.client.operations import (
    REQUEST_ID_BYTES,
    Operation,
    bound_bytes,
    key_bytes,
    keys_of,
    page_keys,
    refuse,
    request_id_bytes,
    single_request,
    write_request,
)
from kvnode.client.reads import Shown, Wish, read_entries
from kvnode.client.receipts import batch_receipt_of, receipt_of
from kvnode.client.rpcs import LIST_CONFLICTS, OUTCOME, SCAN
from kvnode.client.settings import Settings, checked_timeout_s
from kvnode.client.steps import Steps, Submit
from kvnode.client.values import (
    Absent,
    BatchReceipt,
    Conflict,
    ConflictError,
    NotReplicated,
    Outcome,
    Receipt,
    Value,
    absence,
    dot_of,
    freshness_of,
    key_state_of,
)
from kvnode.core.errors import Reason
from kvnode.errors import KeyNotFound, KvnodeError, NodeFailure, OutcomeUnknown
from kvnode.v1 import kv_pb2

if TYPE_CHECKING:
    from kvnode.client.sessions import Session
    from kvnode.v1 import types_pb2

DEFAULT_PAGE_KEYS: Final = 1_000

REPEATABLE: Final = ", or repeat it with the same context"
"""What else a caller may do about a put or delete with a context whose outcome is unknown."""

MISSING: Final[Any] = object()
"""No default was given."""

Resolver = Callable[[Conflict], bytes | str]
"""Makes one value of the several of a conflict; see ``kvnode.resolvers``."""

DefaultT = TypeVar("DefaultT")


class Calls:
    """One client's calls. Immutable but for its session."""

    def __init__(self, failover: Failover, settings: Settings) -> None:
        self.failover = failover
        self.settings = settings

    def deadline(self, timeout_s: float | None) -> float:
        """When a call that begins now ends, monotonic seconds."""
        patience_s = self.settings.timeout_s if timeout_s is None else checked_timeout_s(timeout_s)
        return self.failover.now() + patience_s

    # ---- reading

    def get(
        self,
        key: bytes | str,
        default: Any,
        resolve: Resolver | None,
        consistency: Consistency | None,
        *,
        timeout_s: float | None,
    ) -> Steps[Any]:
        """A Value or Conflict, or ``default``; KeyNotFound without one."""
        try:
            state = yield from self.state(key, consistency, deadline=self.deadline(timeout_s))
        except KeyNotFound:
            if default is MISSING:
                raise
            return default
        return resolved(state, resolve) if resolve else state

    def state(
        self,
        key: bytes | str,
        consistency: Consistency | None,
        *,
        deadline: float,
    ) -> Steps[Value | Conflict]:
        """What is under a key. KeyNotFound if that is nothing."""
        raw = key_bytes(key)
        entry = self._read((raw,), consistency, deadline)
        (state,) = yield from self._shown(entry)
        if isinstance(state, Absent):
            raise absence(state)
        return state

    def batch_get(
        self,
        keys: Iterable[bytes | str],
        consistency: Consistency | None,
        *,
        timeout_s: float | None,
    ) -> Steps[list[Value | Conflict | Absent]]:
        """The states of many keys, in the order asked."""
        asked = tuple([key_bytes(key) for key in keys])
        if not asked:
            return []
        entry = self._read(asked, consistency, self.deadline(timeout_s))
        return (yield from self._shown(entry))

    def _read(
        self,
        keys: tuple[bytes, ...],
        consistency: Consistency | None,
        deadline: float,
    ) -> Entry:
        session = self.settings.session
        level = self._level(consistency)
        after = session.message() if session and level != "local" else None
        return Entry(
            lane=Wish(level, session is not None, self._apart(after)),
            request=None,
            keys=keys,
            size=sum(map(len, keys)),
            verb="the read",
            deadline=deadline,
            is_write=False,
            after=after,
        )

    def _shown(self, entry: Entry) -> Steps[list[Value | Conflict | Absent]]:
        yield Submit(entry)
        if entry.error is not None:
            raise entry.error
        found: Shown = entry.reply
        self.learn(found.reply)
        freshness = freshness_of(found.reply.freshness)
        return [key_state_of(state, freshness) for state in found.states]

    def scan_request(
        self,
        prefix: bytes | str,
        start: bytes | str,
        end: bytes | str,
        page_size: int,
        consistency: Consistency | None,
    ) -> kv_pb2.ScanRequest:
        """Checked at the call, not at the first key."""
        return kv_pb2.ScanRequest(
            prefix=bound_bytes(prefix, "prefix"),
            start=bound_bytes(start, "start"),
            end=bound_bytes(end, "end"),
            limit=page_keys(page_size),
            options=self._page_options(consistency),
        )

    def conflicts_request(
        self, prefix: bytes | str, page_size: int, consistency: Consistency | None
    ) -> kv_pb2.ListConflictsRequest:
        """Likewise."""
        return kv_pb2.ListConflictsRequest(
            prefix=bound_bytes(prefix, "prefix"),
            limit=page_keys(page_size),
            options=self._page_options(consistency),
        )

    def page(
        self, request: kv_pb2.ScanRequest | kv_pb2.ListConflictsRequest, timeout_s: float | None
    ) -> Steps[tuple[list[Value | Conflict], bytes]]:
        """One page, and the token of the next; empty after the last."""
        deadline = self.deadline(timeout_s)
        reply: kv_pb2.ScanResponse | kv_pb2.ListConflictsResponse
        if isinstance(request, kv_pb2.ScanRequest):
            reply = yield from self.failover.read(SCAN, request, deadline)
        else:
            reply = yield from self.failover.read(LIST_CONFLICTS, request, deadline)
        self.learn(reply)
        freshness = freshness_of(reply.freshness)
        states = [key_state_of(state, freshness) for state in reply.states]
        return [each for each in states if not isinstance(each, Absent)], reply.next_page_token

    # ---- writing

    def write_one(
        self,
        operation: Operation,
        verb: str,
        request_id: bytes | None,
        durability: Durability | None,
        timeout_s: float | None,
    ) -> Steps[Receipt]:
        """One operation; its receipt."""
        request = single_request(operation, self._request_id(request_id))
        keys = (key_bytes(operation.key),)
        entry = self.entry(request, keys, durability, self.deadline(timeout_s))
        entry.verb = verb
        if getattr(operation, "context", None):
            entry.otherwise = REPEATABLE
        reply, endpoint = yield from self._written(entry, receipt_of)
        return receipt_of(reply, endpoint)

    def write(
        self,
        operations: Iterable[Operation],
        request_id: bytes | None,
        durability: Durability | None,
        timeout_s: float | None,
    ) -> Steps[BatchReceipt]:
        """All operations or none."""
        request = write_request(operations, self._request_id(request_id))
        entry = self.entry(request, keys_of(request), durability, self.deadline(timeout_s))
        reply, endpoint = yield from self._written(entry, batch_receipt_of)
        return batch_receipt_of(reply, endpoint)

    def entry(
        self,
        request: kv_pb2.WriteRequest,
        keys: tuple[bytes, ...],
        durability: Durability | None,
        deadline: float,
    ) -> Entry:
        """A write, not yet sent."""
        size = request.ByteSize()
        if size > MESSAGE_BYTES_MAX:  # its contexts do not count for the node
            raise refuse(
                Reason.BATCH_TOO_LARGE, f"the batch takes more than {MESSAGE_BYTES_MAX} bytes"
            )
        settings = self.settings
        level = settings.durability if durability is None else checked_durability(durability)
        after = settings.session.message() if settings.session else None
        options = write_options(level, after)
        if options is not None:
            request.options.CopyFrom(options)
        return Entry(
            lane=("write", level, after is not None, self._apart(after)),  # no read has this one
            request=request,
            keys=keys,
            size=size,
            verb="a batch",
            deadline=deadline,
            is_write=True,
            request_id=request.request_id,
            after=after,
        )

    def _written(
        self, entry: Entry, receipt: Callable[[kv_pb2.WriteResponse, str], Receipt | BatchReceipt]
    ) -> Steps[tuple[kv_pb2.WriteResponse, str]]:
        yield Submit(entry)
        error = entry.error
        reply: kv_pb2.WriteResponse | None
        reply, endpoint = entry.reply or (None, "")
        if reply is not None:
            count = len(entry.request.operations)
            if len(reply.results) != count:
                raise NodeFailure(f"{count} operations sent, {len(reply.results)} results")
            self.learn(reply)
        if isinstance(error, NotReplicated) and reply is not None:
            error.receipt = receipt(reply, endpoint)
        if error is not None:
            raise error
        assert reply is not None, "settled without a reply and without an error"
        return reply, endpoint

    # ---- afterwards

    def outcome(
        self, unknown: OutcomeUnknown | bytes, timeout_s: float | None
    ) -> Steps[Outcome | None]:
        """What any endpoint knows of a write; first the one it was sent to is asked."""
        request_id = unknown.request_id if isinstance(unknown, OutcomeUnknown) else unknown
        first = unknown.endpoint if isinstance(unknown, OutcomeUnknown) else ""
        request = kv_pb2.OutcomeRequest(request_id=request_id_bytes(request_id))
        deadline = self.deadline(timeout_s)
        addresses = sorted(self.failover.addresses, key=lambda each: each != first)
        problem: KvnodeError | None = None
        for position, address in enumerate(addresses):
            left_s = max(0.0, deadline - self.failover.now())
            until = self.failover.now() + left_s / (len(addresses) - position)
            try:
                reply = yield from self.failover.ask(address, OUTCOME, request, until)
            except KvnodeError as error:
                problem = problem or error
                continue
            if reply.known:
                self.learn(reply)
                return Outcome(tuple(map(dot_of, reply.dots)), reply.node, address)
        if problem is not None:
            raise problem
        return None

    # ----

    def learn(self, reply: Any) -> None:
        """The session has seen what the node had when it replied."""
        if self.settings.session is not None:
            self.settings.session.learn(reply.session)

    def _apart(self, after: types_pb2.VersionVector | None) -> Session | None:
        """The session, if its node may have to wait for what it has seen: others would wait too,
        for ever if that was lost or the token was forged.
        """
        if after is None or self.failover.shows(after):
            return None
        return self.settings.session

    def _level(self, consistency: Consistency | None) -> Consistency:
        if consistency is None:
            return self.settings.consistency
        return checked_consistency(consistency, in_session=self.settings.session is not None)

    def _page_options(self, consistency: Consistency | None) -> kv_pb2.ReadOptions:
        level = self._level(consistency)
        session = self.settings.session
        after = session.message() if session and level != "local" else None
        return read_options(level, after)

    def new_request_id(self) -> bytes:
        """For a write whose caller has none."""
        return os.urandom(REQUEST_ID_BYTES)

    def _request_id(self, given: bytes | None) -> bytes:
        """The caller's request id, or a new one."""
        if given is None:
            return self.new_request_id()
        if len(self.failover.addresses) > 1:
            raise refuse(
                Reason.BAD_REQUEST,
                "a request id means something to one node only; use a client with one endpoint",
            )
        return request_id_bytes(given)


def resolved(state: Value | Conflict, resolve: Resolver | None) -> Value:
    """The value; in a conflict what the caller's function makes of it, ConflictError without."""
    if isinstance(state, Value):
        return state
    if resolve is None:
        raise ConflictError(state)
    made = resolve(state)
    if not isinstance(made, (bytes, str)):
        hint = " (resolvers.union() with parentheses?)" if callable(made) else ""
        raise TypeError(f"a resolver returns bytes or str, not {type(made).__name__}{hint}")
    return Value(
        state.key,
        state.context,
        state.g_counter,
        state.pn_counter,
        state.register,
        state.siblings,
        state.freshness,
        made.encode() if isinstance(made, str) else made,
    )


def flight_plan(failover: Failover, entry: Entry) -> Callable[[Flight], Steps[None]]:
    """How flights of the entry's lane are carried out."""
    if entry.is_write:
        return lambda flight: failover.write(flight.entries, flight.deadline)
    wish = entry.lane
    assert isinstance(wish, Wish)
    return lambda flight: read_entries(failover, wish, flight.entries, flight.deadline)


def failover_of(endpoints: Any, now: Callable[[], float]) -> Failover:
    """The policy over the endpoints named."""
    return Failover(addresses_of(endpoints), now)
