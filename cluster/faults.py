"""What can be wrong with one direction of a link, and the count of what it did.

A partition is data: a ``Fault`` per ordered pair of nodes. The counters exist so that a test can
assert that its fault really happened.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Mode(StrEnum):
    """What happens to the bytes that travel one way between two nodes."""

    PASS = "pass"
    """Delivered as they come."""

    DELAY = "delay"
    """Delivered ``delay_ms`` later, in order."""

    DROP = "drop"
    """Nothing is delivered, connections stay open, new ones hang: a firewall that drops packets.
    When the mode ends what was held flows on, as TCP retransmits."""

    CUT = "cut"
    """Open connections of the pair are reset and new ones are reset at once. A TCP connection needs
    both directions: if either is cut, none can exist between the two nodes."""

    RESET = "reset"
    """Open connections of the pair are reset once; from then on as ``PASS``."""


@dataclass(frozen=True, slots=True)
class Fault:
    """The mode of one direction with its measures.

    ``jitter_ms`` adds 0..jitter to each delay; order is kept. ``rate_bytes_s`` limits the whole
    direction (all its connections together), 0 means no limit. Raises ``ValueError`` for a measure
    that the mode does not have.
    """

    mode: Mode = Mode.PASS
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    rate_bytes_s: int = 0

    def __post_init__(self) -> None:
        if min(self.delay_ms, self.jitter_ms, self.rate_bytes_s) < 0:
            raise ValueError(f"delay, jitter and rate cannot be negative: {self}")
        if self.mode is not Mode.DELAY and (self.delay_ms or self.jitter_ms):
            raise ValueError(f"mode {self.mode} takes no delay or jitter")
        if self.rate_bytes_s and self.mode not in (Mode.PASS, Mode.DELAY):
            raise ValueError(f"mode {self.mode} takes no rate")

    @property
    def immediate(self) -> bool:
        """Bytes go through with nothing to wait for."""
        return self.mode is Mode.PASS and not self.rate_bytes_s

    @property
    def stalls(self) -> bool:
        """Nothing is delivered while this lasts."""
        return self.mode is Mode.DROP

    def to_json(self) -> dict[str, Any]:
        """Plain values for the control protocol; ``from_json`` is the way back."""
        return asdict(self)

    @staticmethod
    def from_json(plain: dict[str, Any]) -> Fault:
        """Raises ``ValueError`` or ``TypeError`` for what ``to_json`` cannot have written."""
        return Fault(**{**plain, "mode": Mode(plain["mode"])})

    def __str__(self) -> str:
        parts = [str(self.mode)]
        if self.mode is Mode.DELAY:
            parts.append(f"{self.delay_ms:g} ms")
        if self.jitter_ms:
            parts.append(f"+ up to {self.jitter_ms:g} ms")
        if self.rate_bytes_s:
            parts.append(f"at {self.rate_bytes_s} bytes/s")
        return " ".join(parts)


@dataclass(slots=True)
class Counters:
    """What one direction did since its links were made. Faults are counted when they hit something.

    A mode that met no traffic counts nothing: a zero in a test means that the test proved nothing.
    """

    bytes_delivered: int = 0
    bytes_held: int = 0
    """Waiting now, because of a delay, a rate, a drop or a connection not yet made."""

    connections: int = 0
    """Connections between the two nodes, whoever dialed, that reached the other side."""

    connections_open: int = 0

    chunks_delayed: int = 0
    """Reads that waited because of a delay or a rate."""

    chunks_dropped: int = 0
    """Reads held back, and new connections left hanging, because of a drop in this direction."""

    connections_cut: int = 0
    """Connections closed or refused by a cut of this direction."""

    connections_reset: int = 0

    @property
    def faults(self) -> int:
        """How often any fault hit something."""
        return (
            self.chunks_delayed
            + self.chunks_dropped
            + self.connections_cut
            + self.connections_reset
        )
