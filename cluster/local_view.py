"""What ``./cluster/local`` prints."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.table import Table

from cluster.control import ClusterView, NodeView
from cluster.faults import Fault
from cluster.node_process import Life

STATUS_TIMEOUT_S: Final = 1.0

SHOWN_MAX: Final = 3
"""Examples of what is missing or in the way."""

out = Console(highlight=False)


def note(text: str) -> None:
    """A line on standard error, for what is not the command's answer; nothing if empty."""
    if text:
        click.echo(text, err=True)


def show(*, outcome: str, rest: str) -> None:
    """What is done, and what is not yet."""
    out.print(outcome)
    note(rest)


def few(phrases: Sequence[str], comma: str) -> str:
    """The first of them, and how many more there are."""
    more = len(phrases) - SHOWN_MAX
    return comma.join(phrases[:SHOWN_MAX]) + (f"{comma}and {more} more" if more > 0 else "")


def show_start(view: ClusterView, kept: set[str], first_port: int) -> None:
    """What runs, and how to talk to it."""
    note_other_ports([int(node.address.rpartition(":")[2]) for node in view.nodes], first_port)
    program = program_name()
    out.print(f"{len(view.nodes)} nodes are up. Talk to them:")
    for node in view.nodes:
        out.print(f"  {node.name}: {program} --endpoint {node.address} status", soft_wrap=True)
    if old := [node.name for node in view.nodes if node.name in kept]:
        out.print(f"Data kept from last time: {', '.join(old)}")
    out.print("Break something:  ./cluster/local cut|drop|delay|reset A B, isolate A, kill A")
    out.print("Mend and look:    ./cluster/local heal, start A, status, logs A")
    out.print("End it:           ./cluster/local down")


def program_name() -> str:
    """What to type for ``kvnode`` here."""
    if shutil.which("kvnode"):
        return "kvnode"
    return shlex.quote(os.path.relpath(Path(sys.executable).with_name("kvnode")))


def note_other_ports(ports: Sequence[int], first: int) -> None:
    """Say so if these are not the usual ones: whoever follows the README would miss them."""
    taken = sorted(set(range(first, max(ports))) - set(ports))
    if taken:
        are = "ports {} are" if len(taken) > 1 else "port {} is"
        note(f"{are.format(ranges(taken))} in use; using {ranges(ports)}")


def ranges(ports: Sequence[int]) -> str:
    """Ascending numbers, shortened: 7101, 7103-7105."""
    firsts = [port for port in ports if port - 1 not in ports]
    lasts = [port for port in ports if port + 1 not in ports]
    pairs = zip(firsts, lasts, strict=True)
    return ", ".join(f"{a}-{b}" if a < b else str(a) for a, b in pairs)


def show_nodes(view: ClusterView) -> None:
    """A table: the supervisor's word on each node, and the node's own."""
    nodes = Table("node", "process", "pid", "address", "state", "peers connected")
    for node in view.nodes:
        state, peers = ask_state(node)
        process = f"{node.life} ({node.exit_code})" if node.life is Life.DIED else str(node.life)
        nodes.add_row(node.name, process, str(node.pid or "-"), node.address, state, peers)
    out.print(nodes)


def show_links(view: ClusterView) -> None:
    """A table of the links that do not just pass, if there are any."""
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
            answer = client.admin.status()
    except KvnodeError:
        return "no answer", "-"
    connected = sum(peer.state == "connected" for peer in answer.peers)
    return answer.state, f"{connected} of {len(answer.peers)}"
