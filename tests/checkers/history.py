"""What clients asked of a cluster and what they were told: the only input of the checkers.

A driver (the simulator, the nemesis) appends one ``Call`` per client call when it has ended, or at
the end of the run if it never did. A client is one session: it has one call open at a time. Every
value that is written is unique in the history, so that a value tells which write it is of.

Nothing here knows how kvnode works: dots and vectors are what the API shows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Dot = tuple[int, int]
"""(origin, seq)."""
Vector = dict[int, int]
Type = Literal["GCOUNTER", "PNCOUNTER", "LWW", "SIBLINGS"]


@dataclass(frozen=True, slots=True)
class Written:
    """One operation of a write, as it was asked for."""

    action: Literal["put", "increment", "delete"]
    key: bytes
    type: Type
    value: bytes = b""
    """Of a put; unique in the history."""
    amount: int = 0
    """Of an increment; negative for a decrement."""
    mode: Literal["observed", "blind", "context"] = "observed"
    context: frozenset[Dot] | None = None
    """With mode "context": the dots that the token's reader had seen of this key."""
    seen: Vector | None = None
    """The vector of the read that the context is of, if its type needs it (counters, LWW)."""
    deadline_ms: int | None = None
    """When the value expires, wall clock."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One key as a read found it; what is None or empty was not shown."""

    key: bytes
    siblings: dict[Dot, bytes] = field(default_factory=dict)
    lww: tuple[Dot, bytes] | None = None
    counters: dict[Type, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Call:
    """One client call. Times are of one clock for the whole history: ms since its start."""

    number: int
    client: int
    node: str
    """The node it was sent to."""
    started_ms: float
    ended_ms: float | None
    """None: no answer came before the run ended."""
    outcome: Literal["ok", "refused", "unknown"]
    """refused: nothing was changed, and the node said so. unknown: it may have happened."""
    reason: str = ""
    """Of a refusal or an unknown outcome, the machine-readable reason."""
    writes: tuple[Written, ...] = ()
    """An atomic batch; empty: a read."""
    dots: tuple[Dot, ...] = ()
    """Of an acknowledged write: one per operation. Of one with an unknown outcome: given if the
    driver found out (from the log, say) that it did happen."""
    repeated: bool = False
    """The node answered with the outcome of an earlier call with the same request id."""
    request: bytes = b""
    """Request id; equal in the calls that retry one write."""
    seen: tuple[Seen, ...] = ()
    """Of a read: what it found, for each key that was asked for."""
    token: Vector | None = None
    """The session vector that was sent along, if one was."""
    vector: Vector = field(default_factory=dict)
    """The session vector that came back with an acknowledgement or a read; empty: none did."""
    before: Vector | None = None
    """What the node had applied just before the write, where the driver can know it: the deps of
    its block. (The own component does not matter: a write has seen all earlier ones of its origin.)
    """
    durability: str = "fsync"
    """"buffered", "fsync", "quorum", "all", or a number of members."""
    clock: tuple[float, float] | None = None
    """Of a call, where the driver knows the clocks (Unix ms): what the node's clock said at least
    when it answered, and the most that any node's clock had said by then."""


UNCLEAN = frozenset({"kill", "crash", "power", "wipe", "restore", "clone"})
"""Faults after which a write acknowledged as "buffered" may be missing."""
STARTS_OVER = frozenset({"wipe", "restore", "clone", "resync"})
"""Faults after which a node may show less than it had shown before."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that was done to the cluster."""

    kind: str
    """"kill", "cut", "clock", "wipe", ... Those in ``UNCLEAN`` and ``STARTS_OVER`` mean something
    to the checkers."""
    nodes: tuple[str, ...]
    started_ms: float
    ended_ms: float | None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Final:
    """What one node shows when everything is healed and quiet."""

    node: str
    vector: Vector
    digest: str
    keys: dict[bytes, Seen]
    at_ms: float | None = None
    """When it was taken, in the calls' time; None: not known (matters for values that expire)."""
    journal: frozenset[Dot] | None = None
    """The dots in the node's loser journal, if the driver asked for it."""
    clock: tuple[float, float] | None = None
    """As of a call."""


@dataclass(frozen=True, slots=True)
class Told:
    """One step of a watch: what a reader stores together with a token."""

    node: str
    at_ms: float
    writes: tuple[tuple[bytes, Dot], ...]
    """In the order in which they were told: key and dot."""
    states: tuple[Seen, ...]
    """How the keys were then; also of keys that were there before, without writes."""


@dataclass(slots=True)
class Watched:
    """One watch, over all nodes that it went on at."""

    number: int
    prefix: bytes
    since: Vector
    """What was there when it began."""
    told: list[Told] = field(default_factory=list)
    finished: bool = False
    """Whether it went on until it had been told all."""

    def __str__(self) -> str:
        return f"watch {self.number} of {self.prefix!r}"


@dataclass(slots=True)
class History:
    """One run."""

    calls: list[Call] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    finals: list[Final] = field(default_factory=list)
    lost_origins: dict[int, int] = field(default_factory=dict)
    """origin -> the last seq that reached anybody else, of disks that were lost on purpose (and of
    members that were forgotten: the cut): later writes of it may be missing, that is documented.
    Its earlier ones may not."""
    reissued: frozenset[int] = frozenset()
    """Origins of which a losing branch was set aside and its writes issued again under another
    origin: their values are found under dots that were never acknowledged."""
    settled: bool = False
    """Whether every call with an unknown outcome that did happen has its dots, so that one without
    did not happen. A simulator can know."""
    watches: list[Watched] = field(default_factory=list)
    """Not written to files (``record.py``): only the simulator has them."""
    epoch_ms: int = 0
    """Wall clock, Unix ms, at time 0 of the calls: what ``deadline_ms`` is compared with."""


@dataclass(slots=True)
class Finding:
    """Something that should not be."""

    checker: str
    text: str


@dataclass(slots=True)
class Verdict:
    """One checker's counts and findings."""

    checker: str
    ok: int = 0
    lost: int = 0
    unexpected: int = 0
    recovered: int = 0
    """Writes whose caller was not told, and which are there."""
    findings: list[Finding] = field(default_factory=list)
