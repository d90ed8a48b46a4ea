"""What each method of a client does, for both kinds of clients: generators without I/O.

``Calls`` is one client's view: its levels, its patience and its session. Each method checks its
arguments, has a request carried out (``Submit``: together with other callers') and makes the
caller's result of the reply. Writes are in ``writing.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

from kvnode.client.channels import addresses_of
from kvnode.client.columns import KeyT, key_column, plain_keys
from kvnode.client.dialling import Dialler, Folder
from kvnode.client.failover import Failover
from kvnode.client.lanes import Entry, Flight
from kvnode.client.levels import (
    Consistency,
    checked_consistency,
    read_options,
)
from kvnode.client.operations import (
    bound_bytes,
    key_bytes,
    page_keys,
    request_id_bytes,
)
from kvnode.client.reads import Shown, Wish, read_entries
from kvnode.client.resolving import Resolver, check_resolver, wanted
from kvnode.client.rpcs import LIST_CONFLICTS, OUTCOME, SCAN
from kvnode.client.states import key_state_of, value_of
from kvnode.client.steps import Steps, Submit
from kvnode.client.values import (
    Absent,
    Conflict,
    Outcome,
    Value,
    dot_of,
    freshness_of,
)
from kvnode.client.writing import Writing
from kvnode.errors import KvnodeError, OutcomeUnknown
from kvnode.v1 import kv_pb2


class Calls(Writing):
    """One client's calls. Immutable but for its session."""

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
        check_resolver(resolve)
        entry = self._read((key_bytes(key),), consistency, self.deadline(timeout_s))
        (state,) = yield from self._shown(entry)
        return wanted(state, default, resolve)

    def batch_get(
        self,
        keys: Iterable[bytes | str],
        consistency: Consistency | None,
        *,
        timeout_s: float | None,
    ) -> Steps[list[Value | Conflict | Absent]]:
        """The states of many keys, in the order asked."""
        asked = tuple([key_bytes(key) for key in key_column(keys)])
        if not asked:
            return []
        entry = self._read(asked, consistency, self.deadline(timeout_s))
        return (yield from self._shown(entry))

    def get_many(
        self,
        keys: Iterable[KeyT],
        consistency: Consistency | None,
        *,
        timeout_s: float | None,
    ) -> Steps[dict[KeyT, bytes | int | Conflict]]:
        """The values of many keys, without those that have none."""
        asked = key_column(keys)
        if not asked:
            return {}
        raw = plain_keys(asked) or [key_bytes(key) for key in asked]
        entry = self._read(tuple(raw), consistency, self.deadline(timeout_s), brief=True)
        shown = yield from self._answer(entry)
        found = dict(zip(asked, shown.states, strict=True))
        if set(map(type, found.values())) <= {bytes, int}:  # as nearly always
            return found
        freshness = freshness_of(shown.reply.freshness)
        told = {key: value_of(each, freshness) for key, each in found.items()}
        return {key: value for key, value in told.items() if value is not None}

    def _read(
        self,
        keys: tuple[bytes, ...],
        consistency: Consistency | None,
        deadline: float,
        *,
        brief: bool = False,
    ) -> Entry:
        session = self.settings.session
        level = self._level(consistency)
        after = session.message() if session and level != "local" else None
        lane = Wish(level, session is not None, self.apart(after), brief)
        size = sum(map(len, keys))
        entry = Entry(lane, keys, size, "the read", deadline, is_write=False)
        entry.after = after
        return entry

    def _shown(self, entry: Entry) -> Steps[list[Value | Conflict | Absent]]:
        found = yield from self._answer(entry)
        freshness = freshness_of(found.reply.freshness)
        return [key_state_of(state, freshness) for state in found.states]

    def _answer(self, entry: Entry) -> Steps[Shown]:
        yield Submit(entry)
        if entry.error is not None:
            raise entry.error
        found: Shown = entry.reply
        self.learn(found.reply)
        return found

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

    # ---- afterwards

    def outcome(
        self, unknown: OutcomeUnknown | bytes | UUID, timeout_s: float | None
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

    def _level(self, consistency: Consistency | None) -> Consistency:
        if consistency is None:
            return self.settings.consistency
        return checked_consistency(consistency, in_session=self.settings.session is not None)

    def _page_options(self, consistency: Consistency | None) -> kv_pb2.ReadOptions:
        level = self._level(consistency)
        session = self.settings.session
        after = session.message() if session and level != "local" else None
        return read_options(level, after)


def flight_plan(failover: Failover, entry: Entry) -> Callable[[Flight], Steps[None]]:
    """How flights of the entry's lane are carried out."""
    if entry.is_write:
        return lambda flight: failover.write(flight.entries, flight.deadline)
    wish = entry.lane
    assert isinstance(wish, Wish)
    return lambda flight: read_entries(failover, wish, flight.entries, flight.deadline)


def failover_of(endpoints: Any, now: Callable[[], float], tls: Folder | None = None) -> Failover:
    """The policy over the endpoints named."""
    return Failover(addresses_of(endpoints), now, Dialler(tls))
