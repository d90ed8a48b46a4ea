"""No acknowledged write is lost beyond what its durability says.

A write is there if the version vectors at the end cover its dot: what follows from that for its
value is the other checkers' to judge (visible, or replaced by who had seen it). Of a disk that was
lost on purpose what had reached nobody else may be missing, unless it was acknowledged as being
on other disks ("quorum", "all"). Also here: a dot is one write's, and a retry is no second write.
"""

from __future__ import annotations

from tests.checkers.count import Count
from tests.checkers.facts import Effect, Facts, dot_text
from tests.checkers.history import Verdict

ELSEWHERE = frozenset({"quorum", "all"})


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
        homes = {call.dots[0] for call in acknowledged}
        if len(homes) > len({origin for origin, _ in homes}) or (
            len(homes) > 1
            and any(written.action == "increment" for written in write.calls[0].writes)
        ):
            numbers = ", ".join(str(call.number) for call in acknowledged)
            count.unexpected(
                f"calls {numbers} are one request and were carried out more than once, "
                f"as {', '.join(map(dot_text, sorted(homes)))}"
            )
    for effect in facts.by_dot.values():
        _covered(facts, count, effect)
    return count.verdict


def _covered(facts: Facts, count: Count, effect: Effect) -> None:
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
    if effect.call.outcome == "unknown" or effect.optional:
        return
    cut = history.lost_origins.get(effect.origin)
    if cut is not None and effect.seq > cut and effect.call.durability not in ELSEWHERE:
        return
    count.lost(
        f"{effect}, acknowledged ({effect.call.durability}) by {effect.call.node}, "
        f"is missing at {', '.join(missing)}"
    )
