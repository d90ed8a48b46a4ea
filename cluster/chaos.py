"""``./cluster/chaos``: five nodes under load, all that can befall them, and the reckoning."""

from __future__ import annotations

import sys
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from time import monotonic
from typing import Final

import click
from rich.table import Table

from cluster.control import ClusterError
from cluster.demo_directory import DemoDirectory, remove_abandoned
from cluster.interruption import EXIT_INTERRUPTED, raise_when_interrupted
from cluster.ledger import Ledger, Verdict
from cluster.load import Load
from cluster.narration import Narration
from cluster.ordeals import ORDEALS, Observed
from cluster.processes import LocalCluster
from cluster.skewed_clock import SkewedClock
from cluster.stage import Stage, Wrong
from cluster.verdict import NotConverged, wait_converged
from kvnode import Client, KvnodeError

PREFIX: Final = ".kvnode-chaos-"
FOUNDERS: Final = ("a", "b", "c")
NEWCOMERS: Final = ("d", "e")
SKEWED: Final = "d"
"""Whose clock can be set."""

SETTINGS: Final = """\
# Logs of seconds instead of a day, so that a cut of seconds outlasts them,
log_retention_bytes = 300_000
log_bytes_max = 600_000
retention_interval_ms = 500
# and no more than that in memory.
push_buffer_bytes = 50_000
# Only what a checkpoint covers leaves the log.
checkpoint_interval_ms = 1_000
"""

WHILE_S: Final = 3.0
BATCH_INTERVAL_S: Final = 0.08
"""Between two batches of one writer: enough to fill a log, and not the processors."""
CALL_TIMEOUT_S: Final = 10.0
CONVERGE_TIMEOUT_S: Final = 60.0
SHOWN_MAX: Final = 10
"""Problems."""


