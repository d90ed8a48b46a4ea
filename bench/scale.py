"""What does one write cost in messages and bytes, and when do all have it, for 3 to 100 replicas?

``python -m bench.scale [--quick] [--json]`` (3 minutes; quick: 2 s): no process, no disk, no
network; the production core on the simulated network of ``bench/simulated_cluster.py``. Every
figure but those marked *computed* is counted there. Below the table stands what would have to
change for more replicas.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from itertools import product
from typing import Final

import click

from bench.report import heading
from bench.simulated_cluster import CONFIG, KEY_BYTES, VALUE_BYTES, SimulatedCluster
from kvnode.v1 import types_pb2

SIZES: Final = (3, 10, 30, 100)
QUICK: Final = (3, 10)
COMMITS: Final = {"one": 10, "all": 2}
"""Rounds with writes."""
SEEDS: Final = 5
"""Runs of a configuration with loss; without, chance has no part in it."""
MANY: Final = 100
"""Replicas with enough links for one run to be an average."""
ROUNDS_MAX: Final = 50
"""After the last write. More would mean that it does not converge."""
RELAY_INTERVAL_S: Final = CONFIG.relay_interval_ms / 1000

BEYOND: Final = """\
What would have to change beyond some 30 replicas:
  links         Full mesh: n (n - 1) push streams and heartbeats. Beyond, push to a few neighbours
                (a tree or an overlay) and let repair carry the rest: O(n) links, log n hops.
  reports       Every message carries a version vector: 14 bytes and more per origin, also origins
                long retired. Send what changed since the last answer, a digest when nothing did.
  blocks        Every block names its dependencies: up to n - 1 entries, which is more than the
                write itself when all write single operations. Name only what changed since the
                origin's previous block.
  relayed       n vectors of n entries over n (n - 1) links are O(n^4) bytes: send changed entries
  reports       only, or hand on a minimum per subtree.
  stability     Tombstones and log wait for the slowest of n members, and the more there are, the
                likelier one is away. Collect below a majority's floor; stragglers take snapshots.
  counters      A PN-Counter keeps a slot per origin that ever counted: O(n) per key. Let few
                origins write, many read."""


@dataclass(frozen=True, slots=True)
class Row:
    """One configuration and its costs. Bytes are of protobuf messages, for the whole cluster."""

    replicas: int
    loss_percent: float
    writers: str
    batch: int
    pushes_per_commit: float
    messages_per_commit: float
    """With answers and pulls, without heartbeats."""
    bytes_per_operation: float
    """Likewise."""
    block_copies: float
    """Bytes of blocks sent, in those of one copy each to all others."""
    rounds: int
    """After the last write's own round, in the worst run."""
    report_bytes: float
    idle_messages_s: float
    idle_bytes_s: float
    """Heartbeats and answers, when nothing is written or lost."""
    idle_bytes_s_with_relayed: float
    """Computed: now and then a report also carries those of the others."""


def measure(replicas: int, loss: float, writers: str, batch: int) -> Row:
    """Run one configuration, until all have everything, with several seeds if chance matters."""
    runs = [
        _run(SimulatedCluster(replicas, loss=loss, seed=seed), writers, batch)
        for seed in range(SEEDS if loss and replicas < MANY else 1)
    ]
    commits = COMMITS[writers] * (replicas if writers == "all" else 1) * len(runs)
    clusters = [cluster for cluster, _ in runs]
    pushes = [cluster.traffic.push for cluster in clusters]
    pulls = [cluster.traffic.pull for cluster in clusters]
    report = clusters[0].report_bytes()
    idle = 2 * replicas * (replicas - 1) * 1000 / CONFIG.heartbeat_interval_ms
    idle_bytes = idle * (report + _framing(round(report)))
    relayed = replicas * (replicas - 1) / RELAY_INTERVAL_S * relayed_bytes(clusters[0])
    return Row(
        replicas=replicas,
        loss_percent=loss * 100,
        writers=writers,
        batch=batch,
        pushes_per_commit=sum(cluster.traffic.pushes for cluster in clusters) / commits,
        messages_per_commit=sum(traffic.messages for traffic in pushes + pulls) / commits,
        bytes_per_operation=sum(traffic.bytes for traffic in pushes + pulls) / commits / batch,
        block_copies=sum(cluster.traffic.block_bytes for cluster in clusters)
        / sum(cluster.written_bytes() for cluster in clusters)
        / (replicas - 1),
        rounds=max(rounds for _, rounds in runs),
        report_bytes=report,
        idle_messages_s=idle,
        idle_bytes_s=idle_bytes,
        idle_bytes_s_with_relayed=idle_bytes + relayed,
    )


