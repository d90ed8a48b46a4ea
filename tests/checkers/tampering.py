"""Changing one thing in a history that was right, and asking who notices."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.checkers.history import Call, Final, History, Seen
from tests.checkers.judge import judge


def findings(history: History, checker: str) -> list[str]:
    """What that checker says; what others say of it as well is not looked at."""
    verdict = next(verdict for verdict in judge(history, skew_ms=10) if verdict.checker == checker)
    assert bool(verdict.findings) == bool(verdict.lost or verdict.unexpected)
    return [finding.text for finding in verdict.findings]


def everything(history: History) -> list[str]:
    """What anybody says."""
    return [finding.text for verdict in judge(history, skew_ms=10) for finding in verdict.findings]


def change(history: History, call: Call, **changes: Any) -> Call:
    """Another call in its place."""
    changed = replace(call, **changes)
    history.calls[history.calls.index(call)] = changed
    return changed


def show(history: History, call: Call, seen: Seen) -> Call:
    """Another look at one key in its place."""
    looks = tuple(seen if look.key == seen.key else look for look in call.seen)
    return change(history, call, seen=looks)


def show_at_end(history: History, seen: Seen) -> None:
    """Another look at one key at every node's end."""
    for index, final in enumerate(history.finals):
        history.finals[index] = replace(final, keys={**final.keys, seen.key: seen})


def change_final(history: History, index: int, **changes: Any) -> Final:
    """Another end of one node."""
    history.finals[index] = replace(history.finals[index], **changes)
    return history.finals[index]
