"""The command: run, judge, draw, and keep the evidence if there is anything to be found."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from secrets import randbelow
from time import monotonic
from typing import Final

import click

from cluster.control import ClusterError
from cluster.demo_directory import DemoDirectory, remove_abandoned
from cluster.interruption import EXIT_INTERRUPTED, raise_when_interrupted
from cluster.narration import Narration
from tests.checkers.history import Verdict
from tests.checkers.judge import clean, judge, table
from tests.checkers.record import read, write
from tests.nemesis import disk
from tests.nemesis.picture import draw
from tests.nemesis.report import happened, own_verdict
from tests.nemesis.run import Settings, run
from tests.nemesis.schedule import DISKS, GROUPS, Kind, kinds_of
from tests.nemesis.workloads import WORKLOADS

PREFIX: Final = ".kvnode-nemesis-"
HISTORY: Final = "history.jsonl"
PICTURE: Final = "timeline.svg"
REPORT: Final = "report.txt"
SEEDS: Final = 1_000_000


class Found(Exception):
    """Something is not as it should be."""


def _kinds(_: click.Context, __: click.Parameter, words: str) -> tuple[Kind, ...]:
    try:
        return kinds_of(words.split(","))
    except ValueError as error:
        known = ", ".join([*GROUPS, *Kind])
        raise click.BadParameter(f"{error}; there are {known}") from None


def _workloads(_: click.Context, __: click.Parameter, words: str) -> tuple[str, ...]:
    names = tuple(WORKLOADS) if words == "all" else tuple(words.split(","))
    for name in names:
        if name not in WORKLOADS:
            raise click.BadParameter(f"there is no {name!r}; there are {', '.join(WORKLOADS)}")
    return names


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  python -m tests.nemesis                           a minute, three nodes, everything
  python -m tests.nemesis --minutes 30 --nodes 5    the long run
  python -m tests.nemesis --faults cut,kill --workload counter,set
  python -m tests.nemesis --check DIR/history.jsonl""",
)
@click.option("--minutes", type=click.FloatRange(0.1, 1440), default=1.0, show_default=True)
@click.option("--seed", type=int, help="Of the plan of faults and calls. [default: a new one]")
@click.option("--nodes", type=click.Choice(["3", "5"]), default="3", show_default=True)
@click.option("--clients", type=click.IntRange(1, 64), default=8, show_default=True)
@click.option(
    "--faults",
    "kinds",
    default="all",
    show_default=True,
    callback=_kinds,
    help=f"Separated by commas: {', '.join([*GROUPS, *Kind])}.",
)
@click.option(
    "--workload",
    "workloads",
    default="all",
    show_default=True,
    callback=_workloads,
    help=f"Separated by commas: {', '.join(WORKLOADS)}.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep history, picture and report here. By default they are kept on findings only.",
)
@click.option(
    "--check",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Run nothing; judge this history again.",
)
def nemesis(
    minutes: float,
    seed: int | None,
    nodes: str,
    clients: int,
    kinds: tuple[Kind, ...],
    workloads: tuple[str, ...],
    out: Path | None,
    check: Path | None,
) -> None:
    """Torment real kvnode processes under load, and judge what their clients were told.

    Clients count, add, replace, delete and read, while links are cut and slowed, processes killed,
    halted and restarted, disks full and slow and clocks wrong. In the end all is healed, the nodes
    have to come to the same, and checkers compare everything with the history of all calls.

    A seed fixes the plan of faults and of calls. Real processes take the time they take, so the
    same seed does not give the same run.

    Exit code 0: nothing was found. 1: something was; history, picture and the nodes' logs are
    kept, and it says where. 2: wrong usage. 130: interrupted.
    """
    raise_when_interrupted()
    try:
        if check is not None:
            _judge_again(check)
            return
        seed = randbelow(SEEDS) if seed is None else seed
        _run(
            Settings(int(nodes), minutes * 60, seed, kinds, workloads, clients),
            out,
        )
    except KeyboardInterrupt:
        # After SIGHUP the terminal is gone.
        with suppress(OSError):
            click.echo("\nInterrupted; nothing is left running.", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except (Found, ClusterError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)


def _run(settings: Settings, out: Path | None) -> None:
    with Narration() as narration:
        for abandoned in remove_abandoned(prefix=PREFIX):
            narration.say(f"Removed {abandoned.name}, which a killed run had left.")
        settings = _possible(settings, narration)
        narration.say(
            f"Seed {settings.seed}: {settings.nodes} nodes, {settings.clients} clients, "
            f"{settings.seconds:.0f} s of {', '.join(settings.workloads)}"
        )
        with DemoDirectory(narration, keep=False, prefix=PREFIX, example="n1") as directory:
            directory.keep_after_failure = True
            evidence = out or directory.path
            evidence.mkdir(parents=True, exist_ok=True)
            ran = run(settings, directory.path, narration.say)
            write(evidence / HISTORY, ran.history)
            nodes = [f"n{number}" for number in range(1, settings.nodes + 1)]
            title = f"seed {settings.seed}, {settings.clients} clients"
            (evidence / PICTURE).write_text(draw(ran.history, ran.beats, nodes, title))
            narration.say(f"Judging {len(ran.history.calls):,} calls.")
            begun_s = monotonic()
            verdicts = [own_verdict(ran), *judge(ran.history)]
            lines = [
                happened(ran, [directory.path / node / "log" for node in nodes]),
                f"judged in {monotonic() - begun_s:.1f} s",
                table(verdicts),
            ]
            (evidence / REPORT).write_text("\n".join([*lines, ""]))
            for line in lines:
                narration.say(line)
            _conclude(verdicts, evidence / HISTORY)


def _possible(settings: Settings, narration: Narration) -> Settings:
    """Without what this machine cannot do; it is said, never pretended."""
    if not set(DISKS) & set(settings.kinds) or not (reason := disk.missing()):
        return settings
    narration.say(f"Not done here: {', '.join(DISKS)}: {reason}.")
    return replace(settings, kinds=tuple(kind for kind in settings.kinds if kind not in DISKS))


def _judge_again(path: Path) -> None:
    verdicts = judge(read(path))
    click.echo(table(verdicts))
    _conclude(verdicts, path)


def _conclude(verdicts: list[Verdict], history: Path) -> None:
    """Raises Found unless all is well."""
    if not clean(verdicts):
        count = sum(verdict.lost + verdict.unexpected for verdict in verdicts)
        raise Found(
            f"{count:,} things are not as they should be; the history is in {history}, to be "
            f"judged again with: python -m tests.nemesis --check {history}"
        )
