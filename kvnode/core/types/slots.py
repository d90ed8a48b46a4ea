"""Counter slots, shared by G-Counter and PN-Counter.

Problem: a counter must be exact through retries, reordering, deletes and re-creation. One total
per origin cannot be deleted: taking the total away again and an increment that crosses the
deletion cannot be told apart.

Idea: an origin counts in a *slot* ``(origin, birth seq)`` that only it writes: running totals of
what it added and took away. Both only grow, so merge is the maximum of each *component* (the
maximum of sums would lose decrements). A delete does not touch the totals; it raises the slot's
*baseline* to the totals its deleter had seen: exactly those increments go, concurrent ones
survive with exactly their amounts. An origin that has seen a delete opens a new slot, so that a
spent slot never changes again and can be collected once the delete is causally stable.

State: ``{(origin, birth): (inc, dec, base_inc, base_dec, hlc)}``, hlc of the last change seen.
Logged: ``[type, key, birth, inc, dec]`` new totals of the writer's slot, or
``[type, key, [origin, birth, inc, dec, ...]]`` baselines.

Shapiro et al. 2011; Almeida and Baquero 2019, "Scalable eventually consistent counters"; the
reset-by-baseline follows Antidote's fat counter and Riak's lessons (riak_kv issue 679).
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from kvnode.core.dots import Dot
from kvnode.core.errors import BlockError, Reason, Refused, StateError, quoted

Slot = tuple[int, int, int, int, int]
Slots = dict[Dot, Slot]
Totals = dict[Dot, tuple[int, int]]
"""What a reader saw of each slot: (inc, dec)."""

EMPTY: Slots = {}
INT64_MAX = 2**63 - 1
INT64_MIN = -(2**63)


def value(state: Slots) -> int:
    """The exact sum; may exceed 64 bits when regions together go beyond.

    A baseline can be ahead of its totals (a delete by a context this replica has not caught up
    with): such a slot counts 0 until its totals arrive.
    """
    total = 0
    for inc, dec, base_inc, base_dec, _ in state.values():
        total += (inc - base_inc if inc > base_inc else 0) - (
            dec - base_dec if dec > base_dec else 0
        )
    return total


def visible(state: Slots) -> bool:
    """Whether any increment is not deleted (the sum may still be 0)."""
    return any(
        inc > base_inc or dec > base_dec for inc, dec, base_inc, base_dec, _ in state.values()
    )


def merge(
    a: Slots,
    b: Slots,
    seen_a: Container[Dot] = (),  # noqa: ARG001 - counters need no causal context
    seen_b: Container[Dot] = (),  # noqa: ARG001
) -> Slots:
    """Maximum of each component of each slot."""
    if not a:
        return b
    out = dict(a)
    for slot, theirs in b.items():
        ours = out.get(slot)
        if ours is None:
            out[slot] = theirs
        else:
            # spelled out: tuple(map(max, ...)) takes three times as long, and this runs for
            # every increment that arrives (bench/core.py)
            inc, dec, base_inc, base_dec, hlc = ours
            inc2, dec2, base_inc2, base_dec2, hlc2 = theirs
            out[slot] = (
                inc if inc > inc2 else inc2,
                dec if dec > dec2 else dec2,
                base_inc if base_inc > base_inc2 else base_inc2,
                base_dec if base_dec > base_dec2 else base_dec2,
                hlc if hlc > hlc2 else hlc2,
            )
    return out


def increment(kind: int, state: Slots, key: bytes, amount: int, origin: int, seq: int) -> list[Any]:
    """The logged operation that adds ``amount`` for ``origin`` at ``seq``.

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


def remove(kind: int, state: Slots, key: bytes, seen: Totals | None) -> list[Any] | None:
    """The logged operation that deletes what was ``seen`` (None: all of ``state``).

    None when that changes nothing.
    """
    if seen is None:
        seen = {slot: (totals[0], totals[1]) for slot, totals in state.items()}
    flat: list[int] = []
    for slot in sorted(seen):
        inc, dec = seen[slot]
        _, _, base_inc, base_dec, _ = state.get(slot, (0, 0, 0, 0, 0))
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
            return {(origin, birth): (inc, dec, 0, 0, hlc)}
        raise BlockError(f"counter operation with slot {birth!r}, totals {inc!r}, {dec!r}")
    if len(op) == 3 and type(op[2]) is list and len(op[2]) % 4 == 0 and _counts(*op[2]):
        flat = iter(op[2])
        return {
            (o, b): (0, 0, inc, dec, hlc)
            for o, b, inc, dec in zip(flat, flat, flat, flat, strict=True)
        }
    raise BlockError("counter operation of unknown form")


def context(state: Slots) -> list[int]:
    """Flat (origin, birth, inc, dec) of every slot a reader sees something of, sorted.

    Spent slots are left out: a token must not grow with what was deleted long ago.
    """
    flat: list[int] = []
    for slot in sorted(state):
        inc, dec, base_inc, base_dec, _ = state[slot]
        if inc > base_inc or dec > base_dec:
            flat += (*slot, inc, dec)
    return flat


def encode(state: Slots) -> list[int]:
    """Flat (origin, birth, inc, dec, base_inc, base_dec, hlc) of every slot, sorted."""
    return [number for slot in sorted(state) for number in (*slot, *state[slot])]


def decode(raw: Any) -> Slots:
    """The inverse of ``encode``; raises ``StateError``."""
    if type(raw) is not list or len(raw) % 7 or not _counts(*raw):
        raise StateError("counter slots of unknown form")
    flat = iter(raw)
    return {
        (o, b): (inc, dec, base_inc, base_dec, hlc)
        for o, b, inc, dec, base_inc, base_dec, hlc in zip(
            flat, flat, flat, flat, flat, flat, flat, strict=True
        )
    }


def _counts(*numbers: object) -> bool:
    return all(type(number) is int and number >= 0 for number in numbers)
