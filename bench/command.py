"""``./bench/run``: the questions, one after the other, and the table at the end."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import click

from bench.figures import circumstances, dumped
from bench.pace import FULL, QUICK, TINY
from bench.pictures import write_pictures
from bench.progress import Progress
from bench.room import Measure, Room, reason_of
from bench.targets import as_objects, rows_of, table
from cluster.interruption import EXIT_INTERRUPTED, raise_when_interrupted

QUESTIONS: Final = {
    "limits": ("bench.limits", 100),
    "one-node": ("bench.one_node", 180),
    "reads": ("bench.reads", 170),
    "counters": ("bench.counters", 90),
    "three-nodes": ("bench.three_nodes", 90),
    "lag": ("bench.lags", 80),
    "catch-up": ("bench.catchup", 30),
    "profiles": ("bench.profiles", 70),
    "service": ("bench.service", 110),
    "curves": ("bench.curves", 200),
    "growth": ("bench.growth", 600),
    "start": ("bench.start", 240),
}
"""Name -> the module that answers it with its ``measure``, and about how many seconds that takes
with both peers where nothing else runs."""

PACES: Final = {"full": FULL, "quick": QUICK, "tiny": TINY}


@dataclass(frozen=True, slots=True)
class Question:
    """A module of the table above."""

    name: str
    asked: str
    """The first line of its docstring."""
    measure: Measure


def question(name: str) -> Question:
    """By its name."""
    module = import_module(QUESTIONS[name][0])
    return Question(name, (module.__doc__ or "").partition("\n")[0], module.measure)


def listing() -> str:
    """All of them, for the help."""
    rows = [
        f"  {name:12} {seconds:4} s  {question(name).asked}"
        for name, (_, seconds) in QUESTIONS.items()
    ]
    whole_s = sum(seconds for _, seconds in QUESTIONS.values())
    rows.append(f"  {'all':12} {whole_s:4} s  about, with both peers on an idle machine")
    return "\n".join(["Questions, and how long they take without --quick:", *rows])


class Listed(click.Command):
    """Imports the questions only if somebody asks which there are."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Their first lines."""
        formatter.write_paragraph()
        formatter.write(listing() + "\n")


@click.command(cls=Listed, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("questions", nargs=-1, type=click.Choice(list(QUESTIONS)))
@click.option("--quick", is_flag=True, help="All questions in under 3 minutes: a first look.")
@click.option("--pace", type=click.Choice(list(PACES)), default="full", hidden=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all figures.")
@click.option("--svg", "svg_directory", type=click.Path(path_type=Path), help="Write pictures.")
def main(
    *,
    questions: tuple[str, ...],
    quick: bool,
    pace: str,
    json_file: Path | None,
    svg_directory: Path | None,
) -> None:
    """Measure kvnode, the bare limits and the peers that are installed, in one run.

    redis-server and etcd are used if they are there (Debian: apt install redis-server
    etcd-server); they are started on free loopback ports with directories of their own, and are
    gone at the end. Clients and servers share this machine's cores. How far it is goes to stderr.
    Exit code 0: it was measured, whatever came out; what could not be is named with the reason.
    1: a question failed as a whole; the others were measured. 130: interrupted.
    """
    raise_when_interrupted()
    pace = "quick" if quick else pace
    around = {"pace": pace, **circumstances()}
    click.echo("  ".join(f"{name} {value}" for name, value in around.items()))
    if around["load"] > around["cores"] / 2:
        click.echo("Others use this machine too: read ratios, and those with care.", err=True)
    started = time.monotonic()
    try:
        with TemporaryDirectory(prefix="kvnode-bench-") as directory:
            room = Room(PACES[pace], Path(directory))
            for name in questions or QUESTIONS:
                ask(room, question(name))
    except KeyboardInterrupt:
        with suppress(OSError):  # after SIGHUP the terminal is gone
            click.echo("\nInterrupted; nothing is left running.", err=True)
        sys.exit(EXIT_INTERRUPTED)
    rows = rows_of(room.figures)
    around["seconds"] = round(time.monotonic() - started)
    click.echo("\n" + table(rows, room.figures))
    click.echo(f"\n{around['seconds']} s")
    if json_file:
        json_file.write_text(dumped(room.figures, around, as_objects(rows)))
    if svg_directory:
        write_pictures(room.figures, svg_directory)
    if room.figures.failed:
        sys.exit(1)


async def answer(room: Room, asked: Question) -> None:
    """Without a word about the task that Ctrl-C came into: that one is no failure."""
    loop = asyncio.get_running_loop()

    def tell(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not isinstance(context.get("exception"), KeyboardInterrupt):
            loop.default_exception_handler(context)

    loop.set_exception_handler(tell)
    await asked.measure(room)


def ask(room: Room, asked: Question) -> None:
    """One question, and its figures as they come."""
    click.echo(f"\n{asked.name}: {asked.asked}")
    before = {figure.name for figure in room.figures}
    progress = Progress(asked.name)
    room.tell = progress.tell
    try:
        asyncio.run(answer(room, asked))
    except Exception as error:  # whatever a server or its client raised: the others go on
        room.figures.failed[asked.name] = reason_of(error)
    finally:
        progress.end()
        room.clear()
    if reason := room.figures.failed.get(asked.name):
        click.echo(f"  failed: {reason}", err=True)
    click.echo(room.figures.text({figure.name for figure in room.figures} - before))
    click.echo(f"  ({progress.seconds:.0f} s)")
