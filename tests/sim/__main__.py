"""``python -m tests.sim``: whole clusters of production nodes, simulated from one seed each.

    python -m tests.sim --seeds 1-1000           run these seeds on all cores
    python -m tests.sim --minutes 10             as many as there is time for
    python -m tests.sim --trace 4711             one seed, told step by step; shrunk if it fails
    python -m tests.sim --mutants                whether all planted bugs are caught, and where

A seed decides everything: founders, settings, clients, faults, and every moment at which something
happens. A failure names its seed and the command that replays it.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from itertools import count

import click

from tests.sim import mutation
from tests.sim.directed import run_directed
from tests.sim.report import SEEDS_ENOUGH, Tally
from tests.sim.runner import Options, run_many
from tests.sim.schedule import OPERATIONS, draw
from tests.sim.shrink import shrink
from tests.sim.world import Result, play

TELL_S = 15.0


@click.command()
@click.option("--seeds", metavar="A-B", help="From A to B.  [default: 1-200]")
@click.option("--minutes", type=float, help="As many seeds as there is time for, from A on.")
@click.option("--jobs", type=int, default=os.cpu_count(), help="Processes.  [default: cores]")
@click.option("--trace", metavar="SEED", type=int, help="Tell one seed step by step.")
@click.option("--storage", type=click.Choice(["memory", "lmdb", "mixed"]), default="mixed")
@click.option("--operations", type=int, default=OPERATIONS, help="Of clients, per seed.")
@click.option("--mutants", is_flag=True, help="Hunt the planted bugs instead.")
@click.option("--directed/--no-directed", default=True, help="Run the directed schedules first.")
def main(
    *,
    seeds: str | None,
    minutes: float | None,
    jobs: int,
    trace: int | None,
    storage: str,
    operations: int,
    mutants: bool,
    directed: bool,
) -> None:
    """Simulate kvnode clusters under faults, one seed after the other."""
    if mutants:
        sys.exit(mutation.run(jobs))
    options = Options(storage, operations)
    if trace is not None:
        sys.exit(_trace(trace, options))
    first, last = _range(seeds, endless=minutes is not None)
    failed, paths = _directed() if directed else (0, None)
    started = time.monotonic()
    told = started

    def tell(total: Tally, new: Tally) -> None:
        nonlocal told
        for failure in new.failures:
            click.echo(str(failure))
        if time.monotonic() - told > TELL_S:
            told = time.monotonic()
            click.echo(f"{total.seeds} seeds, {len(total.failures)} failed", err=True)

    numbers = iter(range(first, last + 1)) if last is not None else count(first)
    until = None if minutes is None else started + 60 * minutes
    total = run_many(numbers, options, jobs=jobs, until=until, tell=tell)
    if paths is not None:
        total.add_directed(paths)
    _report(total, time.monotonic() - started)
    sys.exit(bool(failed or total.failures or total.never()))


def _range(seeds: str | None, *, endless: bool) -> tuple[int, int | None]:
    if seeds is None:
        return 1, None if endless else 200
    first, _, last = seeds.partition("-")
    try:
        return int(first), int(last or first)
    except ValueError as error:
        raise click.BadParameter(f"{seeds!r} is not A-B") from error


def _directed() -> tuple[int, Counter[str]]:
    """How many of them found something, and what happened in them."""
    failed, counts = 0, Counter[str]()
    for name, result in run_directed():
        counts.update(result.counts)
        failed += bool(result.findings)
        click.echo(f"directed: {name}: {'ok' if not result.findings else ''}")
        for finding in result.findings:
            click.echo(f"  {finding.checker}: {finding.text}")
    return failed, counts


def _report(total: Tally, seconds: float) -> None:
    click.echo(total.table())
    never = total.never()
    for what in never:
        click.echo(f"NEVER HAPPENED: {what}")
    if total.seeds < SEEDS_ENOUGH:
        click.echo(f"(fewer than {SEEDS_ENOUGH} seeds: not every fault and path is expected)")
    seeds = ", ".join(str(failure.seed) for failure in total.failures)
    click.echo(
        f"{total.seeds} seeds, {total.operations:,} operations, {seconds:.0f} s "
        f"({60 * total.seeds / max(seconds, 0.001):.0f} seeds a minute, "
        f"{total.cpu_s / max(total.seeds, 1):.2f} s of processor time each): "
        f"{len(total.failures)} failed{': ' + seeds if seeds else ''}"
    )


def _trace(seed: int, options: Options) -> int:
    plan = draw(seed, storage=options.storage, operations=options.operations)
    result = play(plan, traced=True)
    _tell(result)
    if not result.findings:
        click.echo(f"seed {seed}: nothing found")
        return 0
    smaller = shrink(result, lambda line: click.echo(line, err=True))
    click.echo(f"\n==== seed {seed}, shrunk to {len(smaller.plan.steps)} steps ====")
    _tell(play(smaller.plan, traced=True))
    return 1


def _tell(result: Result) -> None:
    plan = result.plan
    click.echo(f"seed {plan.seed}: founders {', '.join(plan.nodes)}; storage {plan.storage}")
    click.echo("; ".join(f"{name} {value}" for name, value in plan.settings.items()))
    for step in plan.steps:
        click.echo(str(step))
    click.echo("---- what happened (virtual ms)")
    for line in result.trace:
        click.echo(line)
    for finding in result.findings:
        click.echo(f"FINDING {finding.checker}: {finding.text}")


if __name__ == "__main__":
    main()
