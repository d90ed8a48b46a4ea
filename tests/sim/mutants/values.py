"""Bugs in the data types and in what an operation means."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from typing import Any

import kvnode.core.entry as entries
from kvnode.core.context import Context
from kvnode.core.dots import Dot
from kvnode.core.entry import Entry
from kvnode.core.losers import loser_of as loser_of_two
from kvnode.core.types import TYPES, lww, siblings, slots
from kvnode.core.types.lww import Register
from kvnode.core.types.siblings import Siblings
from kvnode.core.types.slots import Slot, Slots
from kvnode.core.writer import BlockWriter
from tests.sim.mutants import schedules
from tests.sim.mutants.planting import Planting, mutant


@mutant(3)
def slot_starts_over(plant: Planting) -> None:
    """An increment is written as if its origin's slot had been empty: below what peers hold."""

    def increment(
        kind: int, state: Slots, key: bytes, amount: int, origin: int, seq: int
    ) -> list[Any]:
        kind, key, birth, inc, dec = real(kind, state, key, amount, origin, seq)
        return [kind, key, birth, min(inc, max(amount, 0)), min(dec, max(-amount, 0))]

    real = slots.increment
    plant.function(slots.increment, increment)


@mutant(3)
def slot_totals_are_summed(plant: Planting) -> None:
    """Slots are merged by the larger sum, not by the larger of each component."""

    def merge(
        a: Slots, b: Slots, seen_a: Container[Dot] = (), seen_b: Container[Dot] = ()
    ) -> Slots:
        out = real(a, b, seen_a, seen_b)
        for slot in a.keys() & b.keys() & out.keys():
            larger = max(a[slot], b[slot], key=lambda one: one[0] - one[1])
            out[slot] = (larger[0], larger[1], *out[slot][2:])
        return out

    real = slots.merge
    plant.function(slots.merge, merge)


@mutant(4)
def deleted_slot_is_used_again(plant: Planting) -> None:
    """After a delete the origin goes on counting in the old slot, which may be collected."""

    def increment(
        kind: int, state: Slots, key: bytes, amount: int, origin: int, seq: int
    ) -> list[Any]:
        untouched = {
            slot: (*totals[:2], 0, 0, *totals[4:]) if slot[0] == origin else totals
            for slot, totals in state.items()
        }
        return real(kind, untouched, key, amount, origin, seq)

    real = slots.increment
    plant.function(slots.increment, increment)


@mutant(4)
def deleted_totals_are_forgotten(plant: Planting) -> None:
    """A deleted slot goes at once, so that totals which arrive later count again."""

    def merge(
        a: Slots, b: Slots, seen_a: Container[Dot] = (), seen_b: Container[Dot] = ()
    ) -> Slots:
        return {slot: it for slot, it in real(a, b, (), ()).items() if not slots.spent(it)}

    real = slots.merge
    plant.function(slots.merge, merge)


@mutant(4, 20)
def delete_takes_the_whole_slot(plant: Planting) -> None:
    """A deleted counter slot counts 0 whatever is added to it concurrently."""

    def value(state: Slots) -> int:
        left: dict[Dot, Slot] = {
            birth: slot for birth, slot in state.items() if not (slot[2] or slot[3])
        }
        return real(left)

    real = slots.value
    plant.function(slots.value, value)


@mutant(5)
def put_replaces_nothing(plant: Planting) -> None:
    """A put with a context adds one more sibling beside those it had seen."""

    def replaced(state: Siblings, seen: Iterable[Dot], received: Container[Dot]) -> list[Dot]:
        return []

    plant.function(siblings.replaced, replaced)


@mutant(5, plan=schedules.awaited_over_a_restart)
def awaited_dots_are_not_remembered(plant: Planting) -> None:
    """Dots of a context that have not arrived here are dropped from it."""

    def replaced(state: Siblings, seen: Iterable[Dot], received: Container[Dot]) -> list[Dot]:
        return [dot for dot in seen if dot in state[0]]

    plant.function(siblings.replaced, replaced)


