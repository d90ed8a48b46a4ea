"""No acknowledged write is lost beyond what its durability says.

A write is there if the version vectors at the end cover its dot: what follows from that for its
value is the other checkers' to judge (visible, or replaced by who had seen it). Of a disk that was
lost on purpose what had reached nobody else may be missing, unless it was acknowledged as being
on other disks ("quorum", "all"). Also here: a dot is one write's, and a retry is no second write.
"""

from __future__ import annotations

from tests.checkers.count import Count
from tests.checkers.facts import Effect, Facts, Write, dot_text
from tests.checkers.history import Call, Dot, Verdict

ELSEWHERE = frozenset({"quorum", "all"})
DISK_LOST = frozenset({"wipe", "restore", "forget"})


def durability(facts: Facts) -> Verdict:
    """Judge every dot that was ever acknowledged."""
    count = Count("durability")
    for first, second in facts.reused:
        count.unexpected(f"{first} and {second} were acknowledged under one dot")
    for write in facts.writes:
        acknowledged = [call for call in write.calls if call.outcome == "ok" and call.dots]
        for call in acknowledged:
            origin = call.dots[0][0]
            if list(call.dots) != [(origin, call.dots[0][1] + i) for i in range(len(call.writes))]:
                count.unexpected(f"call {call.number} was told dots that are not in a row")
        _once(facts, count, write)
    told = _acknowledged(facts)
    for effect in facts.by_dot.values():
        _covered(facts, count, effect, told.get(effect.batch[0].dot, []))
    return count.verdict


def _once(facts: Facts, count: Count, write: Write) -> None:
    """A request was carried out once, or where nodes could not know of each other: once at each.

    Counters never: their retries go to the same origin only.
    """
    lost = facts.history.lost_origins
    homes = {
        call.dots[0]: call.number
        for call in write.calls
        if call.dots and not call.dots[0][1] > lost.get(call.dots[0][0], call.dots[0][1])
    }
    counts = any(written.action == "increment" for written in write.calls[0].writes)
    if len(homes) > (1 if counts else len({origin for origin, _ in homes})):
        numbers = ", ".join(str(call.number) for call in write.calls)
        count.unexpected(
            f"calls {numbers} are one request and were carried out more than once, "
            f"as {', '.join(map(dot_text, sorted(homes)))}"
        )


def _acknowledged(facts: Facts) -> dict[Dot, list[Call]]:
    """First dot of a write -> the acknowledgements of it, also those of its retries."""
    found: dict[Dot, list[Call]] = {}
    for write in facts.writes:
        for call in write.calls:
            if call.outcome == "ok" and call.dots:
                found.setdefault(call.dots[0], []).append(call)
    return found


def _is_elsewhere(facts: Facts, durability: str) -> bool:
    """Whether more disks had it than were lost."""
    if durability.isdecimal():
        lost = {fault.nodes[0] for fault in facts.history.faults if fault.kind in DISK_LOST}
        return int(durability) > len(lost)
    return durability in ELSEWHERE


def _covered(facts: Facts, count: Count, effect: Effect, acknowledged: list[Call]) -> None:
    history = facts.history
    missing = [
        final.node for final in history.finals if final.vector.get(effect.origin, 0) < effect.seq
    ]
    if not missing:
        if effect.call.outcome == "unknown":
            count.recovered()
        else:
            count.ok()
        return
    if effect.optional:
        return
    cut = history.lost_origins.get(effect.origin)
    lost = cut is not None and effect.seq > cut
    for call in acknowledged:
        if lost and not _is_elsewhere(facts, call.durability):
            continue
        count.lost(
            f"{effect}, acknowledged ({call.durability}) by {call.node}, "
            f"is missing at {', '.join(missing)}"
        )
        return
