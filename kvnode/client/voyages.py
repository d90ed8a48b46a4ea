"""Chunks of a bulk writer on one stream to one node: what is decided, without I/O.

A call for each chunk would leave the node idle between an answer and the next chunk, or, with
several calls at once, lose the order of the chunks. On a stream several are on their way, the node
takes them in order and answers in order, and while its queue is full it reads no further: that
holds the writer, and the writer its caller.

What a stream cannot do is go on elsewhere, or be made again. So it is only the straight way: at the
first answer that is not the last word (this node cannot, but another may) nothing more is sent on
it, and when it has ended, in whatever way, ``settle`` does for the operations it left open what is
done for any other write: those that may have been done are asked for again at this node, under
their request ids; those of which it is certain that nothing was done go to the next one. Then a new
stream begins. So order is kept through failures too.

=====================================  ===========================================
a stream that ended                    what it has not answered
=====================================  ===========================================
without a connection                   was not sent: elsewhere
STOPPING                               was not taken: the node answers what it took
INVALID_ARGUMENT                       was not taken: made anew, to see which one
no kvnode of this version              fails
all else                               may have been done: asked again there
=====================================  ===========================================

On a loop also a stopping node is "all else" now and then: where a chunk is being sent as the stream
ends, grpc.aio (1.85) puts INTERNAL in the place of what the node said.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from grpc import RpcError

from kvnode.client.channels import FRESH_S, Endpoint
from kvnode.client.chunks import Chunk
from kvnode.client.gathering import Gathering
from kvnode.client.lanes import Entry
from kvnode.client.settling import answers_of, refuse
from kvnode.client.status import Failure, Fate
from kvnode.client.steps import Steps
from kvnode.core.errors import Reason
from kvnode.errors import InvalidArgument, NodeFailure, RequestRefused
from kvnode.v1 import kv_pb2

VOYAGE_S: Final = 60.0
"""A stream takes no more chunks after so long: every call ends."""

LINGER_S: Final = FRESH_S
"""Without a chunk for so long it ends: nobody knows whether the node is still there."""

END_S: Final = 0.5
"""How long a node has to end a stream on which nothing is open."""

GRACE_S: Final = 0.1
"""The node itself answers at the deadline, and says more than its silence would."""

ON_ITS_WAY_S_MAX: Final = 0.1
"""What the node is told to be ready before the deadline, at most."""


class Voyage:
    """One stream: the chunks on it, and those of its answers that are not the last word."""

    def __init__(self, gathering: Gathering, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._gathering = gathering
        self._failover = gathering.calls.failover
        self._flying: deque[Chunk] = deque()
        self._left_open: list[Chunk] = []
        """Answered chunks from the first on of which an answer is not the last word."""
        self._answers: list[tuple[Entry, object]] = []
        """Theirs, in order."""
        self._moved = self._failover.now()
        self._until = self._moved + VOYAGE_S

    @property
    def timeout_s(self) -> float:
        """Of the stream."""
        patience_s = self._gathering.deadline() - self._moved
        return VOYAGE_S + patience_s + 2 * GRACE_S

    def may_send(self) -> bool:
        """Whether a chunk leaves now."""
        return self._has_room() and self._gathering.wait_s() == 0 and not self._is_held_back()

    def is_over(self) -> bool:
        """All is answered, and nothing more goes on this stream, or nothing did for a while."""
        if self._flying:
            return False
        return not self._has_room() or self._failover.now() >= self._moved + LINGER_S

    def is_overdue(self) -> bool:
        """The oldest chunk should have been answered."""
        flying = self._flying
        return bool(flying) and self._failover.now() > flying[0].flight.deadline + GRACE_S

    def wait_s(self, *, sending: bool = True) -> float:
        """How long nothing is to be done if nothing comes."""
        now = self._failover.now()
        if self._flying:
            left_s = self._flying[0].flight.deadline + GRACE_S - now
        else:
            left_s = self._moved + LINGER_S - now
        due_s = self._gathering.wait_s() if sending and self._has_room() else None
        if due_s == 0 and self._is_held_back():
            due_s = None
        return max(0.0, left_s if due_s is None else min(left_s, due_s))

    def send(self) -> kv_pb2.WriteManyRequest:
        """The next chunk; from here on it belongs to this node."""
        chunk = self._gathering.chunk()
        self._flying.append(chunk)
        self._moved = now = self._failover.now()
        for entry in chunk.flight.entries:
            entry.depart(self.endpoint.address)
        left_s = chunk.flight.deadline - now
        wait_s = left_s - min(ON_ITS_WAY_S_MAX, left_s / 10)
        return kv_pb2.WriteManyRequest(
            requests=[entry.request for entry in chunk.flight.entries],
            wait_ms=max(1, round(1000 * wait_s)),
        )

    def answered(self, reply: kv_pb2.WriteManyResponse) -> None:
        """The oldest chunk was."""
        if not self._flying:
            return
        chunk = self._flying.popleft()
        entries = chunk.flight.entries
        self._moved = self._failover.now()
        self.endpoint.answered(self._moved)
        answers = answers_of(reply, entries, self.endpoint)
        if isinstance(answers, Failure):
            answers = [answers] * len(entries)
        if self._left_open or not all(is_last_word(chunk, answer) for answer in answers):
            self._left_open.append(chunk)
            self._answers += zip(entries, answers, strict=True)
            return
        for entry, answer in zip(entries, answers, strict=True):
            if isinstance(answer, Failure):
                refuse(entry, answer)
            else:
                entry.settle(answer)
        self._gathering.landed(chunk)

    def settle(self, error: RpcError | None) -> Steps[None]:
        """The stream has ended: settle what it left open. ``landed`` is the caller's to tell."""
        failure = None if error is None else self._failover.failed(self.endpoint, error)
        unanswered = [entry for chunk in self._flying for entry in chunk.flight.entries]
        fate = end_of(failure)
        answers = [*self._answers, *((entry, fate) for entry in unanswered)]
        if not answers:
            return
        entries, said = zip(*answers, strict=True)
        lost, elsewhere = self._failover.judge(self.endpoint, entries, said)
        for part, deadline in self._by_chunk(lost):
            yield from self._failover.ask_again(self.endpoint, part, deadline)
        for part, deadline in self._by_chunk(elsewhere):
            yield from self._failover.write(part, deadline)

    def strand(self, error: BaseException) -> None:
        """Nobody will settle what is open."""
        for chunk in self.unfinished():
            chunk.flight.strand(error)

    def unfinished(self) -> list[Chunk]:
        """Chunks that have not landed."""
        return [*self._left_open, *self._flying]

    def _by_chunk(self, entries: list[Entry]) -> Iterator[tuple[list[Entry], float]]:
        """In parts that one call may have, each with its deadline."""
        left = set(entries)
        for chunk in self.unfinished():
            part = [entry for entry in chunk.flight.entries if entry in left]
            if part:
                yield part, chunk.flight.deadline

    def _is_held_back(self) -> bool:
        return self._gathering.is_held_back(self._flying)

    def _has_room(self) -> bool:
        return (
            not self._left_open
            and len(self._flying) < self._gathering.limits.window_chunks
            and self._failover.now() < self._until
        )


def is_last_word(chunk: Chunk, answer: object) -> bool:
    """Done, or refused wherever it is asked and however it is sent."""
    if not isinstance(answer, Failure):
        return True
    return answer.fate is Fate.REFUSED and not chunk.is_refused_by(answer.exception)


def end_of(failure: Failure | None) -> Failure:
    """What the end of a stream means for the chunks that it has not answered."""
    if failure is None:
        return Failure(Fate.LOST, NodeFailure("the stream ended before its answers"), None)
    error = failure.exception
    stopping = isinstance(error, RequestRefused) and error.reason == Reason.STOPPING
    if failure.fate in (Fate.UNSENT, Fate.BROKEN) or stopping:
        return failure
    certain = failure.fate is Fate.REFUSED and isinstance(error, InvalidArgument)
    return replace(failure, fate=Fate.UNSENT if certain else Fate.LOST)
