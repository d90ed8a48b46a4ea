"""What does catching up cost, by the log after a cut and by a snapshot for a new node?

``python -m bench.catchup [--quick]``: three nodes over fault-free links.

(a) n3 is cut off, n1 takes writes, the links are healed: seconds until n3 has them all, and bytes
    received by it for each byte of data it had missed. Targets: 100,000 writes in 5 s, 1.5 x.
(b) n1 takes the keys, n3 starts with an empty directory and replaces the old n3: seconds from its
    start until it serves with all of them, and bytes received for each byte of data. Targets:
    1,000,000 keys in 60 s, 1.5 x.

A byte of data is one of a key or value. The links' relay runs on the same cores.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from bench.report import heading
from bench.room import Room
from cluster.processes import LocalCluster
from kvnode import Client, Operation, Put, RequestRefused
from kvnode.client.operator import Operator

KEY_BYTES, VALUE_BYTES = 16, 100
BATCH = 1000
LOOK_S = 0.02
DEADLINE_S = 240.0
CONNECTED_S = 60.0
TIMEOUT_S = 30.0


def batches(count: int) -> Iterator[list[Operation]]:
    """Puts of new keys, random and in random order."""
    for start in range(0, count, BATCH):
        yield [
            Put(os.urandom(KEY_BYTES // 2).hex(), os.urandom(VALUE_BYTES), lww=True)
            for _ in range(min(BATCH, count - start))
        ]


def load(client: Client, count: int) -> float:
    """Write them; seconds."""
    started = time.perf_counter()
    for batch in batches(count):
        client.write(batch)
    return time.perf_counter() - started


def received(cluster: LocalCluster, name: str) -> int:
    """Bytes that came to the node over its links."""
    return sum(
        cluster.link(other, name).counters.bytes_delivered
        for other in cluster.names
        if other != name
    )


def wait_same(reference: Client, newcomer: Client) -> None:
    """Wait until the second node has what the first has."""
    wanted = {entry.origin: entry.seq for entry in reference.admin.status().vector}
    deadline = time.perf_counter() + DEADLINE_S
    while True:
        found = {entry.origin: entry.seq for entry in newcomer.admin.status().vector}
        if all(found.get(origin, 0) >= seq for origin, seq in wanted.items()):
            return
        assert time.perf_counter() < deadline, f"not caught up within {DEADLINE_S} s"
        time.sleep(LOOK_S)


def take_in(cluster: LocalCluster) -> None:
    """Let the new n3 take the old one's place, as soon as it says that it waits for that."""
    deadline = time.perf_counter() + DEADLINE_S
    with Operator(cluster.endpoint("n1"), timeout_s=10) as operator:
        while True:
            try:
                operator.replace("n3", "", preview=False)
                return
            except RequestRefused:  # the old one was heard a moment ago, or the new one not yet
                if time.perf_counter() > deadline:
                    raise
                time.sleep(LOOK_S)


def wait_serving(client: Client) -> None:
    """Wait until the node takes calls."""
    deadline = time.perf_counter() + DEADLINE_S
    while (state := client.admin.status().state) != "serving":
        assert time.perf_counter() < deadline, f"still {state} after {DEADLINE_S} s"
        time.sleep(LOOK_S)


async def measure(room: Room) -> None:
    """(a) for ``./bench/run``, with as many writes as its pace says."""
    count = room.pace.missed
    for _ in room.rounds():
        with room.part(f"catch-up of {count:,}"):
            with LocalCluster(3, directory=room.new_directory()) as cluster:
                cluster.wait_connected(deadline_s=CONNECTED_S)
                seconds, size = measure_cut(cluster, count)
            room.figures.add(f"catch-up/seconds at {count:,}", "kvnode", seconds, "s")
            room.figures.add(f"catch-up/wire at {count:,}", "kvnode", size / 1e6, "MB")


def tell(what: str, count: int, seconds: float, size: int) -> None:
    """One line."""
    data = count * (KEY_BYTES + VALUE_BYTES)
    click.echo(
        f"  {what:44} {count:9,} in {seconds:6.1f} s  "
        f"{size / 1e6:7.1f} MB for {data / 1e6:.1f} MB of data, {size / data:.2f} x"
    )


def measure_cut(cluster: LocalCluster, count: int) -> tuple[float, int]:
    """(a): seconds, and bytes on the wire."""
    with (
        Client(cluster.endpoint("n1"), timeout_s=TIMEOUT_S) as writer,
        Client(cluster.endpoint("n3"), timeout_s=TIMEOUT_S) as cut_off,
    ):
        cluster.isolate("n3")
        load(writer, count)
        before = received(cluster, "n3")
        started = time.perf_counter()
        cluster.heal()
        wait_same(writer, cut_off)
        seconds = time.perf_counter() - started
        return seconds, received(cluster, "n3") - before


def tell_cut(cluster: LocalCluster, count: int) -> None:
    """(a), printed."""
    seconds, size = measure_cut(cluster, count)
    tell("(a) after a cut, by the log", count, seconds, size)


def measure_newcomer(cluster: LocalCluster, count: int) -> None:
    """(b)."""
    with Client(cluster.endpoint("n1")) as writer:
        cluster.stop("n3")
        seconds = load(writer, count)
        click.echo(f"  {count:,} keys written at n1 in {seconds:.1f} s")
        with Client(cluster.endpoint("n2")) as other:
            wait_same(writer, other)
        shutil.rmtree(cluster.directory / "n3" / "data")
        before = received(cluster, "n3")
        started = time.perf_counter()
        cluster.start("n3", serving=False)
        with Client(cluster.endpoint("n3")) as newcomer:
            take_in(cluster)
            wait_serving(newcomer)
            wait_same(writer, newcomer)
            seconds = time.perf_counter() - started
            keys = newcomer.admin.status().checkpoint.stored_keys
        tell("(b) a new node, by a snapshot", count, seconds, received(cluster, "n3") - before)
        click.echo(f"  {keys:,} keys are in its state on disk")


@click.command()
@click.option("--writes", default=100_000, show_default=True, help="Missed by the node cut off.")
@click.option("--keys", default=1_000_000, show_default=True, help="To be got by the new node.")
@click.option("--quick", is_flag=True, help="A fifth of both, for a first look.")
def main(*, writes: int, keys: int, quick: bool) -> None:
    """Print the cost of catching up in a three-node cluster."""
    if quick:
        writes, keys = writes // 5, keys // 5
    click.echo(heading("Catching up"))
    for count, measure in ((writes, tell_cut), (keys, measure_newcomer)):
        if count:
            with (
                TemporaryDirectory() as directory,
                LocalCluster(3, directory=Path(directory)) as cluster,
            ):
                cluster.wait_connected()
                measure(cluster, count)


if __name__ == "__main__":
    main()
