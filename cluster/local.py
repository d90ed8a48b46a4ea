"""``./cluster/local``: a cluster on this machine to play with, and to break.

``up`` leaves a supervisor in the background (see ``cluster.supervisor``) with its state in
``.kvnode-cluster/``; every other command finds it there.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import Final

import click

from cluster.control import (
    ClusterControl,
    ClusterError,
    ClusterView,
    Contact,
    NotRunning,
    is_held,
)
from cluster.faults import Fault, Mode
from cluster.interruption import EXIT_INTERRUPTED, ignore_interrupts, raise_when_interrupted
from cluster.local_directory import clear, end_hard, foreign_in
from cluster.local_view import few, note, out, show, show_links, show_nodes, show_start
from cluster.node_process import Life, tail
from cluster.processes import ROOT, LocalCluster
from kvnode.config import ConfigError, load

DIRECTORY: Final = ROOT / ".kvnode-cluster"
FIRST_PORT: Final = 7101
NODES_MAX: Final = 16
"""Each node is a process of some 60 MB, and the links grow with its square."""

TOGETHER_TIMEOUT_S: Final = 5.0
"""For nodes to find each other again and to catch up: links come back within a second or two; only
after millions of writes apart, or over slow links, does it take longer."""

EXAMPLES: Final = """
\b
Examples:
  ./cluster/local up                 three nodes n1, n2, n3
  ./cluster/local cut n1 n2          n1 and n2 lose each other, n3 relays
  ./cluster/local isolate n3         n3 is on its own and still serves clients
  ./cluster/local delay n1 n2 80     80 ms each way
  ./cluster/local heal               everything passes again
  ./cluster/local kill n2            SIGKILL; start n2 brings it back
  ./cluster/local status
  ./cluster/local down
"""


class Milliseconds(click.FloatRange):
    """How long, with a name that error messages can show."""

    name = "number of milliseconds"

    def __init__(self) -> None:
        super().__init__(min=0)


class Plain(click.ClickException):
    """An error for people: what happened and what to do."""


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn what can go wrong into one plain message."""
    try:
        yield
    except NotRunning as error:
        hint = "./cluster/local up starts one"
        if DIRECTORY.exists():
            hint += "; ./cluster/local down first clears what an earlier one left"
        raise Plain(f"{error}: {hint}.") from error
    except ClusterError as error:
        raise Plain(str(error)) from error


def cluster() -> ClusterControl:
    """The running cluster; raises ``NotRunning``."""
    return ClusterControl(Contact.read(DIRECTORY))


def await_together(control: ClusterControl, *names: str) -> str:
    """Wait until nodes that can reach each other do so and have caught up; if not, how it went.

    Only pairs with one of ``names`` (none: all) count, and only nodes that run.
    """
    view = control.status()
    running = {node.name: node.address for node in view.nodes if node.life is Life.READY}
    apart = {
        frozenset((link.source, link.target))
        for link in view.links
        if link.fault.mode in (Mode.CUT, Mode.DROP)
    }
    pairs = [
        pair
        for pair in combinations(running, 2)
        if frozenset(pair) not in apart and (not names or set(pair) & set(names))
    ]
    if not pairs:
        return ""
    from cluster.convergence import wait_together  # 120 ms that most commands do not need

    missing = wait_together(running, pairs, timeout_s=TOGETHER_TIMEOUT_S)
    if not missing:
        return ""
    return (
        f"After {TOGETHER_TIMEOUT_S:g} s they have not caught up: {few(missing, '; ')}. "
        "See ./cluster/local status."
    )