@mutant()
def unread_siblings_are_in_the_context(plant: Planting) -> None:
    """A put with a context also replaces what its node holds and its client never saw."""

    def _replaced(
        self: BlockWriter, state: Siblings, context: Context | None, *, blind: bool = False
    ) -> list[Dot]:
        return real(self, state, None, blind=blind)

    real: Callable[..., list[Dot]] = BlockWriter._replaced
    plant.method(BlockWriter, "_replaced", _replaced)


@mutant(20)
def remove_takes_all_siblings(plant: Planting) -> None:
    """A delete of siblings removes what is held where it arrives, not what it names."""

    def merge(
        a: Siblings, b: Siblings, seen_a: Container[Dot] = (), seen_b: Container[Dot] = ()
    ) -> Siblings:
        held, awaited = real(a, b, seen_a, seen_b)
        return (held if b[0] or not b[1] else {}, awaited)

    real = siblings.merge
    plant.function(siblings.merge, merge)


@mutant(6, plan=schedules.same_moment)
def equal_times_are_decided_by_arrival(plant: Planting) -> None:
    """Of two register writes in one millisecond the one that is here already stays."""

    def merge(
        a: Register, b: Register, seen_a: Container[Dot] = (), seen_b: Container[Dot] = ()
    ) -> Register:
        if a[2] and b[2] and a[1] != b[1] and a[0] >> 16 == b[0] >> 16:
            return a
        return real(a, b, seen_a, seen_b)

    real = lww.merge
    plant.function(lww.merge, merge)


@mutant(10)
def tombstone_beats_every_value(plant: Planting) -> None:
    """A register's tombstone wins whatever its time: it kills the key that was made again."""

    def merge(
        a: Register, b: Register, seen_a: Container[Dot] = (), seen_b: Container[Dot] = ()
    ) -> Register:
        if a[2] and b[2] and (a[3] is None) != (b[3] is None):
            return a if a[3] is None else b
        return real(a, b, seen_a, seen_b)

    real = lww.merge
    plant.function(lww.merge, merge)


@mutant(18, plan=schedules.two_types)
def second_type_replaces_the_first(plant: Planting) -> None:
    """A key keeps only the type that was written last where it arrives."""

    def _with(entry: Entry, kind: int, state: Any) -> Entry:
        return {kind: state} if state != TYPES[kind].EMPTY else {}

    plant.function(entries._with, _with)


@mutant(19)
def digest_sees_the_order_of_a_map(plant: Planting) -> None:
    """Siblings enter the digest in the order in which they arrived."""

    def live(state: Siblings, past: int = 0) -> list[Any] | None:
        return [[*dot, *value] for dot, value in state[0].items()] or None

    plant.function(siblings.live, live)


@mutant(19, plan=schedules.one_collects)
def digest_sees_tombstones(plant: Planting) -> None:
    """What only waits for collection is part of the digest."""

    def live(state: Register, past: int = 0) -> list[Any] | None:
        return list(state) if state[2] else None

    plant.function(lww.live, live)


@mutant(plan=schedules.same_moment)
def loser_is_not_journalled(plant: Planting) -> None:
    """A register value that loses against a concurrent one is dropped without a word."""

    def loser_of(
        key: bytes, a: Register, b: Register, seen_a: Container[Dot], seen_b: Container[Dot]
    ) -> None:
        return None

    plant.function(loser_of_two, loser_of)


@mutant()
def value_alone_hides_a_conflict(plant: Planting) -> None:
    """Who asks for values alone is told the first of several siblings."""

    def only_value(entry: Entry, now: int) -> tuple[int, int | bytes] | None:
        one = real(entry, now)
        held = siblings.shown(entry.get(siblings.ID, siblings.EMPTY), now)
        return one if one or not held else (siblings.ID, next(iter(held.values()))[1])

    real = entries.only_value
    plant.function(entries.only_value, only_value)
