"""What was wanted, and what came of it: "question, peer, kvnode, ratio, wanted".

A target compares a figure of kvnode with one of a peer of the same run, or with the sum of several,
or with a fixed number. The ratio is kvnode / peer, as it came out. A row whose figures were not
measured says so; nothing is filled in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from bench.figures import Figures, shown

Of = tuple[str, str]
"""(figure's name, subject)."""


@dataclass(frozen=True, slots=True)
class Target:
    """One line of what is wanted. Without ``peer`` the bound is for the figure itself."""

    question: str
    kvnode: Of
    bound: float
    at_least: bool = False
    peer: tuple[Of, ...] = ()
    called: str = ""
    """What the peer's side is, in words."""


@dataclass(frozen=True, slots=True)
class Row:
    """A target and what was found; None: not measured."""

    question: str
    called: str
    kvnode: float | None
    peer: float | None
    ratio: float | None
    bound: float
    at_least: bool
    absolute: bool
    """The bound is for kvnode's figure and not for the ratio."""

    @property
    def met(self) -> bool | None:
        """Whether it is as wanted; None if it was not measured."""
        value = self.kvnode if self.absolute else self.ratio
        if value is None:
            return None
        return value >= self.bound if self.at_least else value <= self.bound


def _vs(
    question: str, name: str, peer: str, called: str, bound: float, *, at_least: bool = True
) -> Target:
    """A figure of kvnode against the same of a peer."""
    return Target(question, (name, "kvnode"), bound, at_least, ((name, peer),), called)


def _at_most(question: str, name: str, bound: float) -> Target:
    """A figure of kvnode against a number."""
    return Target(question, (name, "kvnode"), bound)


def _vs_own(question: str, name: str, one: str, other: str, bound: float) -> Target:
    """A figure of kvnode against another of its own, whose name differs at the end."""
    peer = ((name + other, "kvnode"),)
    return Target(question, (name + one, "kvnode"), bound, peer=peer, called=other)


LEVEL: Final = 1.1
"""As much as before, as well as that can be measured."""
DEEPER: Final = round(math.log(3_000_000) / math.log(10_000), 2)
"""What a tree of 3 M keys costs more than one of 10 K."""

CPU: Final = "curve/writes by keys, batches of 100/writes, CPU "
COUNT: Final = "growth/increment, "
ENTRIES: Final = "start/checkpointed, 1,000,000 log entries, at 1,000,000"
B100: Final = "one node/batch 100"
SINGLE: Final = "one node/single, 64 in flight"
ALONE: Final = "one node/single, 1 in flight/p50"
HOT: Final = "counters/hot, 64 callers"
HOT_100: Final = "counters/hot, batch 100"
THREE: Final = "three nodes/converged"

TARGETS: Final[Sequence[Target]] = (
    _vs("one node, batches of 100, writes/s", B100, "redis", "redis-py pipelines of 100", 2.0),
    _vs("batches of 1000, writes/s", "one node/batch 1000", "redis", "pipelines of 1000", 2.5),
    Target(
        "batches of 100, writes/s",
        (B100, "kvnode"),
        0.55,
        at_least=True,
        peer=(("limits/echo batch 100", "grpcio"),),
        called="bare grpcio echo of the batch",
    ),
    _vs("64 concurrent single puts, writes/s", SINGLE, "redis", "redis-py SET at 64", 2.0),
    _vs("64 concurrent single puts, writes/s", SINGLE, "etcd", "etcd Put at 64", 3.0),
    Target(
        "one put at a time, median ms",
        (ALONE, "kvnode"),
        1.25,
        peer=(("limits/echo 1 in flight/p50", "grpcio"), ("limits/fdatasync/p50", "bare")),
        called="bare unary echo + fdatasync",
    ),
    _vs("one hot counter, 64 callers, /s", HOT, "redis", "redis-py INCR at 64", 2.0),
    _vs("one hot counter, batches of 100, /s", HOT_100, "redis", "pipelines of 100 INCR", 2.0),
    _vs("three nodes, converged writes/s", THREE, "redis", "redis primary + 2 replicas", 1.3),
    _vs("three nodes, converged writes/s", THREE, "etcd", "etcd of three, transactions", 2.5),
    _vs("lag idle, median ms", "lag/idle/p50", "redis", "redis replica", 1.5, at_least=False),
    _vs("lag idle, p99 ms", "lag/idle/p99", "redis", "redis replica", 1.5, at_least=False),
    _vs("lag at 1 K writes/s, median ms", "lag/1 K/p50", "redis", "replica", 2.0, at_least=False),
    _vs("lag at 1 K writes/s, p99 ms", "lag/1 K/p99", "redis", "replica", 2.0, at_least=False),
    _at_most("catch-up of 100 K missed writes, s", "catch-up/seconds at 100,000", 2.0),
    _at_most("the same, MB on the wire", "catch-up/wire at 100,000", 15),
    _at_most("bulk load of 1 M keys, s", "growth/load at 1,000,000", 12),
    _at_most("anonymous memory at 1 M keys, MB", "growth/memory at 1,000,000", 150),
    _at_most("anonymous memory at 3 M keys, MB", "growth/memory at 3,000,000", 150),
    _at_most("disk per key at 1 M keys, bytes", "growth/disk per key at 1,000,000", 230),
    _at_most("ready after kill -9 with 1 M keys, s", "start/kill -9 at 1,000,000", 1.5),
    _at_most("the same, all checkpointed, s", "start/checkpointed at 1,000,000", 1.5),
    _at_most("the same and 1 M log entries, s", ENTRIES, 1.5),
    _vs_own("CPU of a write at 3 M keys, us", CPU, "at 3,000,000", "at 10,000", DEEPER),
    _vs_own("CPU of an increment, late, us", COUNT, "late", "early", LEVEL),
    _vs_own(
        "CPU of a write after 5 restarts, us",
        "growth/write, ",
        "after 5 restarts",
        "after 0 restarts",
        LEVEL,
    ),
    _vs_own(
        "CPU of an increment after 5 restarts, us",
        COUNT,
        "after 5 restarts",
        "after 0 restarts",
        LEVEL,
    ),
    _vs("local reads, batches of 100, /s", "reads/batch 100", "redis", "pipelines of GET", 1.0),
    _vs("local reads, 64 in flight, /s", "reads/single, 64 in flight", "redis", "GET", 0.35),
    _at_most("10 K writes/s offered, write p99 ms", "service/write/p99", 50),
    _at_most("the same, lag p99 ms", "service/lag/p99", 50),
    _at_most("the same, requests in progress, p99", "service/depth/p99", 100),
    Target("the same, success %", ("service/success", "kvnode"), 99.9, at_least=True),
    Target("twice the load, refusals told %", ("overload/told", "kvnode"), 100, at_least=True),
    _vs_own("the same, p99 of those taken, ms", "overload/", "taken/p99", "full queue", 2.0),
    _vs_own(
        "the same, memory in second half, MB",
        "overload/memory, ",
        "second half",
        "first half",
        LEVEL,
    ),
    _at_most("the same, recovery s", "overload/recovery", 5),
)


def rows_of(figures: Figures, targets: Sequence[Target] = TARGETS) -> list[Row]:
    """Each target with what was found."""
    return [_row(figures, target) for target in targets]


def _row(figures: Figures, target: Target) -> Row:
    kvnode = figures.value(*target.kvnode)
    parts = [figures.value(*each) for each in target.peer]
    known = [part for part in parts if part is not None]
    peer = sum(known) if known and len(known) == len(parts) else None
    ratio = kvnode / peer if kvnode is not None and peer else None
    return Row(
        target.question,
        target.called,
        kvnode,
        peer,
        ratio,
        target.bound,
        target.at_least,
        absolute=not target.peer,
    )


def table(rows: Sequence[Row], figures: Figures) -> str:
    """The rows that were measured as text, which peers are missing, and what failed."""
    lines = [f"{'question':42} {'peer':44} {'kvnode':>10} {'ratio':>7} {'wanted':>10}"]
    for row in rows:
        if row.kvnode is None:
            continue
        peer = row.called
        if not row.absolute:
            peer += f" [{shown(row.peer) if row.peer is not None else 'not measured'}]"
        ratio = shown(row.ratio) if row.ratio is not None else "-"
        wanted = f"{'>=' if row.at_least else '<='} {row.bound:g}"
        verdict = {True: "", False: "  missed", None: "  unknown"}[row.met]
        lines.append(
            f"{row.question:42} {peer:44} {shown(row.kvnode):>10} {ratio:>7} {wanted:>10}{verdict}"
        )
    unmeasured = [row.question for row in rows if row.kvnode is None]
    if unmeasured:
        lines.append(f"not measured in this run: {len(unmeasured)} of {len(rows)} rows")
    lines += [f"absent: {name}: {reason}" for name, reason in figures.absent.items()]
    lines += [f"failed: {name}: {reason}" for name, reason in figures.failed.items()]
    lines += [f"not taken: {name}: {reason}" for name, reason in figures.untaken.items()]
    return "\n".join(lines)


def as_objects(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """For JSON."""
    return [{**asdict(row), "met": row.met} for row in rows]