@dataclass(frozen=True, slots=True)
class Row:
    """A phase that is over."""

    number: int
    observed: Observed
    seconds: float


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  ./cluster/chaos                          all of it, two to three minutes
  ./cluster/chaos --seconds-per-phase 10   longer faults, more writes under each
  ./cluster/chaos --keep                   and look into the nodes' logs afterwards""",
)
@click.option(
    "--seconds-per-phase",
    "while_s",
    type=click.FloatRange(0.1, 60.0),
    default=WHILE_S,
    show_default=True,
    metavar="S",
    help="How long a fault lasts where nothing else says when it is enough.",
)
@click.option("--keep", is_flag=True, help="Keep the nodes' data and logs, and say where they are.")
def main(while_s: float, *, keep: bool) -> None:
    """Let five nodes on this machine go through everything, under continuous load.

    Nodes join, are killed, lose their disk, come back with an old copy of it, are cloned,
    forgotten, cut off for longer than the logs reach back, and one has its clock set wrong; all the
    while clients count, put and delete. In the end all is compared with what was acknowledged.

    Exit code 0: counters are exact, no acknowledged write is lost but what only a wiped disk had,
    nothing deleted is back, and `kvnode verify` finds all nodes equal. 1: something of that does
    not hold. 2: wrong usage. 130: interrupted.
    """
    raise_when_interrupted()
    try:
        _run(while_s, keep=keep)
    except KeyboardInterrupt:
        # After SIGHUP the terminal is gone.
        with suppress(OSError):
            click.echo("\nInterrupted; nothing is left running.", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except (Wrong, NotConverged, KvnodeError, ClusterError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)


def _run(while_s: float, *, keep: bool) -> None:
    begun_s = monotonic()
    rows: list[Row] = []
    with ExitStack() as stack:
        narration = stack.enter_context(Narration())
        for abandoned in remove_abandoned(prefix=PREFIX):
            narration.say(f"Removed {abandoned.name}, which a killed run had left.")
        directory = stack.enter_context(
            DemoDirectory(narration, keep=keep, prefix=PREFIX, example="a")
        )
        try:
            stage = _set_up(stack, directory, narration, while_s)
            for name, ordeal in ORDEALS:
                started_s = monotonic()
                narration.say(f"[{started_s - begun_s:3.0f} s] {name}")
                observed = ordeal(stage)
                rows.append(Row(len(rows) + 1, observed, monotonic() - started_s))
                stage.go_on()
            narration.say("The load ends; all that was written is read back from every node.")
            verdict, proof = _reckon(stage)
        finally:
            if rows:
                narration.table(_table(rows))
        _report(verdict, proof, narration)
        narration.say(f"Everything holds. It took {monotonic() - begun_s:.0f} s in all.")


def _set_up(
    stack: ExitStack, directory: DemoDirectory, narration: Narration, while_s: float
) -> Stage:
    """Three nodes under load, and two that will join."""
    config = directory.path / "chaos.toml"
    config.write_text(SETTINGS)
    clock = SkewedClock(directory.path / "clock")
    cluster = stack.enter_context(
        LocalCluster(
            names=[*FOUNDERS, *NEWCOMERS],
            newcomers=NEWCOMERS,
            directory=directory.path,
            node_config=config,
            environments={SKEWED: clock.environment},
        )
    )
    directory.keep_after_failure = True
    for name in FOUNDERS:
        # Founded; from now on they know by which links to reach the newcomers.
        cluster.stop(name)
        cluster.start(name)
    clients = {
        name: stack.enter_context(Client(endpoint, timeout_s=CALL_TIMEOUT_S))
        for name, endpoint in cluster.endpoints.items()
    }
    ledger = Ledger()
    load = stack.enter_context(Load(cluster.endpoints, ledger, BATCH_INTERVAL_S))
    for name in FOUNDERS:
        load.begin(name)
    narration.say(
        f"{', '.join(FOUNDERS)} are up, each link between two nodes can be cut. "
        "Clients write to every node that serves, until the end."
    )
    stage = Stage(cluster, clients, load, ledger, clock, SKEWED, narration, directory.path, while_s)
    stage.go_on()
    return stage


def _reckon(stage: Stage) -> tuple[Verdict, str]:
    """What came of all that was written, and what ``kvnode verify`` says."""
    stage.load.close()
    stage.cluster.heal()
    vector = wait_converged(stage.clients, {}, timeout_s=CONVERGE_TIMEOUT_S)
    held = {
        name: {state.key.decode(): state for state in client.scan()}
        for name, client in stage.clients.items()
    }
    verdict = stage.ledger.compare(held, vector)
    try:
        stage.wait_for(lambda: not stage.unfinished(), "nothing waits for anybody any more")
    except Wrong as error:
        verdict.problems += [str(error), *stage.unfinished()]
    proved = stage.kvnode("verify", "--endpoint", stage.cluster.endpoints[FOUNDERS[0]])
    if proved.exit_code:
        verdict.problems.append(f"kvnode verify: exit code {proved.exit_code}: {proved.output}")
    return verdict, proved.output


def _table(rows: list[Row]) -> Table:
    table = Table(show_lines=True)
    table.add_column("#", justify="right")
    table.add_column("what was done", max_width=24)
    table.add_column("what was seen", overflow="fold")
    table.add_column("s", justify="right")
    for row in rows:
        observed = row.observed
        table.add_row(str(row.number), observed.done, observed.seen, f"{row.seconds:.1f}")
    return table


def _report(verdict: Verdict, proof: str, narration: Narration) -> None:
    """The last lines; raises Wrong unless everything holds."""
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 3, 0, 0))
    table.add_row(
        "acknowledged",
        f"{verdict.operations:,} operations in {verdict.acknowledged:,} atomic batches",
    )
    table.add_row(
        "without a reply",
        f"{verdict.unknown_done + verdict.unknown_not_done} batches: {verdict.unknown_done} "
        f"happened, {verdict.unknown_not_done} did not, each as a whole",
    )
    table.add_row(
        "lost", f"{verdict.lost:,} acknowledged operations, which only the wiped disk had"
    )
    table.add_row(
        "counters", f"{verdict.counters} with exact sums on {len(FOUNDERS + NEWCOMERS)} nodes"
    )
    table.add_row(
        "deleted", f"{verdict.deleted:,} keys, all still deleted, and nothing is left of them"
    )
    table.add_row("values", f"{verdict.values:,} keys, the same on every node")
    table.add_row("verify", proof.splitlines()[0] if proof else "")
    table.add_row("problems", f"{len(verdict.problems):,}")
    narration.table(table)
    for line in verdict.problems[:SHOWN_MAX]:
        narration.say(f"  {line}")
    if verdict.problems:
        raise Wrong(f"{len(verdict.problems):,} things are not as they should be")
