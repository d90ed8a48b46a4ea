"""The laws, for every registered type, and broken types that the suite has to find."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvnode.core.types import (
    G_COUNTER,
    LWW_REGISTER,
    PN_COUNTER,
    SIBLINGS,
    TYPES,
    DataType,
    lww,
    slots,
)
from kvnode.core.types import siblings as siblings_module
from tests.laws.lattice import MUTATE, Run, check_entry, check_laws, runs


def test_every_registered_type_is_under_the_laws() -> None:
    """A type that nobody taught the suite to write would pass it untried."""
    assert MUTATE.keys() == TYPES.keys()


@pytest.mark.parametrize("number", TYPES, ids=lambda number: TYPES[number].NAME)
def test_type_keeps_the_laws(number: int) -> None:
    check_laws(TYPES[number], MUTATE[number])


@pytest.mark.parametrize("number", TYPES, ids=lambda number: TYPES[number].NAME)
def test_type_keeps_the_laws_while_some_replicas_collect(number: int) -> None:
    """Trap 19: replicas that have collected and others have one live form."""
    check_laws(TYPES[number], MUTATE[number], collecting=True)


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
    names = "ID NAME EMPTY delta merge visible context encode decode deadlines garbage collect live"
    parts = {name: getattr(module, name) for name in names.split()}
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
        inc, dec = out.get(slot, slots.UNKNOWN)[:2]
        out[slot] = (inc + theirs[0], dec + theirs[1], *theirs[2:])
    return out


def _ignoring_received(a: Any, b: Any, seen_a: Any, seen_b: Any) -> Any:
    """What one side has received and deleted comes back from the other."""
    removed = a[1] | b[1]
    held = {dot: value for dot, value in {**a[0], **b[0]}.items() if dot not in removed}
    return (held, frozenset(dot for dot in removed if dot not in seen_a and dot not in seen_b))


def _forgetting_awaited(a: Any, b: Any, seen_a: Any, seen_b: Any) -> Any:
    """A value that arrives after its removal stays."""
    return (siblings_module.merge(a, b, seen_a, seen_b)[0], frozenset())


def _collected_comes_back(a: slots.Slots, b: slots.Slots, *_: Any) -> slots.Slots:
    return slots.merge(a, b)


def _register_comes_back(a: Any, b: Any, *_: Any) -> Any:
    return a if a[:3] >= b[:3] else b


def _collected_at_once(state: Any, stable: Any, past: Any) -> Any:  # noqa: ARG001
    """As by a timer."""
    return state if state[3] is not None else (0, 0, 0, None)


def _expired_at_once(state: Any, stable: Any, past: Any) -> Any:
    """A silent local delete."""
    return lww.collect(state, stable, 0) if lww.visible(state, past) else (0, 0, 0, None)


def _longest_wins(a: Any, b: Any, seen_a: Any, seen_b: Any) -> Any:
    """Both values' deadlines are merged into the winner's."""
    winner = lww.merge(a, b, seen_a, seen_b)
    longest = max(lww.deadline(a), lww.deadline(b))
    return (*winner[:4], longest) if longest and winner[3] is not None else winner


def _never_expired(state: Any, past: Any) -> Any:  # noqa: ARG001
    """What has expired counts in digests for as long as it is held."""
    return siblings_module.live(state, 0)


def _by_time_alone(a: Any, b: Any, *_: Any) -> Any:
    return a if a[0] >= b[0] else b


def _encoded_as_filled(state: slots.Slots) -> list[int]:
    return [number for slot in state for number in (*slot, *state[slot][:5])]


CANARIES: dict[str, tuple[int, dict[str, Any]]] = {
    "counter merged by maximum of sums": (G_COUNTER, {"merge": _larger_sum}),
    "counter slot merged by maximum of sums": (PN_COUNTER, {"merge": _larger_slot_sum}),
    "counter merged by addition": (G_COUNTER, {"merge": _added}),
    "siblings merged without what was received": (SIBLINGS, {"merge": _ignoring_received}),
    "siblings that forget awaited dots": (SIBLINGS, {"merge": _forgetting_awaited}),
    "register decided by time alone": (LWW_REGISTER, {"merge": _by_time_alone}),
    "encoding in the order of a dict": (PN_COUNTER, {"encode": _encoded_as_filled}),
}


COLLECTING_CANARIES: dict[str, tuple[int, dict[str, Any]]] = {
    "counter slot that comes back after its collection": (
        PN_COUNTER,
        {"merge": _collected_comes_back},
    ),
    "register that comes back after its collection": (
        LWW_REGISTER,
        {"merge": _register_comes_back},
    ),
    "tombstone collected before it is stable": (LWW_REGISTER, {"collect": _collected_at_once}),
    "expired value collected before it is stable": (LWW_REGISTER, {"collect": _expired_at_once}),
    "deadlines merged, the longest wins": (LWW_REGISTER, {"merge": _longest_wins}),
    "expired values in digests": (SIBLINGS, {"live": _never_expired}),
}


@pytest.mark.parametrize("name", CANARIES)
def test_suite_finds_the_broken_type(name: str) -> None:
    """A suite that accepts these proves nothing about the others."""
    number, changes = CANARIES[name]
    with pytest.raises(AssertionError):
        check_laws(broken(number, **changes), MUTATE[number], shrink=False)


@pytest.mark.parametrize("name", COLLECTING_CANARIES)
def test_suite_finds_the_type_that_collects_wrongly(name: str) -> None:
    """Traps 4, 9, 10 and 11."""
    number, changes = COLLECTING_CANARIES[name]
    with pytest.raises(AssertionError):
        check_laws(broken(number, **changes), MUTATE[number], collecting=True, shrink=False)