def _run(cluster: SimulatedCluster, writers: str, batch: int) -> tuple[SimulatedCluster, int]:
    """The cluster when all have everything, and the rounds that took after the last write."""
    for _ in range(COMMITS[writers]):
        cluster.advance(len(cluster.members) if writers == "all" else 1, batch)
    rounds = 0
    while not cluster.converged():
        rounds += 1
        assert rounds <= ROUNDS_MAX, f"{len(cluster.members)} replicas do not converge"
        cluster.advance(0, 0)
    return cluster, rounds


def relayed_bytes(cluster: SimulatedCluster) -> int:
    """Computed: the last reports of all members but the sender, handed on in one message."""
    total = 0
    members = list(cluster.members.values())[1:]
    for member in members:
        vector = types_pb2.VersionVector(
            entries=[types_pb2.Dot(origin=o, seq=s) for o, s in member.node.vector.items()]
        ).ByteSize()
        size = 9 + vector + _framing(vector)  # origin, vector
        total += size + _framing(size)
    return total


def _framing(size: int) -> int:
    """Tag and length of a field of so many bytes."""
    return 1 + max(1, -(-size.bit_length() // 7))


HEADER: Final = f"""\
  {"":30}{"per commit":>20}{"bytes per":>11}{"block":>8}
  {"replicas  loss  writers  batch":30}{"pushes":>9}{"messages":>11}{"operation":>11}{"copies":>8}\
{"rounds":>8}"""


def line(row: Row) -> str:
    """The row's counted costs."""
    return (
        f"  {row.replicas:8}{row.loss_percent:5.0f}%{row.writers:>9}{row.batch:7}"
        f"{row.pushes_per_commit:9.1f}{row.messages_per_commit:11.1f}"
        f"{row.bytes_per_operation:11,.0f}{row.block_copies:8.2f}{row.rounds:8}"
    )


def idle(rows: list[Row]) -> str:
    """What it costs when nothing happens, and what the words mean."""
    lines = [
        "  messages: pushes, pulls and their answers. block copies: block bytes sent, in copies to",
        "  each of the others (1 is the least). rounds: after the one of the last write, until all",
        f"  have all; a round is {CONFIG.anti_entropy_interval_ms} ms by default.",
        "",
        "  Idle, the whole cluster, when every origin has written:",
        f"  {'replicas':>10}{'report':>10}{'messages/s':>13}{'KB/s':>12}"
        f"{'with relayed reports*':>24}",
    ]
    lines += [
        f"  {row.replicas:10}{row.report_bytes:8,.0f} B{row.idle_messages_s:13,.0f}"
        f"{row.idle_bytes_s / 1000:12,.0f}"
        f"{row.idle_bytes_s_with_relayed / 1000:24,.0f}"
        for row in {row.replicas: row for row in rows if row.writers == "all"}.values()
    ]
    lines += [
        "  * computed, not simulated: once a second to each peer the last reports of all others",
    ]
    return "\n".join(lines)


@click.command()
@click.option("--quick", is_flag=True, help="3 and 10 replicas only.")
@click.option("--size", "sizes", multiple=True, type=click.IntRange(2), help="Replicas. [repeats]")
@click.option(
    "--batch",
    "batches",
    multiple=True,
    type=click.IntRange(1, 10_000),
    default=(1, 100),
    show_default=True,
    help="Operations per commit. [repeats]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the rows as JSON.")
def main(*, quick: bool, sizes: tuple[int, ...], batches: tuple[int, ...], as_json: bool) -> None:
    """Print messages, bytes and rounds per write on a simulated network."""
    if not as_json:
        click.echo(
            heading(
                f"Cost per write on a simulated full mesh; {KEY_BYTES}-byte keys, "
                f"{VALUE_BYTES}-byte values"
            )
        )
        click.echo(HEADER)
    rows = []
    for replicas, writers, batch, loss in product(
        sizes or (QUICK if quick else SIZES), COMMITS, batches, (0.0, 0.1)
    ):
        rows.append(measure(replicas, loss, writers, batch))
        if not as_json:
            click.echo(line(rows[-1]))
    if as_json:
        click.echo(json.dumps([asdict(row) for row in rows], indent=1))
    else:
        click.echo(f"{idle(rows)}\n\n{BEYOND}")


if __name__ == "__main__":
    main()
