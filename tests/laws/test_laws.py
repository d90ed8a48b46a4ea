"""The laws, for every registered type, and broken types that the suite has to find."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvnode.core.types import G_COUNTER, LWW_REGISTER, PN_COUNTER, SIBLINGS, TYPES, DataType, slots
from kvnode.core.types import siblings as siblings_module
from tests.laws.lattice import MUTATE, Run, check_entry, check_laws, runs


def test_every_registered_type_is_under_the_laws() -> None:
    """A type that nobody taught the suite to write would pass it untried."""
    assert MUTATE.keys() == TYPES.keys()


@pytest.mark.parametrize("number", TYPES, ids=lambda number: TYPES[number].NAME)
def test_type_keeps_the_laws(number: int) -> None:
    check_laws(TYPES[number], MUTATE[number])


@given(st.tuples(*(runs(TYPES[number], MUTATE[number]) for number in TYPES)))
def test_equal_entries_have_equal_bytes(lives: tuple[Run, ...]) -> None:
    """Digests compare stored forms: the order in which a dict was filled must not show."""
    entry = {
        kind: run.replicas[0].state for kind, run in zip(TYPES, lives, strict=True) if run.writes
    }
    check_entry({kind: state for kind, state in entry.items() if state != TYPES[kind].EMPTY})


# ---- broken types


def broken(number: int, **changes: Any) -> DataType:
    """A registered type with something replaced."""
    module = TYPES[number]
    names = ("ID", "NAME", "EMPTY", "delta", "merge", "visible", "context", "encode", "decode")
    parts = {name: getattr(module, name) for name in names}
    return cast(DataType, SimpleNamespace(**parts | changes))


def _larger_sum(a: slots.Slots, b: slots.Slots, *_: Any) -> slots.Slots:
    return max(a, b, key=slots.value)


def _larger_slot_sum(a: slots.Slots, b: slots.Slots, *_: Any) -> slots.Slots:
    """Per slot the larger inc - dec, where the larger of each component is right."""
    out = dict(a)
    for slot, theirs in b.items():
        ours = out.get(slot)
        if ours is None or theirs[0] - theirs[1] > ours[0] - ours[1]:
            out[slot] = theirs
    return out


def _added(a: slots.Slots, b: slots.Slots, *_: Any) -> slots.Slots:
    out = dict(a)
    for slot, theirs in b.items():
        ours = out.get(slot, (0, 0, 0, 0, 0))
        out[slot] = (ours[0] + theirs[0], ours[1] + theirs[1], *map(max, ours[2:], theirs[2:]))  # type: ignore[assignment]
    return out


def _ignoring_received(a: Any, b: Any, seen_a: Any, seen_b: Any) -> Any:
    """What one side has received and deleted comes back from the other."""
    removed = a[1] | b[1]
    held = {dot: value for dot, value in {**a[0], **b[0]}.items() if dot not in removed}
    return (held, frozenset(dot for dot in removed if dot not in seen_a and dot not in seen_b))


def _forgetting_awaited(a: Any, b: Any, seen_a: Any, seen_b: Any) -> Any:
    """A value that arrives after its removal stays."""
    return (siblings_module.merge(a, b, seen_a, seen_b)[0], frozenset())


def _by_time_alone(a: Any, b: Any, *_: Any) -> Any:
    return a if a[0] >= b[0] else b


def _encoded_as_filled(state: slots.Slots) -> list[int]:
    return [number for slot in state for number in (*slot, *state[slot])]


CANARIES: dict[str, tuple[int, dict[str, Any]]] = {
    "counter merged by maximum of sums": (G_COUNTER, {"merge": _larger_sum}),
    "counter slot merged by maximum of sums": (PN_COUNTER, {"merge": _larger_slot_sum}),
    "counter merged by addition": (G_COUNTER, {"merge": _added}),
    "siblings merged without what was received": (SIBLINGS, {"merge": _ignoring_received}),
    "siblings that forget awaited dots": (SIBLINGS, {"merge": _forgetting_awaited}),
    "register decided by time alone": (LWW_REGISTER, {"merge": _by_time_alone}),
    "encoding in the order of a dict": (PN_COUNTER, {"encode": _encoded_as_filled}),
}


@pytest.mark.parametrize("name", CANARIES)
def test_suite_finds_the_broken_type(name: str) -> None:
    """A suite that accepts these proves nothing about the others."""
    number, changes = CANARIES[name]
    with pytest.raises(AssertionError):
        check_laws(broken(number, **changes), MUTATE[number], shrink=False)
