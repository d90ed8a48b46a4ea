"""Values with a deadline: hidden past it, shown before it, on every node.

The deadline is wall clock, and the nodes' clocks differ. Where the driver knows them, a value must
be hidden at a node whose own clock has passed its deadline, and shown as long as no clock ever has;
where it does not, within ``skew_ms`` of the deadline either is right.
"""

from __future__ import annotations

from collections.abc import Container

from tests.checkers.count import Count, read_text
from tests.checkers.facts import Effect, Facts, Story
from tests.checkers.history import Verdict, Written
from tests.checkers.reads import INFINITY, Read

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


def doubt_deletions_of_expired(
    facts: Facts, story: Story, skew_ms: int, modes: Container[str]
) -> None:
    """Mark the deletions that perhaps did nothing, as their node showed nothing any more: who saw
    nothing deletes nothing, and a node whose clock is behind goes on showing it.
    """
    expire = [e for effects in story.by_origin.values() for e in effects if e.written.deadline_ms]
    for effects in story.by_origin.values():
        for effect in effects:
            written = effect.written
            if (
                written.action == "delete"
                and written.mode in modes
                and any(
                    effect.maybe_saw(*value.dot)
                    and expired_maybe(facts, value.written, moment(effect), skew_ms)
                    for value in expire
                )
            ):
                effect.optional = True


def moment(effect: Effect) -> Read:
    """When it happened, as if it had been a read."""
    call = effect.call
    ended_ms = INFINITY if call.ended_ms is None else call.ended_ms
    return Read(call, call.node, {}, (), call.started_ms, ended_ms, call.clock)


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
