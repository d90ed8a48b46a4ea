"""What nodes tell each other about themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from kvnode.core.errors import Reason, Refused

PROTOCOL = 4
"""Grows with the messages, and with what digests mean. 3: of siblings another live form. 4: another
hash."""


ORIGINS_MAX = 1 << 16
"""That a report can name. Each data directory a member ever began with is one, so no cluster comes
near it; a member that invented more would have every other keep and compare them for ever."""
RELAYED_MAX = 1 << 18
"""In all the reports that are passed on in one, together; of more, none are heeded."""


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
    secret_check: bytes = b""
    """The same where the secrets of context tokens are; empty: nothing is said of it."""


def check_origins(known: Mapping[int, int], told: Mapping[int, int]) -> None:
    """Refused (BAD_REQUEST) if what was known and what is told now name too many together."""
    if len(known) + len(told) > ORIGINS_MAX and len(known.keys() | told.keys()) > ORIGINS_MAX:
        raise too_many()


def too_many() -> Refused:
    """What is said to who names more than any cluster has."""
    return Refused(
        Reason.BAD_REQUEST,
        f"reports of a member name more than {ORIGINS_MAX} origins, which no cluster has",
        limit=str(ORIGINS_MAX),
    )


class Contradiction(NamedTuple):
    """Why blocks of an origin do not fit at the reporting node.

    The origin may be innocent: its blocks build on what it has received, and that may be the other
    one of two histories of somebody else. What the reporting node has *of* it tells.
    """

    reason: str
    seq: int
    """The last write of it that the reporting node has; 0 if none."""
    chain: bytes
    """The chain value there."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a node has synced and applied, what its clock says (Unix ms), and whom it knows."""

    vector: Mapping[int, int]
    wall_ms: int
    names: Mapping[int, str] = field(default_factory=dict)
    """origin -> name; empty if there is nothing new."""
    forks: Mapping[int, Contradiction] = field(default_factory=dict)
    """origin -> why nothing of it is taken any more."""
    roster: bytes = b""
    """The sender's roster on disk; empty while the receiver has shown the same."""
    roster_hash: bytes = b""
    """Of the sender's roster on disk: without that one the vector says nothing about stability."""
    yours: Mapping[int, int] = field(default_factory=dict)
    """All that the receiver ever reported to have, under ``your_origin``."""
    relayed: Mapping[int, Mapping[int, int]] = field(default_factory=dict)
    """origin -> what that member last reported to the sender; only now and then."""
    your_origin: int = 0
    """Whom the sender takes the receiver for; it may have begun anew since."""


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
    vector: Mapping[int, int] = field(default_factory=dict)
    """What the node has synced and applied."""


@dataclass(frozen=True, slots=True)
class Lacking:
    """A part of the answer to a node that asked for what it lacks."""

    blocks: Sequence[bytes] = ()
    complete: bool = False
    """Nothing more was there to send."""
    floor: Mapping[int, int] | None = None
    """Set if some of it is no longer in the log, which begins above: nothing more is sent, for a
    log with holes would be taken for the whole (trap 12)."""
