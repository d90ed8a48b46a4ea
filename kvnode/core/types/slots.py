"""Counter slots, shared by G-Counter and PN-Counter.

Problem: a counter must be exact through retries, reordering, deletes and re-creation. One total
per origin cannot be deleted: taking the total away again and an increment that crosses the
deletion cannot be told apart.

Idea: an origin counts in a *slot* ``(origin, birth seq)`` that only it writes: running totals of
what it added and took away. Both only grow, so merge is the maximum of each *component* (the
maximum of sums would lose decrements). A delete does not touch the totals; it raises the slot's
*baseline* to the totals its deleter had seen: exactly those increments go, concurrent ones
survive with exactly their amounts. An origin that has seen a delete opens a new slot, so that a
*spent* slot (totals = baselines) never changes again once the deletes that raised the baselines
are causally stable (``stability.py``). Then it goes. For that each component of the baseline bears
the dot of the delete that raised it. What arrives for a slot that is not there although its birth
has been received is of a slot that was collected here, and is ignored.

A slot is opened under the dot of the increment that opens it, so no birth is ever used twice.

State: ``{(origin, birth): (inc, dec, base_inc, base_dec, hlc, inc_by, dec_by)}``: hlc of the last
change seen, the deletes' dots or ``NO_DOT``.
Logged: ``[type, key, birth, inc, dec]`` new totals of the writer's slot, or
``[type, key, [origin, birth, inc, dec, ...]]`` baselines.

Shapiro et al. 2011; Almeida and Baquero 2019, "Scalable eventually consistent counters"; the
reset-by-baseline follows Antidote's fat counter and Riak's lessons (riak_kv issue 679).
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from kvnode.core.dots import Covered, Dot, Vector
from kvnode.core.errors import BlockError, Reason, Refused, StateError, quoted

Slot = tuple[int, int, int, int, int, Dot, Dot]
Slots = dict[Dot, Slot]
Totals = dict[Dot, tuple[int, int]]
"""What a reader saw of each slot: (inc, dec)."""

EMPTY: Slots = {}
NO_DOT: Dot = (0, 0)
"""Of a baseline that nothing has raised, or whose delete is not known (it is then never collected).
"""
UNKNOWN: Slot = (0, 0, 0, 0, 0, NO_DOT, NO_DOT)
GROWING = 1
"""The type that takes nothing away (``gcounter.py``)."""
INT64_MAX = 2**63 - 1
INT64_MIN = -(2**63)
_INTEGERS = {int}


def value(state: Slots) -> int:
    """The exact sum; may exceed 64 bits when regions together go beyond.

    A baseline can be ahead of its totals (a delete by a context this replica has not caught up
    with): such a slot counts 0 until its totals arrive.
    """
    total = 0
    for inc, dec, base_inc, base_dec, _, _, _ in state.values():
        total += (inc - base_inc if inc > base_inc else 0) - (
            dec - base_dec if dec > base_dec else 0
        )
    return total


def visible(state: Slots, now: int = 0) -> bool:  # noqa: ARG001 - counters do not expire
    """Whether any increment is not deleted (the sum may still be 0)."""
    for slot in state.values():  # noqa: SIM110 - for every read: any() takes twice as long
        if slot[0] > slot[2] or slot[1] > slot[3]:
            return True
    return False


def merge(a: Slots, b: Slots, seen_a: Container[Dot] = (), seen_b: Container[Dot] = ()) -> Slots:
    """Maximum of each component of each slot; a slot that one side has collected stays out."""
    out = dict(a)
    for slot, theirs in b.items():
        ours = out.get(slot)
        if ours is None:
            if slot not in seen_a:
                out[slot] = theirs
        else:
            # spelled out: tuple(map(max, ...)) takes three times as long, and this runs for
            # every increment that arrives (bench/core.py)
            inc, dec, base_inc, base_dec, hlc, inc_by, dec_by = ours
            inc2, dec2, base_inc2, base_dec2, hlc2, inc_by2, dec_by2 = theirs
            if base_inc2 and (base_inc2, inc_by2) > (base_inc, inc_by):
                base_inc, inc_by = base_inc2, inc_by2
            if base_dec2 and (base_dec2, dec_by2) > (base_dec, dec_by):
                base_dec, dec_by = base_dec2, dec_by2
            out[slot] = (
                inc if inc > inc2 else inc2,
                dec if dec > dec2 else dec2,
                base_inc,
                base_dec,
                hlc if hlc > hlc2 else hlc2,
                inc_by,
                dec_by,
            )
    if type(seen_b) is not tuple:  # a delta has seen its own dot alone and collected nothing
        for slot in a:
            if slot not in b and slot in seen_b:
                del out[slot]
    return out


def spent(slot: Slot) -> bool:
    """Whether deletes have taken away all that is known of it."""
    inc, dec, base_inc, base_dec, _, _, _ = slot
    return inc == base_inc and dec == base_dec


def deadlines(state: Slots) -> list[tuple[int, Dot]]:  # noqa: ARG001
    """None."""
    return []


def garbage(state: Slots, past: int = 0) -> list[Dot]:  # noqa: ARG001
    """The deletes that have to be stable before spent slots can go."""
    return [dot for slot in state.values() if spent(slot) for dot in _deletes(slot)]


def collect(state: Slots, stable: Vector, past: int = 0) -> Slots:  # noqa: ARG001
    """Without the spent slots whose deletes are covered by ``stable``."""
    covered = Covered(stable)
    gone = {
        birth
        for birth, slot in state.items()
        if spent(slot) and (deletes := _deletes(slot)) and all(dot in covered for dot in deletes)
    }
    return {birth: slot for birth, slot in state.items() if birth not in gone} if gone else state


def _deletes(slot: Slot) -> list[Dot]:
    """The deletes that raised its baselines; none if one of them is not known."""
    raised = [by for base, by in ((slot[2], slot[5]), (slot[3], slot[6])) if base]
    return [] if NO_DOT in raised else sorted(set(raised))


def live(state: Slots, past: int = 0) -> list[int] | None:  # noqa: ARG001
    """Flat (origin, birth, inc, dec, base_inc, base_dec, hlc) of the slots not spent, sorted."""
    return [
        number
        for birth in sorted(state)
        if not spent(state[birth])
        for number in (*birth, *state[birth][:5])
    ] or None


def increment(kind: int, state: Slots, key: bytes, amount: int, origin: int, seq: int) -> list[Any]:
    """The logged operation that adds ``amount`` for ``origin`` at ``seq``.

    A slot that any delete has touched is left as it is: it must not change once it is spent.

    Raises:
        Refused: COUNTER_OVERFLOW if the sum would leave 64 bits.
    """
    if not INT64_MIN <= value(state) + amount <= INT64_MAX:
        raise Refused(
            Reason.COUNTER_OVERFLOW,
            f"adding {amount} would take the counter {quoted(key)} beyond 64 bits",
            limit=str(INT64_MAX),
        )
    birth, inc, dec = 0, 0, 0
    for (slot_origin, slot_birth), slot in state.items():
        if slot_origin == origin and slot_birth > birth and not (slot[2] or slot[3]):
            birth, inc, dec = slot_birth, slot[0], slot[1]
    if amount > 0:
        inc += amount
    else:
        dec -= amount
    if not birth or max(inc, dec) > INT64_MAX:  # a full slot is left as it is, like a deleted one
        birth, inc, dec = seq, max(amount, 0), max(-amount, 0)
    return [kind, key, birth, inc, dec]


def onward(op: list[Any], total: int, amount: int) -> list[Any] | None:
    """What ``increment`` gives behind an increment ``op`` of one writer, after which the sum was
    ``total``: in the same slot. None if it may be another one, or a refusal.
    """
    kind, key, birth, inc, dec = op
    if amount > 0:
        inc += amount
    elif kind == GROWING:
        return None
    else:
        dec -= amount
    fits = INT64_MIN <= total + amount <= INT64_MAX and inc <= INT64_MAX and dec <= INT64_MAX
    return [kind, key, birth, inc, dec] if fits else None


def counted(state: Slots, op: list[Any], origin: int, hlc: int) -> Slots:
    """The state after ``increment`` of it at ``hlc``: merging the delta would give the same.

    The slot is the writer's own and no delete has touched it, so nothing of it can be ahead.
    """
    _, _, birth, inc, dec = op
    return {**state, (origin, birth): (inc, dec, 0, 0, hlc, NO_DOT, NO_DOT)}


def remove(
    kind: int, state: Slots, key: bytes, seen: Totals | None, received: Container[Dot] = ()
) -> list[Any] | None:
    """The logged operation that deletes what was ``seen`` (None: all of ``state``).

    None when that changes nothing: a slot that is not there although its birth was received was
    deleted and collected before.
    """
    if seen is None:
        seen = {slot: (totals[0], totals[1]) for slot, totals in state.items()}
    flat: list[int] = []
    for slot in sorted(seen):
        inc, dec = seen[slot]
        if slot not in state and slot in received:
            continue
        _, _, base_inc, base_dec, _, _, _ = state.get(slot, UNKNOWN)
        if inc > base_inc or dec > base_dec:
            flat += (*slot, inc, dec)
    return [kind, key, flat] if flat else None


def delta(op: list[Any], origin: int, seq: int, hlc: int) -> Slots:
    """The small state of a logged operation."""
    if len(op) == 5:
        _, _, birth, inc, dec = op
        if (
            type(birth) is type(inc) is type(dec) is int
            and 0 < birth <= seq
            and inc >= 0
            and dec >= 0
        ):
            return {(origin, birth): (inc, dec, 0, 0, hlc, NO_DOT, NO_DOT)}
        raise BlockError(f"counter operation with slot {birth!r}, totals {inc!r}, {dec!r}")
    if len(op) == 3 and type(op[2]) is list and len(op[2]) % 4 == 0 and _counts(*op[2]):
        flat = iter(op[2])
        by = (origin, seq)
        return {
            (o, b): (0, 0, inc, dec, hlc, by if inc else NO_DOT, by if dec else NO_DOT)
            for o, b, inc, dec in zip(flat, flat, flat, flat, strict=True)
        }
    raise BlockError("counter operation of unknown form")


def context(state: Slots) -> list[int]:
    """Flat (origin, birth, inc, dec) of every slot a reader sees something of, sorted.

    Spent slots are left out: a token must not grow with what was deleted long ago.
    """
    flat: list[int] = []
    for slot in sorted(state):
        inc, dec, base_inc, base_dec, _, _, _ = state[slot]
        if inc > base_inc or dec > base_dec:
            flat += (*slot, inc, dec)
    return flat


def encode(state: Slots) -> list[Any]:
    """Flat (origin, birth, inc, dec, base_inc, base_dec, hlc) of every slot, sorted by birth.

    Behind them, if any slot has a baseline: one list of the deletes' dots, flat, of each slot with
    a baseline (inc_by, dec_by).
    """
    flat: list[Any] = []
    deletes: list[int] = []
    for slot in sorted(state):
        numbers = state[slot]
        flat += (*slot, *numbers[:5])
        if numbers[2] or numbers[3]:
            deletes += (*numbers[5], *numbers[6])
    if deletes:
        flat.append(deletes)
    return flat


def decode(raw: Any) -> Slots:
    """The inverse of ``encode``; raises ``StateError``. Deletes that are not told are NO_DOT."""
    if type(raw) is not list:
        raise StateError("counter slots of unknown form")
    numbers, deletes = (raw[:-1], raw[-1]) if len(raw) % 7 == 1 else (raw, [])
    if len(numbers) % 7 or type(deletes) is not list or not _counts(*numbers, *deletes):
        raise StateError("counter slots of unknown form")
    slots: Slots = {}
    dots = iter(deletes)
    flat = iter(numbers)
    for o, b, inc, dec, base_inc, base_dec, hlc in zip(*[flat] * 7, strict=True):
        inc_by = dec_by = NO_DOT
        if deletes and (base_inc or base_dec):
            try:
                inc_by, dec_by = (next(dots), next(dots)), (next(dots), next(dots))
            except StopIteration:
                raise StateError("counter slots without their deletes") from None
        slots[(o, b)] = (inc, dec, base_inc, base_dec, hlc, inc_by, dec_by)
    if next(dots, None) is not None:
        raise StateError("counter slots with too many deletes")
    return slots


def _counts(*numbers: Any) -> bool:
    return not numbers or (set(map(type, numbers)) == _INTEGERS and min(numbers) >= 0)
