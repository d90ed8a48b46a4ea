"""The form of a plan: what is to happen in one run, and nothing else decides it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tests.checkers.history import Type

Storage = Literal["memory", "lmdb"]


@dataclass(frozen=True, slots=True)
class Change:
    """One operation of a write."""

    action: Literal["put", "increment", "delete"]
    key: bytes
    type: Type
    value: bytes = b""
    amount: int = 0
    mode: Literal["observed", "blind", "context"] = "observed"
    ttl_ms: int = 0
    """Of a put: how long it is shown; 0: for good."""

    def __str__(self) -> str:
        what = self.value.decode() or (f"{self.amount:+d}" if self.amount else "")
        mode = "" if self.mode == "observed" else f" {self.mode}"
        ttl = f" for {self.ttl_ms} ms" if self.ttl_ms else ""
        return f"{self.action} {self.key.decode()} {what}{mode}{ttl}".replace("  ", " ")


@dataclass(frozen=True, slots=True)
class Ask:
    """One call of a client: a write if it has changes, else a read."""

    number: int
    client: int
    node: str
    changes: tuple[Change, ...] = ()
    keys: tuple[bytes, ...] = ()
    retries: int = 0
    failover: str = ""
    timeout_s: float = 3.0
    deaf: bool = False
    """The first answer gets lost on its last hop."""
    session: bool = False
    """Its client carries a token from call to call. All calls of one client do, or none."""
    durability: str = "fsync"
    """"fsync", "quorum", "all", or a number of members."""
    program: str = ""
    """Whose connections it takes; empty: it is a call of its own. The same for all of a client."""

    def __str__(self) -> str:
        what = "; ".join(map(str, self.changes)) or "read " + b" ".join(self.keys).decode()
        retry = f", {self.retries} retries {self.failover}".rstrip() if self.retries else ""
        deaf = ", first answer lost" if self.deaf else ""
        level = "" if self.durability == "fsync" else f", {self.durability}"
        token = ", in its session" if self.session else ""
        who = f"client{self.client}" + (f" of {self.program}" if self.program else "")
        return f"{who} at {self.node}: {what}{level}{token}{retry}{deaf}"


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happens. Times are virtual ms since the cluster was founded."""

    at_ms: int
    kind: str
    nodes: tuple[str, ...] = ()
    lasts_ms: int = 0
    amount: float = 0.0
    flag: bool = False
    ask: Ask | None = None
    prefix: bytes = b""
    """Of a watch."""

    def __str__(self) -> str:
        if self.ask is not None:
            return f"{self.at_ms:>6} {self.ask}"
        more = [f"for {self.lasts_ms} ms"] if self.lasts_ms else []
        more += [f"{self.amount:g}"] if self.amount else []
        more += ["*"] if self.flag else []
        more += [repr(self.prefix)] if self.prefix else []
        return f"{self.at_ms:>6} {self.kind} {','.join(self.nodes)} {' '.join(more)}".rstrip()


@dataclass(frozen=True, slots=True)
class Streams:
    """Bounds of the streams that programs have, as long as a run: small ones are reached."""

    open_max: int = 1_000
    """Requests of one that a node takes before it has answered."""
    window: int = 0
    """Messages on their way, each way; 0: any number."""
    linger_s: float = 2.0
    """Without a request for so long it ends,"""
    stream_s: float = 60.0
    """and so long after it began."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All that decides a run."""

    seed: int
    nodes: tuple[str, ...]
    """The founders."""
    settings: dict[str, int]
    """Of the configuration."""
    storage: Storage
    steps: tuple[Step, ...]
    lasts_ms: int
    chunk_bytes: int = 1 << 20
    """Of snapshots: small ones, so that small states come in many."""
    streams: Streams = Streams()

    @property
    def operations(self) -> int:
        """Operations clients ask for: those of writes, and keys of reads."""
        asks = [step.ask for step in self.steps if step.ask is not None]
        return sum(len(ask.changes) or len(ask.keys) for ask in asks)
