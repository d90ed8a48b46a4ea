"""``./cluster/local``: a cluster on this machine to play with, and to break.

``up`` leaves a supervisor in the background (see ``cluster.supervisor``) with its state in
``.kvnode-cluster/``; every other command finds it there.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from types import FrameType
from typing import Final

import click
from rich.console import Console
from rich.table import Table

from cluster.control import (
    LOCK_FILE,
    ClusterControl,
    ClusterError,
    ClusterView,
    Contact,
    NodeView,
    NotRunning,
)
from cluster.faults import Fault, Mode
from cluster.node_process import Life, tail
from cluster.processes import ROOT, LocalCluster

DIRECTORY: Final = ROOT / ".kvnode-cluster"
FIRST_PORT: Final = 7101
NODES_MAX: Final = 16
"""Each node is a process of some 60 MB, and the links grow with its square."""

STATUS_TIMEOUT_S: Final = 1.0
KILL_DEADLINE_S: Final = 5.0

out = Console(highlight=False)

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


def is_held() -> bool:
    """A supervisor lives in the directory."""
    try:
        with (DIRECTORY / LOCK_FILE).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def clear(*, keep_data: bool) -> None:
    """Remove the directory, or all of it but the nodes' data. Only without a supervisor."""
    if not keep_data:
        shutil.rmtree(DIRECTORY, ignore_errors=True)
        return
    for entry in DIRECTORY.iterdir():
        if (entry / "data").is_dir():
            (entry / "log").unlink(missing_ok=True)
        elif entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


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
    if is_held():
        raise Plain("a cluster is already running: see ./cluster/local status, or end it: down.")
    kept = {entry.parent.name for entry in DIRECTORY.glob("*/data")}
    end_by_exception()
    local = LocalCluster(
        nodes, names=chosen, directory=DIRECTORY, node_config=config, first_port=FIRST_PORT
    )
    try:
        with plain_errors():
            local.open()
            view = local.status()
            local.detach()
    except BaseException:
        local.close()
        if not is_held():
            clear(keep_data=bool(kept))
        raise
    show_start(view, kept)


def is_name(name: str) -> bool:
    """A name fit for a directory and a command line."""
    return bool(name) and name.replace("-", "").replace("_", "").isalnum() and name[0] != "-"


def end_by_exception() -> None:
    """Let SIGTERM and SIGHUP end this process the way Ctrl-C does, so that it cleans up."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)


def show_start(view: ClusterView, kept: set[str]) -> None:
    """What runs, and how to talk to it."""
    installed = Path(sys.executable).with_name("kvnode")
    program = "kvnode" if shutil.which("kvnode") else os.path.relpath(installed)
    out.print(f"{len(view.nodes)} nodes are up. Talk to them:")
    for node in view.nodes:
        out.print(f"  {node.name}: {program} --endpoint {node.address} status", soft_wrap=True)
    if old := [node.name for node in view.nodes if node.name in kept]:
        out.print(f"Data kept from last time: {', '.join(old)}")
    out.print("Break something:  ./cluster/local cut|drop|delay|reset A B, isolate A, kill A")
    out.print("Mend and look:    ./cluster/local heal, start A, status, logs A")
    out.print("End it:           ./cluster/local down")


@main.command()
@click.option("--keep-data", is_flag=True, help="Leave the nodes' data for the next up.")
def down(*, keep_data: bool) -> None:
    """Stop everything and remove .kvnode-cluster/."""
    if not DIRECTORY.exists():
        out.print("No cluster is running.")
        return
    try:
        cluster().shut_down()
    except ClusterError:
        # It is gone, or it hangs: either way nothing of it may stay.
        end_hard()
    clear(keep_data=keep_data)
    kept = f" The data is kept in {DIRECTORY}." if keep_data else ""
    out.print(f"The cluster is down.{kept}", soft_wrap=True)


def end_hard() -> None:
    """Kill a supervisor that does not answer; its nodes go with it."""
    deadline = monotonic() + KILL_DEADLINE_S
    while is_held():
        # Suppressed: it is just beginning or ending.
        with suppress(NotRunning, ProcessLookupError):
            os.kill(Contact.read(DIRECTORY).pid, signal.SIGKILL)
        if monotonic() > deadline:
            raise Plain(f"the supervisor cannot be ended; who holds {DIRECTORY / LOCK_FILE}?")
        sleep(0.02)


@main.command()
def status() -> None:
    """Show the nodes, and the links that do not just pass."""
    with plain_errors():
        view = cluster().status()
    nodes = Table("node", "process", "pid", "address", "state", "peers connected")
    for node in view.nodes:
        state, peers = ask_state(node)
        process = f"{node.life} ({node.exit_code})" if node.life is Life.DIED else str(node.life)
        nodes.add_row(node.name, process, str(node.pid or "-"), node.address, state, peers)
    out.print(nodes)
    impaired = [link for link in view.links if link.fault != Fault()]
    if not impaired:
        out.print("All links pass.")
        return
    links = Table("from", "to", "fault", "bytes held", "hits")
    for link in impaired:
        held, hits = str(link.counters.bytes_held), str(link.counters.faults)
        links.add_row(link.source, link.target, str(link.fault), held, hits)
    out.print(links)


def ask_state(node: NodeView) -> tuple[str, str]:
    """The node's own word on itself and its peers; dashes if it cannot say."""
    if node.life is not Life.READY:
        return "-", "-"
    from kvnode import Client, KvnodeError  # 120 ms that no other command needs

    try:
        with Client(node.address, timeout_s=STATUS_TIMEOUT_S) as client:
            answer = client.status()
    except KvnodeError:
        return "no answer", "-"
    connected = sum(peer.state == "connected" for peer in answer.peers)
    return answer.state, f"{connected} of {len(answer.peers)}"


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
@click.argument("ms", type=click.FloatRange(min=0))
@click.option("--jitter", type=click.FloatRange(min=0), default=0.0, help="Up to so many ms more.")
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
    """Let all links pass again."""
    with plain_errors():
        cluster().heal()
    out.print("All links pass.")


@main.command()
@click.argument("nodes", nargs=-1)
def start(nodes: tuple[str, ...]) -> None:
    """Start nodes that are not running; without names, all of them."""
    with plain_errors():
        cluster().start(*nodes)
    out.print(f"{', '.join(nodes) or 'Every node'} is up.")


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
    """Let a halted node run on."""
    with plain_errors():
        cluster().resume(node)
    out.print(f"{node} runs on.")


@main.command()
@click.argument("node")
@click.option("--lines", "-n", type=click.IntRange(1), default=40, show_default=True)
def logs(node: str, lines: int) -> None:
    """Print the end of a node's log."""
    with plain_errors():
        log = cluster().node(node).log
    click.echo(tail(log, lines))


if __name__ == "__main__":
    main(prog_name="./cluster/local")
