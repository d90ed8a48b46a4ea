"""Values with a deadline: hidden past it, shown before it, on every node.

The deadline is wall clock, and the nodes' clocks differ. Where the driver knows them, a value must
be hidden at a node whose own clock has passed its deadline, and shown as long as no clock ever has;
where it does not, within ``skew_ms`` of the deadline either is right.
"""

from __future__ import annotations

from tests.checkers.count import Count, read_text
from tests.checkers.facts import Facts
from tests.checkers.history import Verdict, Written
from tests.checkers.reads import Read

SKEW_MS = 1_000


def expired_maybe(facts: Facts, written: Written, read: Read, skew_ms: int) -> bool:
    """Whether the read may rightly have found it expired."""
    deadline = written.deadline_ms
    if deadline is not None and read.clock is not None:
        return read.clock[1] >= deadline
    return deadline is not None and facts.history.epoch_ms + read.ended_ms > deadline - skew_ms


def expired_surely(facts: Facts, written: Written, read: Read, skew_ms: int) -> bool:
    """Whether the read must have found it expired."""
    deadline = written.deadline_ms
    if deadline is not None and read.clock is not None:
        return read.clock[0] > deadline
    return deadline is not None and facts.history.epoch_ms + read.started_ms > deadline + skew_ms


def expiry(facts: Facts, reads: list[Read], skew_ms: int = SKEW_MS) -> Verdict:
    """Nothing is shown past its deadline. (That it is shown before is the types' checkers'.)"""
    count = Count("expiry")
    for read in reads:
        for seen in read.seen:
            dots = [*seen.siblings, seen.lww[0]] if seen.lww is not None else [*seen.siblings]
            for dot in dots:
                effect = facts.by_dot.get(dot)
                if effect is None or effect.written.deadline_ms is None:
                    continue
                if expired_surely(facts, effect.written, read, skew_ms):
                    late_ms = facts.history.epoch_ms + read.started_ms - effect.written.deadline_ms
                    count.unexpected(
                        f"{effect} is shown {late_ms:.0f} ms past its deadline "
                        f"by {read_text(read.source)}"
                    )
                else:
                    count.ok()
    return count.verdict
