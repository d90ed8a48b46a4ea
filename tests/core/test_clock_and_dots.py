"""Dots, vectors and the hybrid logical clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvnode.core.dots import Covered, Vector, covers, missing_ops
from kvnode.core.hlc import LOGICAL_BITS, median_offset_ms, tick, time_ms

vectors = st.dictionaries(st.integers(1, 4), st.integers(1, 5), max_size=4)
WALL_MS = 1_700_000_000_000


@given(vectors, vectors)
def test_covers_means_that_no_operation_is_missing(a: Vector, b: Vector) -> None:
    assert covers(a, b) == (missing_ops(a, b) == 0)
    dots = [(origin, seq) for origin, last in b.items() for seq in range(1, last + 1)]
    assert missing_ops(a, b) == sum(dot not in Covered(a) for dot in dots)


def test_covered_follows_its_vector() -> None:
    """The write path advances the vector while a merge looks at it."""
    vector = {1: 2}
    seen = Covered(vector)
    assert (1, 2) in seen
    assert (1, 3) not in seen
    assert (2, 1) not in seen
    vector[1] = 3
    assert (1, 3) in seen


def test_clock_follows_the_wall() -> None:
    assert tick(0, WALL_MS) == WALL_MS << LOGICAL_BITS
    assert time_ms(tick(0, WALL_MS)) == WALL_MS


@pytest.mark.parametrize("step_back_ms", [0, 1, 3_600_000])
def test_clock_never_goes_back_with_the_wall(step_back_ms: int) -> None:
    before = tick(0, WALL_MS)
    assert tick(before, WALL_MS - step_back_ms) == before + 1


def test_logical_overflow_carries_into_the_time() -> None:
    """65,536 writes in one millisecond are no reason to wait or to refuse."""
    last = (WALL_MS << LOGICAL_BITS) + (1 << LOGICAL_BITS) - 1
    carried = tick(last, WALL_MS)
    assert carried > last
    assert time_ms(carried) == WALL_MS + 1
    assert tick(carried, WALL_MS + 1) == carried + 1


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=20), st.integers(0, 3))
def test_ticks_are_strictly_increasing(steps: list[int], jump: int) -> None:
    hlc, wall = 0, WALL_MS
    for step in steps:
        wall += step
        following = tick(hlc + jump, wall)
        assert following > hlc
        hlc = following


@pytest.mark.parametrize(
    ("peers", "offset"),
    [
        ([], 0),
        ([60_000], 0),  # of two nodes neither convicts the other
        ([0, 60_000], 0),  # a fast peer convicts nobody else
        ([60_000, 60_000], -60_000),  # this node is slow
        ([-60_000, -60_000], 60_000),  # this node is fast
        ([-5, 7, 60_000], -0),
        ([3, 4, 60_000, 60_000], -4),
    ],
)
def test_own_clock_is_judged_by_the_median(peers: list[int], offset: int) -> None:
    assert median_offset_ms(peers) == offset
    assert median_offset_ms([-peer for peer in peers]) == -offset
