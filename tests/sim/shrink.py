"""The smallest schedule that still fails: steps are left out as long as the finding stays."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from tests.sim.plan import Step
from tests.sim.world import Result, play

SECONDS = 240.0


def shrink(result: Result, tell: Callable[[str], None], seconds: float = SECONDS) -> Result:
    """The failing run of the fewest steps that was found in the time.

    It fails if the checker that spoke first finds something: not necessarily the same thing.
    """
    checker = result.findings[0].checker
    until = time.monotonic() + seconds
    best = result

    def fails(steps: Sequence[Step]) -> bool:
        nonlocal best
        found = play(replace(result.plan, steps=tuple(steps)))
        if any(each.checker == checker for each in found.findings):
            best = found
            return True
        return False

    runs = 0
    steps = list(result.plan.steps)
    size = max(1, len(steps) // 2)
    while time.monotonic() < until:
        before = len(steps)
        first = 0
        while first < len(steps) and time.monotonic() < until:
            fewer = steps[:first] + steps[first + size :]
            runs += 1
            if fails(fewer):
                steps = fewer
                tell(f"{len(steps)} steps left after {runs} runs")
            else:
                first += size
        if size > 1:
            size = max(1, size // 2)
        elif len(steps) == before:
            break
    return best
