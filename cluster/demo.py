"""``./cluster/demo``: three airports write a year of flights, lose touch, meet again and agree."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from time import monotonic
from typing import Final

import click
from rich.table import Table

from cluster.control import ClusterError
from cluster.demo_directory import DemoDirectory, remove_abandoned
from cluster.flights import FLIGHTS, Flight, FlightsNotFound, Totals, read_flights, totals_of
from cluster.interruption import EXIT_INTERRUPTED, raise_when_interrupted
from cluster.narration import Narration
from cluster.node_process import Life
from cluster.notes import Note
from cluster.operations import NOTE, days_shared_by_airports
from cluster.processes import LocalCluster
from cluster.replay import Replay, ReplayFailed
from cluster.vectors import Vector, joined, lacking
from cluster.verdict import (
    Held,
    NotConverged,
    conflicts_at,
    differences,
    disagreements,
    own_seq,
    read_node,
    resolve,
    unresolved,
    vector_at,
    wait_converged,
)
from kvnode import Client, KeyState, KvnodeError

AIRPORTS: Final = ("EWR", "JFK", "LGA")

ISOLATED: Final = "LGA"
"""It shares the most aircraft with the two others, hence the most conflicts."""

CUT_AT: Final = 0.5
HEAL_AT: Final = 0.65
"""Shares of the replay."""

CALL_TIMEOUT_S: Final = 10.0
"""Far above what a batch takes on a slow disk: beyond it the outcome would be unknown."""

SLACK: Final = 2
"""Slices."""

TICKS_HZ: Final = 10
CONVERGE_TIMEOUT_S: Final = 60.0
SHOWN_MAX: Final = 5
"""Examples of conflicts and of differences."""


class Wrong(Exception):
    """Something the demo promises does not hold."""


@dataclass(slots=True)
class Outcome:
    """What the last lines say."""

    operations: int
    writing_s: float
    refusals: int
    converging_s: float
    values: int
    differences: list[str]
    conflicts: int
    left: list[str]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--flights",
    "limit",
    type=click.IntRange(1, FLIGHTS),
    metavar="N",
    help="Replay only the first N flights of the file.",
)
@click.option("--keep", is_flag=True, help="Keep the nodes' data and logs, and say where they are.")
def main(limit: int | None, *, keep: bool) -> None:
    """Replay the flights that left New York in 2013 into three kvnode nodes.

    EWR, JFK and LGA each write their own flights to their own node, all at once. Half-way LGA loses
    touch with the others; all three go on writing; then they meet again. In the end every counter
    on every node is compared with totals taken from the file without kvnode, and the conflicts that
    surfaced are shown and resolved.

    Exit code 0: everything was acknowledged, the nodes agree, differences 0, no conflict left.
    1: something of that does not hold. 2: wrong usage. 130: interrupted.
    """
    raise_when_interrupted()
    try:
        _run(limit, keep=keep)
    except KeyboardInterrupt:
        # After SIGHUP the terminal is gone.
        with suppress(OSError):
            click.echo("\nInterrupted; nothing is left running.", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except (Wrong, FlightsNotFound, ReplayFailed, NotConverged, KvnodeError, ClusterError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)


def _run(limit: int | None, *, keep: bool) -> None:
    with ExitStack() as stack:
        narration = stack.enter_context(Narration())
        for abandoned in remove_abandoned():
            narration.say(f"Removed {abandoned.name}, which a killed demo had left.")
        begun_s = monotonic()
        flights = read_flights(limit)
        totals = totals_of(flights)
        narration.say(
            f"{totals.flights:,} flights stand for {totals.operations:,} operations "
            f"({monotonic() - begun_s:.1f} s to read and to add up)."
        )
        directory = stack.enter_context(DemoDirectory(narration, keep=keep))
        cluster = stack.enter_context(LocalCluster(names=AIRPORTS, directory=directory.path))
        directory.keep_after_failure = True
        clients = {
            name: stack.enter_context(Client(cluster.endpoints[name], timeout_s=CALL_TIMEOUT_S))
            for name in AIRPORTS
        }
        places = ", ".join(f"{name} at {cluster.endpoints[name]}" for name in AIRPORTS)
        narration.say(f"Three nodes are up: {places}. Each airport writes its flights to its own.")
        try:
            outcome = _prove(flights, totals, cluster, clients, narration)
        except (ReplayFailed, NotConverged, KvnodeError) as error:
            # A node that is gone explains more than the call that noticed it.
            gone = [n.name for n in cluster.status().nodes if n.life is not Life.READY]
            if gone:
                raise Wrong(f"{', '.join(gone)} ended without being told to ({error})") from error
            raise
        _report(outcome, narration)
        narration.say(f"Everything holds. It took {monotonic() - begun_s:.0f} s in all.")


def _prove(
    flights: list[Flight],
    totals: Totals,
    cluster: LocalCluster,
    clients: Mapping[str, Client],
    narration: Narration,
) -> Outcome:
    with Replay(flights, days_shared_by_airports(flights), clients) as replay:
        narration.begin_progress(totals.flights)
        _write(replay, cluster, clients, narration)
        narration.end_progress()
    converged = wait_converged(clients, replay.session(), timeout_s=CONVERGE_TIMEOUT_S)
    converging_s = monotonic() - replay.last_reply_s
    narration.say(f"Written; {converging_s:.2f} s later all three have the same version vector.")

    nodes = {name: read_node(client) for name, client in clients.items()}
    conflicts = {name: conflicts_at(client) for name, client in clients.items()}
    problems = _count_problems(replay, totals, converged)
    problems += _content_problems(nodes, totals, replay.notes(), conflicts)
    surfaced = conflicts[ISOLATED]
    _show_conflicts(surfaced, narration)
    session = resolve(clients[ISOLATED], surfaced)
    wait_converged(clients, session, timeout_s=CONVERGE_TIMEOUT_S)
    return Outcome(
        operations=replay.operations,
        writing_s=replay.last_reply_s - replay.started_s,
        refusals=replay.refusals,
        converging_s=converging_s,
        values=sum(map(len, nodes.values())),
        differences=problems,
        conflicts=len(surfaced),
        left=list(unresolved(clients, surfaced)),
    )


# ---- writing, apart and together


def _write(
    replay: Replay, cluster: LocalCluster, clients: Mapping[str, Client], narration: Narration
) -> None:
    """Everything, with one node cut off in the middle.

    The writers go on while links are cut and while they are healed; only if that takes longer than
    `SLACK` slices do they wait for it, so that the stretch apart is written apart.
    """
    total = replay.slices_total
    cut = int(total * CUT_AT)
    heal = max(cut + 1, int(total * HEAL_AT))
    _write_until(cut, replay, narration)
    cluster.isolate(ISOLATED)
    at_cut = {name: own_seq(client) for name, client in clients.items()}
    narration.say(
        f"Half-way: {ISOLATED} has lost touch with the others. All three go on taking writes."
    )
    _write_until(heal, replay, narration)
    _say_how_far_apart(at_cut, clients, narration)
    cluster.heal()
    narration.say("The links are back. The nodes catch up while the rest is written.")
    _write_until(total, replay, narration)


def _write_until(slices: int, replay: Replay, narration: Narration) -> None:
    replay.let_write(slices + SLACK)
    done = False
    while not done:
        done = replay.wait(slices, timeout_s=1 / TICKS_HZ)
        narration.progress(replay.flights, replay.flights_total, replay.operations)


def _say_how_far_apart(
    at_cut: Mapping[str, int], clients: Mapping[str, Client], narration: Narration
) -> None:
    """Also checks that the cut was one: nothing written since then has crossed it."""
    seen = {name: vector_at(client) for name, client in clients.items()}
    origins = {name: client.admin.status().origin for name, client in clients.items()}
    for name in AIRPORTS:
        others = [ISOLATED] if name != ISOLATED else [o for o in AIRPORTS if o != ISOLATED]
        for other in others:
            if seen[name].get(origins[other], 0) > at_cut[other]:
                raise Wrong(f"the cut had no effect: {name} has new writes of {other}")
    isolated = seen.pop(ISOLATED)
    missing_there = lacking(isolated, joined(seen.values()))
    missing_here = lacking(joined(seen.values()), isolated)
    narration.say(
        f"Apart: {ISOLATED} lacks {missing_there:,} operations of the others, "
        f"and they lack {missing_here:,} of {ISOLATED}'s."
    )


# ---- what came of it


def _count_problems(replay: Replay, totals: Totals, converged: Vector) -> list[str]:
    """Every operation was acknowledged and has exactly one dot."""
    problems = []
    if replay.operations != totals.operations:
        problems.append(f"{replay.operations:,} operations accepted, not {totals.operations:,}")
    if sum(converged.values()) != totals.operations:
        problems.append(f"the nodes hold {sum(converged.values()):,} operations")
    return problems


def _content_problems(
    nodes: Mapping[str, Held],
    totals: Totals,
    notes: Mapping[str, list[Note]],
    conflicts: Mapping[str, Mapping[str, KeyState]],
) -> list[str]:
    """Every node holds what the file and the receipts say, and all hold the same."""
    problems = []
    for name, held in nodes.items():
        problems += [f"{name}: {line}" for line in differences(held, totals, notes)]
        if conflicts[name].keys() != held.conflicts():
            problems.append(f"{name}: its list of conflicts is not that of its keys")
    return problems + list(disagreements(nodes))


def _show_conflicts(conflicts: Mapping[str, KeyState], narration: Narration) -> None:
    """The first few, with who wrote what."""
    if not conflicts:
        narration.say("No crew note was written at two airports at once: no conflict.")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for title in ("crew notes of", "written at", "on (UTC)", "note"):
        table.add_column(title)
    for name, state in islice(conflicts.items(), SHOWN_MAX):
        for position, note in enumerate(state.siblings):
            at = datetime.fromtimestamp(note.time_ms / 1000, UTC)
            table.add_row(
                "" if position else name.removeprefix(NOTE),
                note.node,
                f"{at:%H:%M:%S}.{at.microsecond // 1000:03}",
                note.value.decode(),
            )
    shown = min(SHOWN_MAX, len(conflicts))
    narration.say(
        f"{len(conflicts):,} crew notes are in conflict: two airports wrote, "
        f"neither knew of the other. {shown} of them:"
    )
    narration.table(table)
    narration.say(f"Now {ISOLATED} puts one note in place of exactly those it has read.")


def _report(outcome: Outcome, narration: Narration) -> None:
    """The last lines; raises Wrong unless everything holds."""
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 3, 0, 0))
    rate = outcome.operations / max(outcome.writing_s, 1e-3)
    refused = f", {outcome.refusals:,} batches sent again" if outcome.refusals else ""
    table.add_row("operations accepted", f"{outcome.operations:,}{refused}")
    table.add_row(
        "operations/s",
        f"{rate:,.0f} over the cluster, {outcome.writing_s:.1f} s, fsync before each answer",
    )
    table.add_row("time to converge", f"{outcome.converging_s:.2f} s after the last answer")
    table.add_row(
        "conflicts", f"{outcome.conflicts:,} surfaced, {len(outcome.left):,} left after resolving"
    )
    table.add_row(
        "differences", f"{len(outcome.differences):,} in {outcome.values:,} values on three nodes"
    )
    narration.table(table)
    wrong = outcome.differences + outcome.left
    for line in wrong[:SHOWN_MAX]:
        narration.say(f"  {line}")
    if wrong:
        raise Wrong(f"{len(wrong):,} things are not as they should be")
