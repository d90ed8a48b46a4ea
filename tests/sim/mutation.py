"""Whether the simulator finds the planted bugs: for each the seed and the checker that caught it.

A seed that finds something with the bug must find nothing without it: else it is the simulator or
kvnode that is wrong, and the next seed is tried. A bug that survives ``seeds_max`` seeds fails the
run: then the schedules or the checkers are too weak.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import click

from tests.checkers.history import Finding
from tests.sim.mutants import MUTANTS, Mutant, planted
from tests.sim.plan import Plan
from tests.sim.world import play

TEXT_CHARS = 140


@dataclass(frozen=True, slots=True)
class Catch:
    """How one mutant fared."""

    name: str
    seed: int | None
    """None: it survived."""
    checkers: tuple[str, ...]
    """All that found something in that seed."""
    text: str
    """The first finding."""
    tried: int


def run(jobs: int, seeds_max: int = 200, names: Sequence[str] = ()) -> int:
    """Hunt all mutants (or those named); shows a line for each, returns the exit code."""
    bugs = [bug.name for bug in MUTANTS if not names or bug.name in names]
    survived = 0
    for catch in _hunt_all(bugs, jobs, seeds_max):
        bug = _named(catch.name)
        traps = ",".join(map(str, bug.traps)) or "-"
        if catch.seed is None:
            survived += 1
            line = f"SURVIVED {catch.tried} seeds: {bug.broken}"
        else:
            text = f"{', '.join(catch.checkers)}: {catch.text}"[:TEXT_CHARS]
            line = f"seed {catch.seed:<4} {text}"
        click.echo(f"{bug.name:<48} {traps:>6}  {line}")
    click.echo(f"{len(bugs) - survived} of {len(bugs)} planted bugs caught")
    return 1 if survived else 0


def hunt(bug: Mutant, seeds_max: int) -> Catch:
    """The first seed that finds it."""
    for seed in range(1, seeds_max + 1):
        plan = bug.plan(seed)
        with planted(bug):
            found = findings(plan)
        if found and not findings(plan):
            checkers = tuple(dict.fromkeys(finding.checker for finding in found))
            return Catch(bug.name, seed, checkers, found[0].text, seed)
    return Catch(bug.name, None, (), "", seeds_max)


def findings(plan: Plan) -> list[Finding]:
    """What a run finds; what it raises is a finding too."""
    try:
        return play(plan).findings
    except Exception as error:
        return [Finding("crash", f"{type(error).__name__}: {error}")]


def _hunt_all(names: Sequence[str], jobs: int, seeds_max: int) -> Iterator[Catch]:
    work = [(name, seeds_max) for name in names]
    if jobs <= 1:
        yield from map(_hunt_named, work)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap(_hunt_named, work)


def _hunt_named(work: tuple[str, int]) -> Catch:
    name, seeds_max = work
    return hunt(_named(name), seeds_max)


def _named(name: str) -> Mutant:
    return next(bug for bug in MUTANTS if bug.name == name)
