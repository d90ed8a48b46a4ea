"""Counting what a checker finds: all is counted, the first few are told."""

from __future__ import annotations

from tests.checkers.facts import vector_text
from tests.checkers.history import Call, Final, Finding, Verdict

FINDINGS_MAX = 20
"""Of one checker: who has read twenty does not read the next thousand."""


class Count:
    """A verdict in the making."""

    def __init__(self, checker: str) -> None:
        self.verdict = Verdict(checker)

    def ok(self, times: int = 1) -> None:
        """As it should be."""
        self.verdict.ok += times

    def recovered(self) -> None:
        """It is there, though its caller was never told."""
        self.verdict.recovered += 1

    def lost(self, text: str) -> None:
        """It should be there."""
        self.verdict.lost += 1
        self._tell(text)

    def unexpected(self, text: str) -> None:
        """It should not be there."""
        self.verdict.unexpected += 1
        self._tell(text)

    def _tell(self, text: str) -> None:
        if len(self.verdict.findings) < FINDINGS_MAX:
            self.verdict.findings.append(Finding(self.verdict.checker, text))


def read_text(read: Call | Final) -> str:
    """Which read, for people."""
    if isinstance(read, Call):
        return f"call {read.number} at {read.node} ({vector_text(read.vector)})"
    return f"the end at {read.node} ({vector_text(read.vector)})"
