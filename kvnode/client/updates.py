"""Read, change, write what was read: without losing what others write meanwhile.

The write names what was read (its context), so it replaces that and nothing else. A write that
came between is not overwritten and not an error: both values are there as siblings, and whoever
looks after the write sees them. The looking is done here, and the merging by the caller's
function. ``change`` is not run again on what others wrote: with two callers doing so at once each
would find its own change in the other's value and make it twice.

All is done in a session, so that the second look shows the write also if it is at another node.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from inspect import iscoroutine
from typing import Final

from kvnode.client.calls import Calls
from kvnode.client.levels import Durability
from kvnode.client.operations import as_bytes, key_bytes, refuse, ttl_ms
from kvnode.client.resolving import Resolver, check_resolver, resolved
from kvnode.client.sessions import Session
from kvnode.client.steps import Pause, Steps, Submit
from kvnode.client.values import (
    Absent,
    Conflict,
    ConflictError,
    DataType,
    KeyState,
    Value,
    absence,
    shown,
)
from kvnode.core.errors import Reason
from kvnode.errors import FailedPrecondition

TRIES: Final = 5
PAUSE_S: Final = 0.02
"""At most so long before the first merge, twice that before the second, and so on; at random, so
that two who merge the same siblings do not make new ones each time,"""

PAUSE_S_MAX: Final = 0.5
"""and never longer than this."""

Edit = Callable[[bytes | None], bytes | str | None]
"""Gets the value or None, gives the new one; None leaves all as it is."""


def update(
    calls: Calls,
    key: bytes | str,
    change: Edit,
    resolve: Resolver | None,
    ttl: float | None,
    tries: int,
    durability: Durability | None,
    timeout_s: float | None,
) -> Steps[Value]:
    """The value that is there in the end.

    Raises:
        ConflictError: it was several before, or stays several (then it is ``written``).
        FailedPrecondition: TYPE_CONFLICT, the key holds only other types; nothing was written.
    """
    if isinstance(tries, bool) or not isinstance(tries, int) or tries < 1:
        raise refuse(Reason.BAD_REQUEST, f"tries {tries!r} is not a number from 1")
    check_resolver(resolve)
    if ttl is not None:
        ttl_ms(ttl)
    deadline = calls.deadline(timeout_s)
    calls = in_session(calls)
    raw = key_bytes(key)
    state = of_type((yield from state_of(calls, raw, deadline)), DataType.SIBLINGS)
    found = None if isinstance(state, Absent) else resolved(state, resolve)
    new = edited(change, stored(found) if found else None)
    if new is None or (
        ttl is None and found is state and as_bytes(new, Reason.BAD_VALUE, "value") == found.value
    ):
        if found is None:
            raise absence(state)
        return found
    for attempt in range(tries):
        left_s = max(0.001, deadline - calls.failover.now())
        entry = calls.put(
            raw,
            new,
            context=state.context,
            ttl=ttl,
            durability=durability,
            timeout_s=left_s,
            verb="update",
        )
        yield Submit(entry)
        receipt = calls.receipt_of_one(entry)
        state = yield from siblings_of(calls, raw, deadline)
        if isinstance(state, Conflict) and resolve is not None:
            # if another one merges them meanwhile, all is done
            pause_s = random.random() * min(PAUSE_S * 2**attempt, PAUSE_S_MAX)
            if calls.failover.now() + pause_s > deadline:
                break
            yield Pause(pause_s)
            state = yield from siblings_of(calls, raw, deadline)
        if isinstance(state, Value):
            return state
        if isinstance(state, Absent):  # deleted since, by somebody who saw it
            return Value(raw, receipt.context, value=as_bytes(new, Reason.BAD_VALUE, "value"))
        if resolve is None:
            break
        new = stored(resolved(state, resolve))
    assert isinstance(state, Conflict), "the loop leaves only with one"
    raise ConflictError(state, written=True)


def edited(change: Edit, value: bytes | None) -> bytes | str | None:
    """What the caller's function makes of it; TypeError if that would have to be awaited."""
    new = change(value)
    if iscoroutine(new):
        new.close()
        raise TypeError("update takes a plain function, not one that is to be awaited")
    return new


def in_session(calls: Calls) -> Calls:
    """The same calls, seeing their own writes."""
    settings = calls.settings
    if settings.session is not None and settings.consistency != "local":
        return calls
    level = "session" if settings.consistency == "local" else settings.consistency
    kept = settings.session or Session()
    return Calls(calls.failover, replace(settings, session=kept, consistency=level))


def siblings_of(calls: Calls, key: bytes, deadline: float) -> Steps[Value | Conflict | Absent]:
    """What is under the key, apart from other types."""
    return view((yield from state_of(calls, key, deadline)), DataType.SIBLINGS)


def state_of(calls: Calls, key: bytes, deadline: float) -> Steps[KeyState]:
    """All that is under the key."""
    left_s = max(0.001, deadline - calls.failover.now())
    (state,) = yield from calls.batch_get([key], None, timeout_s=left_s)
    return state


def stored(state: Value) -> bytes:
    """The value of siblings."""
    assert isinstance(state.value, bytes), "siblings hold bytes"
    return state.value


def of_type(state: KeyState, kind: DataType) -> Value | Conflict | Absent:
    """``view``; FailedPrecondition, as a write of this type, if the key holds only other types."""
    held = state.types
    if held and kind not in held:
        raise FailedPrecondition(
            f"the key {shown(state.key)} holds {' and '.join(each.name for each in held)}, "
            f"not {kind.name}: delete it first, or use another key",
            reason=Reason.TYPE_CONFLICT,
            facts={"types": ",".join(each.name for each in held)},
        )
    return view(state, kind)


def view(state: KeyState, kind: DataType) -> Value | Conflict | Absent:
    """The state of one type under the key, as if there were no others."""
    key, context, freshness = state.key, state.context, state.freshness
    if kind is DataType.SIBLINGS:
        found = state.siblings
        if len(found) > 1:
            return Conflict(key, context, siblings=found, freshness=freshness)
        if found:
            return Value(key, context, siblings=found, freshness=freshness, value=found[0].value)
    elif kind is DataType.LWW_REGISTER:
        if state.register:
            value = state.register.value
            return Value(key, context, register=state.register, freshness=freshness, value=value)
    elif kind is DataType.G_COUNTER:
        if state.g_counter is not None:
            total = state.g_counter
            return Value(key, context, g_counter=total, freshness=freshness, value=total)
    elif state.pn_counter is not None:
        total = state.pn_counter
        return Value(key, context, pn_counter=total, freshness=freshness, value=total)
    return Absent(key, context, freshness=freshness)
