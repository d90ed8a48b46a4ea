"""Which endpoint gets a call, and what follows when it fails.

Reads go round: every endpoint gets an equal share of the time left, so that one hanging node costs
a part of the deadline and not all of it. Writes must never be carried out twice. While it is
certain that nothing was done (no connection, or the node itself refused), the next endpoint is
tried. Once a reply was lost, the write belongs to the node it was sent to: only that node
remembers its request id. It is asked again, with the same id, until the deadline; a write that
is still without a reply then is ``OutcomeUnknown``, whatever else happened.

The endpoint that answered last is asked first next time, which also keeps a caller's own writes
in its sight.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Final

from grpc import RpcError

from kvnode.client.channels import (
    CLOSED,
    FRESH_S,
    Endpoint,
    Method,
    ReplyT,
    RequestT,
    remaining_s,
)
from kvnode.client.status import Failure, Fate, failure_of
from kvnode.errors import (
    InvalidArgument,
    KvnodeError,
    NodeUnavailable,
    OutcomeUnknown,
    RequestRefused,
    ResourceExhausted,
)

RETRY_PAUSE_S: Final = 0.05
"""Between a lost reply and asking again; doubled each time up to ``RETRY_PAUSE_S_MAX``."""

RETRY_PAUSE_S_MAX: Final = 0.5


class Failover:
    """The endpoints of one client, best first. Thread safe."""

    def __init__(self, addresses: Sequence[str], timeout_s: float) -> None:
        self.addresses = tuple(addresses)
        self._timeout_s = timeout_s
        self._endpoints = tuple(Endpoint(address) for address in addresses)
        self._preferred = self._endpoints[0]
        self._closed = threading.Event()

    def close(self) -> None:
        """Close every channel; calls in progress end without a reply."""
        self._closed.set()
        for endpoint in self._endpoints:
            endpoint.close()

    def read(self, method: Method[RequestT, ReplyT], request: RequestT) -> ReplyT:
        """The reply of the first endpoint that gives one."""
        deadline = self._start()
        problems: list[tuple[Endpoint, KvnodeError | None]] = []
        for endpoint, until in self._turns(deadline):
            if not endpoint.reach(until, math.inf):
                problems.append((endpoint, None))
                continue
            try:
                reply = endpoint.call(method, request, remaining_s(until))
            except RpcError as error:
                failure = failure_of(error, endpoint.address)
                if failure.fate in (Fate.REFUSED, Fate.BROKEN):
                    raise failure.exception from failure.cause
                failure.exception.__cause__ = failure.cause
                problems.append((endpoint, failure.exception))
            else:
                self._preferred = endpoint
                return reply
        raise summary(problems)

    def stream(
        self, method: Method[RequestT, ReplyT], request: RequestT, timeout_s: float
    ) -> Iterator[ReplyT]:
        """The replies of the first endpoint that is there; broken off, it is not tried elsewhere.

        ``timeout_s`` is for all of them; the client's own is for finding an endpoint.
        """
        problems: list[tuple[Endpoint, KvnodeError | None]] = []
        for endpoint, until in self._turns(self._start()):
            if not endpoint.reach(until, math.inf):
                problems.append((endpoint, None))
                continue
            try:
                yield from endpoint.stream(method, request, timeout_s)
            except RpcError as error:
                failure = failure_of(error, endpoint.address)
                raise failure.exception from failure.cause
            self._preferred = endpoint
            return
        raise summary(problems)

    def write(
        self,
        method: Method[RequestT, ReplyT],
        request: RequestT,
        request_id: bytes,
        what: str,
        otherwise: str = "",
    ) -> tuple[ReplyT, str]:
        """The reply and the address of the endpoint that took the write.

        ``request_id`` is the one in ``request``; ``what`` names the write in messages, and
        ``otherwise`` says what else than asking again is safe if its outcome is unknown.
        """
        deadline = self._start()
        problems: list[tuple[Endpoint, KvnodeError | None]] = []
        for endpoint, until in self._turns(deadline):
            if not endpoint.reach(until, FRESH_S):
                problems.append((endpoint, None))
                continue
            try:
                reply = endpoint.call(method, request, remaining_s(deadline))
            except RpcError as error:
                failure = failure_of(error, endpoint.address)
                if failure.fate is Fate.ELSEWHERE:
                    failure.exception.__cause__ = failure.cause
                    problems.append((endpoint, failure.exception))
                    continue
                if failure.fate is not Fate.LOST:
                    raise failure.exception from failure.cause
                unknown = OutcomeUnknown(
                    f"no reply from {endpoint.address} to {what}: it may have happened or not;"
                    f" ask {endpoint.address} again with the same request_id{otherwise}",
                    request_id=request_id,
                    endpoint=endpoint.address,
                    write=what,
                )
                unknown.__cause__ = error
                reply = self._ask_again(endpoint, method, request, deadline, unknown)
            self._preferred = endpoint
            return reply, endpoint.address
        raise summary(problems)

    def _ask_again(
        self,
        endpoint: Endpoint,
        method: Method[RequestT, ReplyT],
        request: RequestT,
        deadline: float,
        unknown: OutcomeUnknown,
    ) -> ReplyT:
        """The reply to a write whose first reply was lost, from the same node; else ``unknown``.

        A refusal is no certainty any more: the first request may have been carried out, and its
        memory lost, or may still be on its way. Only a request that is wrong in itself was wrong
        the first time too.
        """
        pause_s = RETRY_PAUSE_S
        while (left_s := deadline - time.monotonic()) > 0:
            if self._closed.wait(min(pause_s, left_s)):
                break
            pause_s = min(2 * pause_s, RETRY_PAUSE_S_MAX)
            if not endpoint.reach(deadline, FRESH_S):
                continue
            try:
                return endpoint.call(method, request, remaining_s(deadline))
            except RpcError as error:
                failure = failure_of(error, endpoint.address)
                if isinstance(failure.exception, InvalidArgument):
                    raise failure.exception from failure.cause
                if is_final(failure):
                    raise unknown from error
                pause_s = wished_pause_s(failure) or pause_s
            except RuntimeError:  # closed by another thread
                break
        raise unknown

    def _start(self) -> float:
        """The deadline of a call that begins now, monotonic seconds."""
        if self._closed.is_set():
            raise RuntimeError(CLOSED)
        return time.monotonic() + self._timeout_s

    def _turns(self, deadline: float) -> Iterator[tuple[Endpoint, float]]:
        """Each endpoint once, with the end of its share of the time left."""
        preferred = self._preferred
        order = sorted(self._endpoints, key=lambda each: (each.resting, each is not preferred))
        for position, endpoint in enumerate(order):
            now = time.monotonic()
            yield endpoint, now + max(0.0, deadline - now) / (len(order) - position)


def is_final(failure: Failure) -> bool:
    """Whether asking the same node again can not bring the outcome of the first request."""
    if failure.fate is Fate.REFUSED:
        return not isinstance(failure.exception, ResourceExhausted)
    return failure.fate is Fate.BROKEN


def wished_pause_s(failure: Failure) -> float | None:
    """How long the node wants to be left alone."""
    refused = failure.exception
    return refused.retry_after_s if isinstance(refused, RequestRefused) else None


def summary(problems: Sequence[tuple[Endpoint, KvnodeError | None]]) -> KvnodeError:
    """What the last endpoint that was reached gave, naming what every endpoint gave."""
    said = [problem for _, problem in problems if problem is not None]
    if len(problems) == 1 and said:
        return said[0]
    if not said:
        names = ", ".join(unreached(endpoint, "") for endpoint, _ in problems)
        return NodeUnavailable(f"no node can be reached at {names}")
    message = "no endpoint answered: " + "; ".join(
        unreached(endpoint, " cannot be reached") if problem is None else str(problem)
        for endpoint, problem in problems
    )
    last = said[-1]
    combined: KvnodeError
    if isinstance(last, RequestRefused):
        combined = type(last)(
            message, reason=last.reason, facts=last.facts, retry_after_s=last.retry_after_s
        )
    else:
        combined = type(last)(message)
    combined.__cause__ = last
    return combined


def unreached(endpoint: Endpoint, verb: str) -> str:
    """An endpoint that could not be reached, and why if gRPC told."""
    why = f" ({endpoint.trouble})" if endpoint.trouble else ""
    return f"{endpoint.address}{verb}{why}"
