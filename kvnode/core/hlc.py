"""Hybrid logical clock: one integer that follows causality and stays close to wall time.

``hlc = wall_ms << 16 | logical``. A block reserves one tick per operation, and every received
block advances the clock, so a later write is always later than all its writer had seen, whatever
the wall clocks say. 65,536 ticks in one millisecond simply carry into the time.

Kulkarni et al. 2014, "Logical Physical Clocks".
"""

from __future__ import annotations

LOGICAL_BITS = 16
HLC_MAX = 2**63 - 1
"""No honest clock gets there before the year 6429; a block beyond it is malformed."""
TIME_MS_MAX = HLC_MAX >> LOGICAL_BITS

AHEAD_MAX = 365 * 24 * 3600 * 1000 << LOGICAL_BITS
"""A client's context is believed up to a year ahead of all that was received: what bears such a
time was not written by any node, and a write that had to come after it would take the clock along.
"""


def tick(hlc: int, wall_ms: int) -> int:
    """The first free tick after ``hlc`` at wall time ``wall_ms`` (Unix ms)."""
    return max(hlc + 1, wall_ms << LOGICAL_BITS)


def time_ms(hlc: int) -> int:
    """The Unix ms in a tick."""
    return hlc >> LOGICAL_BITS


def is_time_ms(number: object) -> bool:
    """Whether a number that came from outside is a Unix time in ms that the clock can get to."""
    return type(number) is int and 0 < number <= TIME_MS_MAX


def median_offset_ms(offsets_ms: list[int]) -> int:
    """How far this node's wall clock is off, given its peers' offsets (theirs minus ours).

    The median of all members, this one (0) included; of two middle ones the smaller in size, so
    one fast peer never convicts a correct node, and of two nodes neither convicts the other.
    """
    ordered = sorted([0, *offsets_ms])
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return -ordered[middle]
    return -min(ordered[middle - 1], ordered[middle], key=abs)