@click.group(epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Run a kvnode cluster on this machine and break the links between its nodes.

    Clients reach the nodes directly; only what nodes say to each other goes through the links.
    """


@main.command()
@click.option(
    "--nodes",
    type=click.IntRange(1, NODES_MAX),
    default=3,
    show_default=True,
    help="How many; they are called n1, n2, ...",
)
@click.option("--names", help="Names instead, separated by commas: --names EWR,JFK,LGA")
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A kvnode configuration (TOML) for all nodes.",
)
def up(nodes: int, names: str | None, config: Path | None) -> None:
    """Start a cluster in the background."""
    chosen = [name.strip() for name in names.split(",")] if names else None
    if chosen is not None and (len(set(chosen)) < len(chosen) or not all(map(is_name, chosen))):
        raise Plain("--names takes different names of letters, digits, - and _, such as a,b,c.")
    if is_held(DIRECTORY):
        raise Plain("a cluster is already running: see ./cluster/local status, or end it: down.")
    refuse_foreign()
    try:
        load(config, name=(chosen or ["n1"])[0], peers={})
    except ConfigError as error:
        raise Plain(str(error)) from error
    kept = {entry.parent.name for entry in DIRECTORY.glob("*/data")}
    raise_when_interrupted()
    local = LocalCluster(
        nodes, names=chosen, directory=DIRECTORY, node_config=config, first_port=FIRST_PORT
    )
    try:
        view, rest = begin(local, keep_data=bool(kept))
    except KeyboardInterrupt:
        note("\nInterrupted; nothing is left running.")
        sys.exit(EXIT_INTERRUPTED)
    show_start(view, kept, FIRST_PORT)
    note(rest)


def begin(local: LocalCluster, *, keep_data: bool) -> tuple[ClusterView, str]:
    """Start it and let it run on without this process; on any error nothing is left."""
    try:
        with plain_errors():
            local.open()
            rest = await_together(local)
            view = local.status()
            ignore_interrupts()
            local.detach()
    except BaseException:
        try:
            local.close()
        finally:
            if not is_held(DIRECTORY):
                clear(DIRECTORY, keep_data=keep_data)
        raise
    return view, rest


def refuse_foreign() -> None:
    """Use the directory only if all in it is ours, because ``down`` removes it."""
    if DIRECTORY.exists() and not DIRECTORY.is_dir():
        raise Plain(f"{DIRECTORY} is not a directory: move it away first.")
    if foreign := foreign_in(DIRECTORY):
        raise Plain(f"{in_the_way(foreign)}, which no cluster put there: move that away first.")


def in_the_way(foreign: Sequence[Path]) -> str:
    """Where it is and what it is called."""
    return f"{DIRECTORY} holds {few([str(f.relative_to(DIRECTORY)) for f in foreign], ', ')}"


def is_name(name: str) -> bool:
    """A name fit for a directory and a command line."""
    return bool(name) and name.replace("-", "").replace("_", "").isalnum() and name[0] != "-"


@main.command()
@click.option("--keep-data", is_flag=True, help="Leave the nodes' data for the next up.")
def down(*, keep_data: bool) -> None:
    """Stop everything and remove .kvnode-cluster/.

    What no cluster put there is left.
    """
    if not DIRECTORY.is_dir():
        out.print("No cluster is running.")
        return
    try:
        cluster().shut_down()
    except ClusterError:
        # It is gone, or it hangs: either way nothing of it may stay.
        with plain_errors():
            end_hard(DIRECTORY)
    foreign = clear(DIRECTORY, keep_data=keep_data)
    kept = f" The data is kept in {DIRECTORY}." if keep_data else ""
    out.print(f"The cluster is down.{kept}", soft_wrap=True)
    if foreign:
        note(f"{in_the_way(foreign)}, which no cluster put there: left as it is.")


@main.command()
def status() -> None:
    """Show the nodes, and the links that do not just pass."""
    with plain_errors():
        view = cluster().status()
    show_nodes(view)
    show_links(view)


one_way = click.option("--one-way", is_flag=True, help="Only what travels from A to B.")


@main.command()
@click.argument("a")
@click.argument("b")
@one_way
def cut(a: str, b: str, *, one_way: bool) -> None:
    """Cut two nodes apart.

    Their connections are reset and new ones refused. With --one-way what A sends to B is lost (as
    with drop) and what B sends still arrives while a connection lasts.
    """
    with plain_errors():
        cluster().cut(a, b, one_way=one_way)
    out.print(f"{a} no longer reaches {b}." if one_way else f"{a} and {b} are cut apart.")


@main.command()
@click.argument("a")
@click.argument("b")
@one_way
def drop(a: str, b: str, *, one_way: bool) -> None:
    """Let the bytes between two nodes stall.

    As behind a firewall that drops packets: connections stay open, new ones hang, and what was
    held flows on when healed.
    """
    with plain_errors():
        set_links(a, b, Fault(Mode.DROP), one_way=one_way)
    out.print(f"What {a} sends {b} stalls." if one_way else f"{a} and {b} hear nothing.")


@main.command()
@click.argument("a")
@click.argument("b")
@click.argument("ms", type=Milliseconds())
@click.option(
    "--jitter", type=Milliseconds(), metavar="MS", default=0.0, help="Up to so many ms more."
)
@one_way
def delay(a: str, b: str, ms: float, jitter: float, *, one_way: bool) -> None:
    """Delay the bytes between two nodes by MS milliseconds each way."""
    fault = Fault(Mode.DELAY, delay_ms=ms, jitter_ms=jitter)
    with plain_errors():
        set_links(a, b, fault, one_way=one_way)
    out.print(f"{a} {'->' if one_way else '<->'} {b}: {fault}.")


def set_links(a: str, b: str, fault: Fault, *, one_way: bool) -> None:
    """One direction or both."""
    if one_way:
        cluster().set_link(a, b, fault)
    else:
        cluster().set_links(a, b, fault)


@main.command()
@click.argument("a")
@click.argument("b")
def reset(a: str, b: str) -> None:
    """Reset the connections between two nodes.

    Once: they may connect again at once.
    """
    with plain_errors():
        cluster().set_links(a, b, Mode.RESET)
    out.print(f"The connections between {a} and {b} were reset.")


@main.command()
@click.argument("node")
def isolate(node: str) -> None:
    """Cut a node off from all others; clients still reach it."""
    with plain_errors():
        cluster().isolate(node)
    out.print(f"{node} is on its own.")


@main.command()
def heal() -> None:
    """Let all links pass again.

    Waits, 5 seconds at most, until the running nodes are connected and have caught up.
    """
    with plain_errors():
        control = cluster()
        control.heal()
        rest = await_together(control)
    show(outcome="All links pass.", rest=rest)


@main.command()
@click.argument("nodes", nargs=-1)
def start(nodes: tuple[str, ...]) -> None:
    """Start nodes that are not running; without names, all of them.

    Waits, 5 seconds at most, until they are connected and have caught up, as far as links pass.
    """
    with plain_errors():
        control = cluster()
        control.start(*nodes)
        rest = await_together(control, *nodes)
    show(outcome=f"{', '.join(nodes) or 'Every node'} is up.", rest=rest)


@main.command()
@click.argument("node")
def stop(node: str) -> None:
    """Stop a node cleanly (SIGTERM)."""
    with plain_errors():
        cluster().stop(node)
    out.print(f"{node} is stopped.")


@main.command()
@click.argument("node")
def kill(node: str) -> None:
    """Kill a node as a crash would (SIGKILL); its data stays."""
    with plain_errors():
        cluster().kill(node)
    out.print(f"{node} is killed. ./cluster/local start {node} brings it back.")


@main.command()
@click.argument("node")
def pause(node: str) -> None:
    """Halt a node (SIGSTOP).

    Its connections stay open and nobody answers.
    """
    with plain_errors():
        cluster().pause(node)
    out.print(f"{node} is halted. ./cluster/local resume {node} lets it run on.")


@main.command()
@click.argument("node")
def resume(node: str) -> None:
    """Let a halted node run on.

    Waits as start does.
    """
    with plain_errors():
        control = cluster()
        control.resume(node)
        rest = await_together(control, node)
    show(outcome=f"{node} runs on.", rest=rest)


@main.command()
@click.argument("node")
@click.option("--lines", "-n", type=click.IntRange(1), default=40, show_default=True)
def logs(node: str, lines: int) -> None:
    """Print the end of a node's log."""
    with plain_errors():
        log = cluster().node(node).log
    click.echo(tail(log, lines))
