"""What nodes tell each other about themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

PROTOCOL = 1


@dataclass(frozen=True, slots=True)
class Hello:
    """Who speaks."""

    cluster: str
    name: str
    origin: int
    protocol: int = PROTOCOL


@dataclass(frozen=True, slots=True)
class Report:
    """What a node has synced and applied, what its clock says (Unix ms), and whom it knows."""

    vector: Mapping[int, int]
    wall_ms: int
    names: Mapping[int, str] = field(default_factory=dict)
    """origin -> name; empty if there is nothing new."""
    forks: Mapping[int, str] = field(default_factory=dict)
    """origin -> why nothing of it is taken any more."""
