"""What nodes tell each other about themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


@dataclass(frozen=True, slots=True)
class Lacking:
    """A part of the answer to a node that asked for what it lacks."""

    blocks: Sequence[bytes] = ()
    complete: bool = False
    """Nothing more was there to send."""
    floor: Mapping[int, int] | None = None
    """Set if some of it is no longer in the log, which begins above: nothing more is sent, for a
    log with holes would be taken for the whole (trap 12)."""
