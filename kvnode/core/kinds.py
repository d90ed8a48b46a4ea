"""Of which type an operation on a key is, and whether what the key holds allows that."""

from __future__ import annotations

from collections.abc import Sequence

from kvnode.core.dots import Dot
from kvnode.core.entry import Entry, visible_types
from kvnode.core.errors import Reason, Refused, quoted
from kvnode.core.operations import Increment
from kvnode.core.types import COUNTERS, NAMES, PN_COUNTER, siblings


def check_type(key: bytes, kind: int, entry: Entry, now: int) -> None:
    """Raise ``Refused`` (TYPE_CONFLICT) if the key shows values, and none of this type."""
    if len(entry) == 1 and kind in entry:
        return
    shown = visible_types(entry, now)
    if shown and kind not in shown:
        raise Refused(
            Reason.TYPE_CONFLICT,
            f"the key {quoted(key)} holds {NAMES[shown[0]]}, not {NAMES[kind]}: "
            "delete it first, or use another key",
            types=",".join(NAMES[t] for t in shown),
        )


def counter_type(increment: Increment, entry: Entry, now: int) -> int:
    """The counter that it adds to; Refused (TYPE_CONFLICT)."""
    if not entry:
        return increment.type or PN_COUNTER
    if increment.type:
        check_type(increment.key, increment.type, entry, now)
        return increment.type
    if len(entry) == 1 and PN_COUNTER in entry:
        return PN_COUNTER
    shown = [kind for kind in visible_types(entry, now) if kind in COUNTERS]
    if len(shown) > 1:
        raise Refused(
            Reason.TYPE_CONFLICT,
            f"the key {quoted(increment.key)} is both a G_COUNTER and a PN_COUNTER: say which",
            types=",".join(NAMES[t] for t in shown),
        )
    kind = shown[0] if shown else PN_COUNTER
    check_type(increment.key, kind, entry, now)
    return kind


def check_room(
    key: bytes, state: siblings.Siblings, replaced: Sequence[Dot], siblings_max: int, now: int
) -> None:
    """Raise ``Refused`` (TOO_MANY_SIBLINGS) if there is none for one more beside the others."""
    left = len(state[0]) - sum(dot in state[0] for dot in replaced)
    if left >= siblings_max:
        hidden = len(state[0]) - len(siblings.shown(state, now))
        expired = f" ({hidden} of them expired)" if hidden else ""
        raise Refused(
            Reason.TOO_MANY_SIBLINGS,
            f"the key {quoted(key)} has {left} unresolved siblings{expired}, the limit is "
            f"{siblings_max}: read it and put one value with its context",
            limit=str(siblings_max),
        )
