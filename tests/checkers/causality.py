"""No effect before its cause, and no node that knows less than it had shown.

1. A vector that covers a write covers all that its writer surely had seen. Of one origin the last
   covered write is enough: what an origin has seen only grows.
2. What a node answers a call with covers all it had shown in calls that ended before that one
   started; unless the node was made to start over in between (``history.STARTS_OVER``).
"""

from __future__ import annotations

from bisect import bisect_right

from tests.checkers.count import Count, read_text
from tests.checkers.facts import Effect, Facts, dot_text, join
from tests.checkers.history import STARTS_OVER, Call, Final, Vector, Verdict


def causality(facts: Facts) -> Verdict:
    """Judge every vector that was shown."""
    count = Count("causality")
    answered = [call for call in facts.history.calls if call.outcome == "ok" and call.vector]
    causes = _Causes(facts)
    sources: list[Call | Final] = [*answered, *facts.history.finals]
    for source in sources:
        missing = causes.missing(source)
        if missing is None:
            count.ok()
        else:
            effect, origin, seq = missing
            count.lost(
                f"{read_text(source)} has {effect}, but not {dot_text((origin, seq))}, "
                "which its writer had seen"
            )
    _never_back(facts, answered, count)
    return count.verdict


class _Causes:
    """All writes, by origin, with what each had seen."""

    def __init__(self, facts: Facts) -> None:
        self._reissued = facts.history.reissued
        self._last: dict[str, Vector] = {}
        """Of each node, the last vector that was found right."""
        self._effects: dict[int, list[Effect]] = {}
        for effect in facts.by_dot.values():
            self._effects.setdefault(effect.origin, []).append(effect)
        self._seqs: dict[int, list[int]] = {}
        for origin, effects in self._effects.items():
            effects.sort(key=lambda effect: effect.seq)
            self._seqs[origin] = [effect.seq for effect in effects]

    def missing(self, source: Call | Final) -> tuple[Effect, int, int] | None:
        """A covered write, and a dot that it had seen and the vector lacks."""
        vector = source.vector
        last = self._last.get(source.node, {})
        if any(vector.get(origin, 0) < seq for origin, seq in last.items()):
            last = {}
        for origin, seq in vector.items():
            if last.get(origin) == seq:
                continue  # what that needs was there, and nothing has gone
            seqs = self._seqs.get(origin)
            if seqs is None or origin in self._reissued:
                continue
            index = bisect_right(seqs, seq)
            if not index:
                continue
            effect = self._effects[origin][index - 1]
            for other, needed in effect.low.items():
                if vector.get(other, 0) < needed and other != origin:
                    return effect, other, needed
        self._last[source.node] = vector
        return None


def _never_back(facts: Facts, answered: list[Call], count: Count) -> None:
    restarts: dict[str, list[float]] = {}
    for fault in facts.history.faults:
        if fault.kind in STARTS_OVER:
            for node in fault.nodes:
                restarts.setdefault(node, []).append(fault.started_ms)
    by_node: dict[str, list[Call]] = {}
    for call in answered:
        by_node.setdefault(call.node, []).append(call)
    for node, calls in by_node.items():
        _node_never_back(calls, sorted(restarts.get(node, [])), count)


def _node_never_back(calls: list[Call], restarts: list[float], count: Count) -> None:
    def life(at_ms: float | None) -> int:
        return bisect_right(restarts, at_ms or 0.0)

    calls.sort(key=lambda call: call.started_ms)
    ended = sorted(calls, key=lambda call: call.ended_ms or 0.0)
    shown: Vector = {}
    current = at = 0
    for call in calls:
        if life(call.started_ms) != current:
            current, shown = life(call.started_ms), {}
        while at < len(ended) and (ended[at].ended_ms or 0.0) < call.started_ms:
            if life(ended[at].started_ms) == current:
                shown = join(shown, ended[at].vector)
            at += 1
        if life(call.ended_ms) != current:
            continue
        for origin, seq in shown.items():
            if call.vector.get(origin, 0) < seq:
                count.lost(
                    f"{read_text(call)} lacks {dot_text((origin, seq))}, "
                    f"which {call.node} had shown before"
                )
                break
