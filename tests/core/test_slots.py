"""The stored form of counter slots: as it was, and with the deletes' dots where there are any."""

from __future__ import annotations

from typing import Any

import pytest

from kvnode.core.errors import StateError
from kvnode.core.types import slots
from kvnode.core.types.slots import NO_DOT, Slots

PLAIN: Slots = {(1, 4): (5, 2, 0, 0, 9, NO_DOT, NO_DOT), (2, 1): (1, 0, 0, 0, 8, NO_DOT, NO_DOT)}
DELETED: Slots = {
    (1, 4): (5, 2, 5, 2, 9, (3, 7), (2, 6)),
    (2, 1): (1, 0, 0, 0, 8, NO_DOT, NO_DOT),
    (2, 3): (1, 0, 1, 0, 8, (3, 7), NO_DOT),
}


def test_slots_without_baselines_are_seven_numbers_each() -> None:
    assert slots.encode(PLAIN) == [1, 4, 5, 2, 0, 0, 9, 2, 1, 1, 0, 0, 0, 8]
    assert slots.decode(slots.encode(PLAIN)) == PLAIN


def test_deletes_are_one_list_behind_the_slots() -> None:
    encoded = slots.encode(DELETED)
    assert len(encoded) == 3 * 7 + 1
    assert encoded[-1] == [3, 7, 2, 6, 3, 7, 0, 0]
    assert slots.decode(encoded) == DELETED


def test_a_baseline_whose_delete_is_not_known_is_never_collected() -> None:
    """What no dot tells to be stable may not go."""
    decoded = slots.decode(slots.encode(DELETED)[:-1])
    assert decoded[(1, 4)] == (5, 2, 5, 2, 9, NO_DOT, NO_DOT)
    assert slots.garbage(decoded) == []
    assert slots.collect(decoded, {0: 9, 1: 9, 2: 9, 3: 9}) is decoded


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [1],
        [1, 4, 5, 2, 5, 2, 9, 3],
        [1, 4, 5, 2, 5, 2, 9, [3, 7]],
        [1, 4, 5, 2, 5, 2, 9, [3, 7, 2, 6, 1]],
        [1, 4, 5, 2, 5, 2, 9, [3, 7, 2, -6]],
        [1, 4, 5, 2, 5, 2, 9, [3, 7, 2, "6"]],
        [1, 4, 5, 2, 0, 0, 9, [3, 7, 2, 6]],
        [1, 4, 5, 2, 5, 2, -9],
        [1, 4, 5, 2, 5, 2],
    ],
)
def test_other_forms_are_refused(raw: Any) -> None:
    with pytest.raises(StateError):
        slots.decode(raw)
