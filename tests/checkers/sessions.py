"""Session guarantees of calls that pass the token: Terry et al. 1994.

A token names what the session has read and written. An answer to a call that brought one is from
a node that covers it: *read your writes* and *monotonic reads* for reads, *monotonic writes* and
*writes follow reads* for writes (a write is then ordered after all that, on every replica, because
no effect comes before its cause).

Of an origin whose disk was lost, or which has two histories, a token may name what nobody has any
more; then it is served without that (``History.lost_origins``, ``reissued``).

``every=True`` judges all calls as if they had brought a token. Clients that go from node to node
without tokens must then be found out; if they are not, the run has not tested sessions at all.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.checkers.count import Count
from tests.checkers.facts import Facts, covers, dot_text, join, vector_text
from tests.checkers.history import Call, History, Vector, Verdict


@dataclass(slots=True)
class Session:
    """What one client has read and written so far."""

    read: Vector = field(default_factory=dict)
    written: Vector = field(default_factory=dict)
    faithful: bool = True
    """Whether all its calls have passed a token."""


def sessions(facts: Facts, *, every: bool = False) -> Verdict:
    """Judge the answered calls, client by client, in their order."""
    count = Count("sessions")
    known: dict[int, Session] = {}
    for call in sorted(facts.history.calls, key=lambda call: (call.started_ms, call.number)):
        session = known.setdefault(call.client, Session())
        if call.token is None:
            session.faithful = False
        if call.outcome != "ok":
            continue
        if call.token is not None or every:
            _judge(facts.history, count, session, call, every=every)
        for origin, seq in call.dots:
            session.written[origin] = max(seq, session.written.get(origin, 0))
        if not call.writes:
            session.read = join(session.read, call.vector)
    return count.verdict


def _judge(history: History, count: Count, session: Session, call: Call, *, every: bool) -> None:
    token = call.token
    if token is not None and session.faithful and not covers(token, session.written):
        count.unexpected(
            f"call {call.number} of client {call.client} passed the token {vector_text(token)}, "
            f"which lacks its own writes {vector_text(session.written)}"
        )
    answer = call.vector
    origin, seq = call.dots[0] if call.dots else (0, 0)
    if (
        call.writes
        and call.before is not None
        and not call.repeated
        and origin not in history.reissued  # the block of this dot may be the other branch's
    ):
        answer = {**call.before, origin: seq}
    if every:
        needed = join(session.read, session.written)
    elif token is not None:
        needed = token
    else:
        return
    short = [
        (o, seq)
        for o, seq in needed.items()
        if answer.get(o, 0) < min(seq, history.lost_origins.get(o, seq))
        and o not in history.reissued
    ]
    if not short:
        count.ok()
        return
    origin, seq = short[0]
    own = session.written.get(origin, 0) > answer.get(origin, 0)
    if call.writes:
        guarantee = "monotonic writes" if own else "writes follow reads"
    else:
        guarantee = "read your writes" if own else "monotonic reads"
    count.lost(
        f"{guarantee}: call {call.number} of client {call.client} was answered by {call.node} at "
        f"{vector_text(answer)}, without {dot_text((origin, seq))} that its session had seen"
    )
