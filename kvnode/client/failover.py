"""Which endpoint gets a call, and what follows when it fails.

The endpoints are asked in the order given, the nearest first. One that could not take a call rests
and is asked last; after a pause its health is asked for on the side, and once it is well it has
its place again.

Reads go round: every endpoint gets an equal share of the time left, so that one hanging node costs
a part of the deadline and not all of it. Writes must never be carried out twice. While it is
certain that nothing was done (no connection, or the node itself refused), the next endpoint is
tried. Once a reply was lost, the write belongs to the node it was sent to: only that node
remembers its request id for certain. It is asked again, with the same id, until the deadline; a
write that is still without a reply then is ``OutcomeUnknown``, whatever else happened.

Several callers' requests travel in one flight (``lanes.py``); each has a fate of its own.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from grpc import RpcError, StatusCode

from kvnode.client.alike import (
    draw_ids,
    last_session,
    many_answers,
    many_request,
    parted,
    request_of,
)
from kvnode.client.channels import (
    CLOSED,
    FRESH_S,
    QUESTION,
    REACH_S_MAX,
    SILENT,
    WELL,
    Endpoint,
    Method,
    ReplyT,
    RequestT,
)
from kvnode.client.dialling import PLAIN, Dialler
from kvnode.client.lanes import Entry, overtaken
from kvnode.client.rpcs import WRITE, WRITE_MANY
from kvnode.client.settling import (
    is_final,
    raised,
    refuse,
    summary,
    unknown,
    wished_pause_s,
)
from kvnode.client.status import Failure, Fate, failure_of
from kvnode.client.steps import Look, Pause, Send, StepAside, Steps
from kvnode.client.values import NotReplicated
from kvnode.errors import (
    InvalidArgument,
    KvnodeError,
    cause_of,
)
from kvnode.v1 import kv_pb2

if TYPE_CHECKING:
    from kvnode.v1 import types_pb2

RETRY_PAUSE_S: Final = 0.05
"""Between a lost reply and asking again; doubled each time up to ``RETRY_PAUSE_S_MAX``."""

RETRY_PAUSE_S_MAX: Final = 0.5


class Failover:
    """The endpoints of one client, the nearest first."""

    def __init__(
        self, addresses: Sequence[str], now: Callable[[], float], dialler: Dialler = PLAIN
    ) -> None:
        """``now``: monotonic seconds."""
        self.dialler = dialler
        self.addresses = tuple(addresses)
        self.now = now
        self.closed = False
        self._endpoints = tuple(Endpoint(address) for address in addresses)

    def read(
        self, method: Method[RequestT, ReplyT], request: RequestT, deadline: float
    ) -> Steps[ReplyT]:
        """The reply of the first endpoint that gives one."""
        problems: list[tuple[Endpoint, KvnodeError | None]] = []
        turns = yield from self._turns()
        for position, endpoint in enumerate(turns):
            until = self._share(deadline, len(turns) - position)
            if not (yield from self._reach(endpoint, until, math.inf)):
                problems.append((endpoint, None))
                continue
            reply = yield Send(endpoint, method, request, self._left_s(until))
            if not isinstance(reply, RpcError):
                endpoint.answered(self.now())
                if isinstance(reply, kv_pb2.BatchGetResponse):
                    endpoint.showed(reply.session)
                found: ReplyT = reply
                return found
            failure = self.failed(endpoint, reply)
            if failure.fate is Fate.UNSENT:
                problems.append((endpoint, None))
                continue
            failure.exception.__cause__ = failure.cause
            if failure.fate in (Fate.REFUSED, Fate.BROKEN):
                raise failure.exception
            problems.append((endpoint, failure.exception))
        raise summary(problems)

    def ask(
        self, address: str, method: Method[RequestT, ReplyT], request: RequestT, deadline: float
    ) -> Steps[ReplyT]:
        """The reply of one endpoint."""
        endpoint = next(each for each in self._endpoints if each.address == address)
        if not (yield from self._reach(endpoint, deadline, math.inf)):
            raise summary([(endpoint, None)])
        reply = yield Send(endpoint, method, request, self._left_s(deadline))
        if isinstance(reply, RpcError):
            failure = self.failed(endpoint, reply)
            raise summary([(endpoint, None if failure.fate is Fate.UNSENT else raised(failure))])
        endpoint.answered(self.now())
        found: ReplyT = reply
        return found

    def place(self, deadline: float, fresh_s: float = math.inf) -> Steps[Endpoint]:
        """An endpoint that is there, for a stream: it answered within ``fresh_s``, or does now."""
        problems: list[tuple[Endpoint, KvnodeError | None]] = []
        turns = yield from self._turns()
        for position, endpoint in enumerate(turns):
            until = self._share(deadline, len(turns) - position)
            if (yield from self._reach(endpoint, until, fresh_s)):
                return endpoint
            problems.append((endpoint, None))
        raise summary(problems)

    def write(self, entries: Sequence[Entry], deadline: float) -> Steps[None]:
        """Settle every entry, in the order given."""
        draw_ids(entries)
        rest = list(entries)
        turns = yield from self._turns()
        for position, endpoint in enumerate(turns):
            until = self._share(deadline, len(turns) - position)
            if not (yield from self._reach(endpoint, until, FRESH_S)):
                for entry in rest:
                    entry.problems += ((endpoint, None),)
                continue
            rest = yield from self._write_at(endpoint, rest, deadline, until)
            if not rest:
                return
        for entry in rest:
            entry.fail(summary(entry.problems))

    def shows(self, wanted: types_pb2.VersionVector) -> bool:
        """Whether the node that the next call goes to has all that for certain."""
        endpoints = self._endpoints
        return next((each for each in endpoints if not each.resting), endpoints[0]).has(wanted)

    def looked(self, endpoint: Endpoint, reply: object) -> None:
        """What came of a ``Look``: bytes or gRPC's error."""
        if isinstance(reply, RpcError):
            if reply.code() is not StatusCode.UNIMPLEMENTED:
                endpoint.rest(self.now())
                return
        elif reply != WELL:
            endpoint.rest(self.now())
            return
        endpoint.spoke(self.now())
        endpoint.resting = False

    # ---- one endpoint

    def _write_at(
        self, endpoint: Endpoint, entries: Sequence[Entry], deadline: float, until: float
    ) -> Steps[list[Entry]]:
        """Have one node carry them out; those that another one may take are returned."""
        sent = [entry for entry in entries if entry.depart(endpoint.address)]
        if not sent:
            return []
        # what a node does not have yet another one may: waiting for it takes a share only
        waits = [entry for entry in sent if entry.after is not None]
        limit = until if waits else deadline
        answers = yield from self._send(endpoint, sent, limit)
        if isinstance(answers, Failure):
            if len(sent) > 1 and isinstance(answers.exception, InvalidArgument):
                return (yield from self._halves(endpoint, sent, deadline, until))
            answers = [answers] * len(sent)
        lost, elsewhere = self.judge(endpoint, sent, answers)
        if lost:
            yield StepAside()
            yield from self.ask_again(endpoint, lost, deadline)
        return elsewhere

    def judge(
        self, endpoint: Endpoint, sent: Sequence[Entry], answers: Sequence[object]
    ) -> tuple[list[Entry], list[Entry]]:
        """Settle what the answers settle; who lost the reply, and who may be sent elsewhere."""
        lost: list[Entry] = []
        elsewhere: list[Entry] = []
        if Failure not in map(type, answers):  # as nearly always
            for entry, answer in zip(sent, answers, strict=True):
                entry.settle(answer)
            return lost, elsewhere
        done = [not isinstance(each, Failure) or each.fate is Fate.LOST for each in answers]
        late = overtaken(sent, done)
        for entry, answer in zip(sent, answers, strict=True):
            if not isinstance(answer, Failure):
                entry.settle(answer)
            elif answer.fate is Fate.LOST:
                entry.unknown = entry.unknown_at(endpoint.address)
                entry.unknown.__cause__ = answer.cause or answer.exception
                lost.append(entry)
            elif answer.fate in (Fate.ELSEWHERE, Fate.UNSENT) and entry not in late:
                entry.stay()
                said = raised(answer) if answer.fate is Fate.ELSEWHERE else None
                entry.problems += ((endpoint, said),)
                elsewhere.append(entry)
            else:
                refuse(entry, answer)
        return lost, elsewhere

    def _halves(
        self, endpoint: Endpoint, entries: Sequence[Entry], deadline: float, until: float
    ) -> Steps[list[Entry]]:
        """One of them is wrong, or all together are too much: nothing was done yet."""
        middle = len(entries) // 2
        first = yield from self._write_at(endpoint, entries[:middle], deadline, until)
        second = yield from self._write_at(endpoint, entries[middle:], deadline, until)
        return first + second

    def ask_again(
        self, endpoint: Endpoint, entries: Sequence[Entry], deadline: float
    ) -> Steps[None]:
        """Settle entries whose first reply was lost, by the same node; else they are unknown.

        A refusal is no certainty any more: the first request may have been carried out, and its
        memory lost, or may still be on its way. Only a request that is wrong in itself was wrong
        the first time too.
        """
        pause_s = RETRY_PAUSE_S
        lost = list(entries)
        while lost and (left_s := deadline - self.now()) > 0:
            jitter = 0.75 + random.random() / 2
            if (yield Pause(min(pause_s * jitter, left_s))):
                break
            pause_s = min(2 * pause_s, RETRY_PAUSE_S_MAX)
            lost = [entry for entry in lost if not entry.abandoned]
            try:
                if not lost or not (yield from self._reach(endpoint, deadline, FRESH_S)):
                    continue
                answers = yield from self._send(endpoint, lost, deadline)
            except RuntimeError:  # closed by another thread
                break
            if isinstance(answers, Failure):
                answers = [answers] * len(lost)
            still: list[Entry] = []
            for entry, answer in zip(lost, answers, strict=True):
                if not isinstance(answer, Failure):
                    entry.settle(answer)
                elif isinstance(answer.exception, (InvalidArgument, NotReplicated)):
                    refuse(entry, answer)
                elif is_final(answer):
                    unknown(entry)
                else:
                    pause_s = wished_pause_s(answer) or pause_s
                    still.append(entry)
            lost = still
        for entry in lost:
            unknown(entry)

    def _send(
        self, endpoint: Endpoint, entries: Sequence[Entry], limit: float
    ) -> Steps[list[Any] | Failure]:
        """An answer to each, as ``many_answers`` gives them; or one Failure for the whole call."""
        if len(entries) == 1:
            (entry,) = entries
            reply = yield Send(endpoint, WRITE, request_of(entry), self._left_s(limit))
            if isinstance(reply, RpcError):
                return self.failed(endpoint, reply)
            endpoint.answered(self.now())
            if entry.after is not None:
                endpoint.showed(reply.session)
            return [(reply, endpoint.address)]
        parts = parted(entries)
        reply = yield Send(endpoint, WRITE_MANY, many_request(parts), self._left_s(limit))
        if isinstance(reply, RpcError):
            return self.failed(endpoint, reply)
        endpoint.answered(self.now())
        answers = many_answers(reply, parts, endpoint)
        if isinstance(answers, Failure):
            return answers
        endpoint.showed(last_session(reply))
        if len(parts) == 1:
            return answers
        found = dict(zip(chain.from_iterable(part for _, part in parts), answers, strict=True))
        return [found[entry] for entry in entries]

    def _reach(self, endpoint: Endpoint, until: float, fresh_s: float) -> Steps[bool]:
        """Whether the node is there: it answered within the last ``fresh_s``, or does so now.

        A refused connection is False at once. Where the last attempt failed already, gRPC rests
        before it connects again, and waiting for that is part of the question.
        """
        now = self.now()
        if endpoint.answered_at is not None and now < endpoint.answered_at + fresh_s:
            return True
        timeout_s = self._left_s(min(until, now + REACH_S_MAX))
        waits = bool(endpoint.trouble)
        error = yield Send(endpoint, QUESTION, b"", timeout_s, wait=waits)
        if not isinstance(error, RpcError) or error.code() not in SILENT:
            endpoint.spoke(self.now())
            return True
        why = cause_of(error.details() or "") if error.code() is StatusCode.UNAVAILABLE else ""
        endpoint.silent(self.now(), why)
        return False

    def failed(self, endpoint: Endpoint, error: RpcError) -> Failure:
        """What the end of a call shows; also an error can show that somebody is there."""
        failure = failure_of(error, endpoint.address)
        now = self.now()
        if failure.fate is Fate.REFUSED:
            endpoint.answered(now)
        elif failure.fate is Fate.UNSENT:
            endpoint.silent(now, cause_of(error.details() or ""))
        elif failure.fate is Fate.LOST and error.code() in SILENT:
            endpoint.silent(now, "")
        else:
            endpoint.spoke(now)
            endpoint.rest(now)
        return failure

    # ---- turns and time

    def _turns(self) -> Steps[Sequence[Endpoint]]:
        """Each endpoint once, those that rest last; who has rested enough is looked after."""
        if self.closed:
            raise RuntimeError(CLOSED)
        endpoints = self._endpoints
        if not any(endpoint.resting for endpoint in endpoints):
            return endpoints
        now = self.now()
        for endpoint in endpoints[:-1]:
            if endpoint.resting and now >= endpoint.look_at:
                endpoint.look_at = now + endpoint.pause_s
                yield Look(endpoint)
        return sorted(endpoints, key=lambda each: each.resting)

    def _share(self, deadline: float, turns_left: int) -> float:
        """Until when the next endpoint may take its time."""
        now = self.now()
        return now + max(0.0, deadline - now) / turns_left

    def _left_s(self, until: float) -> float:
        """Seconds left, never quite none: gRPC takes 0 for a deadline that has passed already."""
        return max(0.001, until - self.now())
