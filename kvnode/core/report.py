"""What nodes tell each other about themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

PROTOCOL = 2


@dataclass(frozen=True, slots=True)
class Hello:
    """Who speaks."""

    cluster: str
    name: str
    origin: int
    incarnation: int
    """Drawn at every start."""
    roster: bytes
    """As it is on disk (``core/roster.py``)."""
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
    roster: bytes = b""
    """The sender's roster on disk: it comes with the vector, see there why."""
    yours: Mapping[int, int] = field(default_factory=dict)
    """What the receiver last reported to the sender."""
    relayed: Mapping[int, Mapping[int, int]] = field(default_factory=dict)
    """origin -> what that member last reported to the sender; only now and then."""


@dataclass(frozen=True, slots=True)
class Meeting:
    """What a node answers who asks about an origin."""

    hello: Hello
    running: bool = False
    """A process under the origin was heard of lately."""
    seq: int = 0
    """The last write of it that the node has, and the chain value there."""
    chain: bytes = b""
    chain_at: bytes = b""
    """The chain value at the seq asked about; empty if no block known here ends there."""


@dataclass(frozen=True, slots=True)
class Lacking:
    """A part of the answer to a node that asked for what it lacks."""

    blocks: Sequence[bytes] = ()
    complete: bool = False
    """Nothing more was there to send."""
    floor: Mapping[int, int] | None = None
    """Set if some of it is no longer in the log, which begins above: nothing more is sent, for a
    log with holes would be taken for the whole (trap 12)."""
