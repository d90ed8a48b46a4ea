"""Every directed schedule is clean on kvnode as it is, and notices the trap it is about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from kvnode.core import snapshot, stability
from kvnode.core.dots import Vector
from kvnode.core.replica import Durable
from kvnode.core.report import Report
from kvnode.core.roster import Roster
from kvnode.node.peers import Peer
from kvnode.node.replicator import Replicator
from kvnode.storage import checkpoint as checkpoint_rows
from kvnode.storage import merging, state
from kvnode.storage.interfaces import Checkpoint
from tests.sim import directed
from tests.sim.directed import DIRECTED, Directed, run_one

Patch = Callable[[pytest.MonkeyPatch], None]


@pytest.mark.parametrize("make", DIRECTED, ids=lambda make: make.__name__)
def test_it_is_clean(make: Callable[[], Directed]) -> None:
    found = run_one(make())
    assert not found.findings


def without_clock_in_checkpoints(patch: pytest.MonkeyPatch) -> None:
    encode = checkpoint_rows.encode_meta

    def forgetful(checkpoint: Checkpoint) -> bytes:
        return encode(replace(checkpoint, durable=replace(checkpoint.durable, hlc=0)))

    patch.setattr(state, "encode_meta", forgetful)


def without_clock_in_snapshots(patch: pytest.MonkeyPatch) -> None:
    join = snapshot.join_durable

    def forgetful(mine: Durable, theirs: Durable, *, own_origin: int) -> Durable:
        joined = join(mine, theirs, own_origin=own_origin)
        joined.hlc = mine.hlc
        return joined

    patch.setattr(merging, "join_durable", forgetful)


def every_report_usable(patch: pytest.MonkeyPatch) -> None:
    def hasty(self: stability.Stability, origin: int, _own: Vector) -> None:
        last = self.last(origin)
        if last is not None:
            self.reports[origin] = last

    patch.setattr(stability.Stability, "_refresh", hasty)


def reports_before_the_sync(patch: pytest.MonkeyPatch) -> None:
    report = Replicator.report

    def hasty(self: Replicator, peer: Peer) -> Report:
        running = self.engine._running  # noqa: SLF001 - what it must not look at
        told = report(self, peer)
        return told if running is None else replace(told, vector=running.after.vector)

    patch.setattr(Replicator, "report", hasty)


def old_copies_unnoticed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Replicator, "_check_own", lambda *_: None)


def forgets_without_acknowledgement(patch: pytest.MonkeyPatch) -> None:
    def nobody(_self: Roster, _vector: Mapping[int, int]) -> list[int]:
        return []

    patch.setattr(Roster, "limit", lambda *_: 0)
    patch.setattr(Roster, "pending", nobody)


def all_is_stable(patch: pytest.MonkeyPatch) -> None:
    def hasty(_self: Any, own: Vector, _counted: object) -> Vector:
        return dict(own)

    patch.setattr(stability.Stability, "stable", hasty)


TRAPS: dict[Callable[[], Directed], Patch] = {
    directed.clock_in_checkpoint: without_clock_in_checkpoints,
    directed.clock_in_snapshot: without_clock_in_snapshots,
    directed.newcomer_collects: every_report_usable,
    directed.report_before_sync: reports_before_the_sync,
    directed.naive_new_identity: old_copies_unnoticed,
    directed.two_forgets: forgets_without_acknowledgement,
    directed.late_baseline: all_is_stable,
}


@pytest.mark.parametrize("make", TRAPS, ids=lambda make: make.__name__)
def test_it_notices_its_trap(make: Callable[[], Directed], monkeypatch: pytest.MonkeyPatch) -> None:
    TRAPS[make](monkeypatch)
    assert run_one(make()).findings
