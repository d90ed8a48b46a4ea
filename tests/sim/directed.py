"""Schedules for what chance does not find."""

from __future__ import annotations

from collections.abc import Iterator

from tests.checkers.history import Finding


def run_directed() -> Iterator[tuple[str, list[Finding]]]:
    """Name and findings of each."""
    yield from ()
