"""How long after a write is acknowledged at one node is it visible at another?

``python -m bench.lag [--writes N]``: three idle nodes over fault-free links; one write at a time
at n1, n2 is asked for it again and again. Beside the lag stand a write and a read of the same run:
the lag cannot be measured finer than one read takes.
"""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from bench.report import heading, line
from cluster.processes import LocalCluster
from kvnode import Client

DEADLINE_S = 10.0


def measure(writer: Client, reader: Client, key: str) -> tuple[float, float, float]:
    """Milliseconds of the write, of the lag behind its answer, and of the last read."""
    started = time.perf_counter()
    writer.put(key, b"x" * 100, lww=True)
    acknowledged = time.perf_counter()
    while True:
        asked = time.perf_counter()
        if reader.batch_get([key])[0].visible:
            break
        assert asked - acknowledged < DEADLINE_S, f"{key} did not arrive"
    seen = time.perf_counter()
    return (acknowledged - started) * 1e3, (seen - acknowledged) * 1e3, (seen - asked) * 1e3


@click.command()
@click.option("--writes", default=1000, show_default=True, help="Measured writes.")
def main(writes: int) -> None:
    """Print the replication lag of an idle three-node cluster."""
    click.echo(heading("Replication lag, idle: acknowledged at n1 until visible at n2"))
    with (
        TemporaryDirectory() as directory,
        LocalCluster(3, directory=Path(directory)) as cluster,
        Client(cluster.endpoint("n1")) as writer,
        Client(cluster.endpoint("n2")) as reader,
    ):
        cluster.wait_connected()
        for number in range(50):
            measure(writer, reader, f"warm/{number}")
        rows = [measure(writer, reader, f"lag/{number}") for number in range(writes)]
    for name, values in zip(
        ("write, until acknowledged", "lag, acknowledged until seen", "one read"),
        zip(*rows, strict=True),
        strict=True,
    ):
        click.echo(line(name, values, "ms"))


if __name__ == "__main__":
    main()
