"""A fixed slice of the simulation, and proof that it is one: the same run twice, bugs found."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from kvnode.core import requests
from tests.sim import asking, checks, schedule, watch
from tests.sim.report import EXPECTED, EXPECTED_OF_DIRECTED, SEEDS_ENOUGH, UNREACHED, Tally
from tests.sim.runner import Options, run_seeds
from tests.sim.schedule import draw
from tests.sim.shrink import shrink
from tests.sim.world import play

ROOT = Path(__file__).resolve().parents[2]
SLICE = range(1, 31)
TOLD = """
from tests.sim.schedule import draw
from tests.sim.world import play

for seed in (8, 9, 13):
    result = play(draw(seed, operations=150), traced=True)
    print("\\n".join(result.trace))
    print(sorted(result.counts.items()), result.findings)
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", SLICE[::10])
def test_a_fixed_slice_is_clean(first: int) -> None:
    tally = run_seeds(list(range(first, first + 10)), Options())
    assert not tally.failures, "\n".join(map(str, tally.failures))
    assert tally.operations >= 10 * schedule.OPERATIONS


@pytest.mark.timeout(300)
def test_a_seed_is_one_run_whatever_the_order_of_hashes() -> None:
    """Byte for byte, in processes that hash texts differently."""
    told = []
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        ran = subprocess.run(
            [sys.executable, "-c", TOLD],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            check=True,
            timeout=250,
        )
        told.append(ran.stdout)
    assert told[0] == told[1]
    assert len(told[0].splitlines()) > 300


def forget_requests(patch: pytest.MonkeyPatch) -> None:
    """Break production: no retry is recognised."""
    patch.setattr(requests.RequestWindow, "get", lambda *_: None)


@pytest.mark.timeout(300)
def test_a_bug_is_found_and_its_schedule_shrunk(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_requests(monkeypatch)
    found = play(draw(4, operations=100))
    assert {finding.checker for finding in found.findings} >= {"retries"}
    smaller = shrink(found, lambda _: None, seconds=20)
    assert any(finding.checker == "retries" for finding in smaller.findings)
    assert len(smaller.plan.steps) < len(found.plan.steps) / 4


def test_a_plan_is_a_function_of_its_seed() -> None:
    assert draw(5) == draw(5)
    assert draw(5) != draw(6)


def test_plans_have_what_real_clients_do() -> None:
    steps = [step for seed in range(1, 21) for step in draw(seed).steps]
    asked = [step.ask for step in steps if step.ask is not None]
    writes = [ask for ask in asked if ask.changes]
    assert {ask.durability for ask in writes} == set(asking.LEVELS)
    assert {ask.session for ask in asked} == {True, False}
    assert {ask.program for ask in asked} == set(asking.WAYS)
    expire = [change for ask in writes for change in ask.changes if change.ttl_ms]
    assert {change.type for change in expire} == {"LWW", "SIBLINGS"}
    assert any(step.kind == "watch" for step in steps)
    for seed in (1, 2, 3):
        plan = draw(seed)
        calls = [(step.at_ms, step.ask.node) for step in plan.steps if step.ask is not None]
        assert len(calls) - len(set(calls)) > 20, "calls that come together"
        assert sum(ask.deaf for ask in (step.ask for step in plan.steps) if ask) > 0


def test_all_calls_of_a_client_carry_a_token_or_none_and_go_one_way() -> None:
    asked = [step.ask for step in draw(7).steps if step.ask is not None]
    carries = {(ask.client, ask.session, ask.program) for ask in asked}
    assert len(carries) == len({ask.client for ask in asked})


def test_clients_of_one_program_write_at_one_moment() -> None:
    together: Counter[tuple[int, str]] = Counter()
    for step in draw(7).steps:
        if step.ask is not None and step.ask.program and step.ask.changes:
            together[step.at_ms, step.ask.program] += 1
    assert sum(count > 1 for count in together.values()) > 5


def test_a_path_that_was_never_taken_fails_a_run_that_is_long_enough() -> None:
    tally = Tally(seeds=SEEDS_ENOUGH)
    tally.counts.update(EXPECTED)
    assert tally.never() == []
    tally.counts["path: snapshot merged"] = 0
    assert tally.never() == ["path: snapshot merged"]
    assert Tally(seeds=SEEDS_ENOUGH - 1).never() == []


def test_no_path_that_nodes_tell_of_is_left_out() -> None:
    told = {*watch.PATHS.values(), *checks.VERDICTS.values()}
    assert told <= {*EXPECTED, *EXPECTED_OF_DIRECTED, *UNREACHED}
    assert not UNREACHED.keys() & {*EXPECTED, *EXPECTED_OF_DIRECTED}


def test_a_copy_put_back_below_the_file_system_can_meet_the_others() -> None:
    """Cut off, it would use numbers twice that nobody can tell apart afterwards."""
    found = 0
    for seed in range(1, 400):
        steps = draw(seed, operations=1).steps
        below = [step.at_ms for step in steps if step.kind == "restore" and step.flag]
        found += bool(below)
        for at_ms in below:
            apart = [step for step in steps if step.kind in schedule.SILENCES]
            assert not any(s.at_ms <= at_ms <= s.at_ms + s.lasts_ms for s in apart)
    assert found


def test_what_happens_in_directed_schedules_counts_if_they_were_played() -> None:
    tally = Tally(seeds=SEEDS_ENOUGH)
    tally.counts.update(EXPECTED)
    assert tally.never() == []
    tally.add_directed(Counter(EXPECTED_OF_DIRECTED[1:]))
    assert tally.never() == [EXPECTED_OF_DIRECTED[0]]
    tally.add_directed(Counter(EXPECTED_OF_DIRECTED[:1]))
    assert tally.never() == []
