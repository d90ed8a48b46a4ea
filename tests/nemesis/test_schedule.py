"""The plan of faults: fixed by its seed, complete, and possible to carry out."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from tests.nemesis import shapes
from tests.nemesis.schedule import CUTS, LINKS, TRACKS, Kind, Planned, kinds_of, schedule

THREE = ("n1", "n2", "n3")
FIVE = ("n1", "n2", "n3", "n4", "n5")
SEEDS = range(50)


def plans(names: tuple[str, ...] = FIVE, seconds: float = 60.0) -> list[tuple[Planned, ...]]:
    """Those of many seeds."""
    return [schedule(tuple(Kind), names, seconds, seed) for seed in SEEDS]


def reached(names: tuple[str, ...], cut: shapes.Shape, source: str) -> set[str]:
    """Whom a node still reaches directly."""
    return {name for name in names if name != source and (source, name) not in cut}


def test_a_seed_fixes_the_plan_and_another_gives_another() -> None:
    assert plans() == plans()
    assert len(set(plans())) == len(SEEDS)


def test_a_minute_has_every_kind_of_fault() -> None:
    for plan in plans():
        assert {planned.kind for planned in plan} == set(Kind)


def test_three_nodes_get_no_ring_because_a_ring_of_three_cuts_nothing() -> None:
    for plan in plans(THREE):
        assert {planned.kind for planned in plan} == set(Kind) - {Kind.RING}


def test_faults_of_one_track_never_overlap_and_all_end_in_time() -> None:
    """Two at once on one track would be undone by each other."""
    for plan in [*plans(), *plans(seconds=600.0)]:
        for track in TRACKS:
            mine = [planned for planned in plan if planned.track == track]
            for one, next_ in pairwise(mine):
                assert one.start_s + one.for_s < next_.start_s
        assert max(planned.start_s + planned.for_s for planned in plan) <= 600.0


def test_nodes_are_killed_while_links_are_cut() -> None:
    """Single faults are survived by simpler programs."""

    def overlap(plan: tuple[Planned, ...]) -> bool:
        cuts = [planned for planned in plan if planned.kind in CUTS]
        kills = [planned for planned in plan if planned.kind is Kind.KILL]
        return any(
            cut.start_s < kill.start_s < cut.start_s + cut.for_s for cut in cuts for kill in kills
        )

    assert sum(map(overlap, plans())) > len(SEEDS) / 2


def test_every_fault_has_a_target() -> None:
    for planned in (planned for plan in plans(THREE) for planned in plan):
        assert bool(planned.directions) == (planned.kind in LINKS)
        assert bool(planned.nodes) == (planned.kind not in LINKS)


def test_a_clock_is_never_wrong_on_half_of_the_nodes() -> None:
    """The median of all clocks is what a node compares its own with."""
    for planned in (planned for plan in plans() for planned in plan):
        if planned.kind is Kind.CLOCK:
            assert len(planned.nodes) <= len(FIVE) // 2


def test_only_what_was_asked_for_is_planned() -> None:
    plan = schedule(kinds_of(["kill", "cut"]), THREE, 60.0, 1)
    assert {planned.kind for planned in plan} == {Kind.KILL, *CUTS} - {Kind.RING}
    with pytest.raises(ValueError, match="earthquake"):
        kinds_of(["earthquake"])


def test_halves_leave_no_way_between_them() -> None:
    for seed in SEEDS:
        cut = shapes.halves(FIVE, Random(seed))
        groups = {frozenset({name, *reached(FIVE, cut, name)}) for name in FIVE}
        assert sorted(map(len, groups)) == [2, 3]
        assert set().union(*groups) == set(FIVE)


def test_alone_is_one_node_that_reaches_nobody() -> None:
    for seed in SEEDS:
        cut = shapes.alone(FIVE, Random(seed))
        assert sorted(len(reached(FIVE, cut, name)) for name in FIVE) == [0, 3, 3, 3, 3]


def test_one_way_leaves_the_other_way_open() -> None:
    seen = set()
    for seed in SEEDS:
        cut = shapes.one_way(FIVE, Random(seed))
        assert cut
        assert not any((b, a) in cut for a, b in cut)
        seen.add(len({source for source, _ in cut}))
    assert seen == {1, 4}, "deaf as well as mute nodes"


def test_a_bridge_reaches_all_and_the_others_only_their_own() -> None:
    for names in (THREE, FIVE):
        cut = shapes.bridge(names, Random(3))
        degrees = sorted(len(reached(names, cut, name)) for name in names)
        assert degrees == [len(names) // 2] * (len(names) - 1) + [len(names) - 1]


def test_in_a_ring_everybody_has_two_neighbours_and_all_are_connected() -> None:
    for seed in SEEDS:
        cut = shapes.ring(FIVE, Random(seed))
        assert {len(reached(FIVE, cut, name)) for name in FIVE} == {2}
        known = {"n1"}
        while more := {other for name in known for other in reached(FIVE, cut, name)} - known:
            known |= more
        assert known == set(FIVE)
