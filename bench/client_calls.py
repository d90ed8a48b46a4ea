"""What does a call of the client cost, against gRPC itself in the same run?

``python -m bench.client_calls [--seconds S] [--rounds N]``: one node in a process of its own, and
beside it a bare grpcio server that sends back what it gets. Everything is measured in turns, and
each figure is the median of its rounds: the machine's speed varies more between runs.

- 64 tasks, each awaiting one ``db.put`` after the other, against 64 tasks awaiting bare unary
  calls: calls a second, and the ratio (wanted: at least 4).
- One thread, one ``db.put`` after the other, against a bare unary call plus an ``fdatasync`` of
  what such a write appends: microseconds, and the ratio (wanted: at most 1.15).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import click
import grpc
import grpc.aio

from bench.echo import ECHO, echo_server
from bench.report import heading
from cluster.processes import LocalCluster
from kvnode import AsyncClient, Client

CALLERS = 64
VALUE = b"x" * 100
APPENDED_BYTES = 4096
"""A commit of the log writes some pages; one is the least."""


class Rate(NamedTuple):
    """Calls of all tasks."""

    calls_per_s: float
    cpu_us: float
    """Of this process, for one call: what a busy machine does not change much."""


async def rate_of(call: Callable[[int], Awaitable[object]], seconds: float) -> Rate:
    """How many calls 64 tasks get done, each awaiting its own."""
    end = time.perf_counter() + seconds
    done = 0

    async def caller(number: int) -> None:
        nonlocal done
        while time.perf_counter() < end:
            await call(number)
            done += 1

    started, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(caller(number) for number in range(CALLERS)))
    taken_s = time.perf_counter() - started
    return Rate(done / taken_s, (time.process_time() - cpu) / done * 1e6)


def median_of(rates: Sequence[Rate]) -> Rate:
    """Of each figure."""
    return Rate(*(median(figures) for figures in zip(*rates, strict=True)))


async def together(node: str, echo: str, seconds: float, rounds: int) -> tuple[Rate, Rate]:
    """The client's and bare gRPC's."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with (
        AsyncClient(node, timeout_s=30) as db,
        grpc.aio.insecure_channel(echo, options=options) as channel,
    ):
        bare: Any = channel.unary_unary(ECHO)
        puts: list[Rate] = []
        echoes: list[Rate] = []
        for _ in range(rounds):
            puts.append(await rate_of(lambda number: db.put(f"key/{number}", VALUE), seconds))
            echoes.append(await rate_of(lambda _: bare(VALUE), seconds))
    return median_of(puts), median_of(echoes)


def latency_us(call: Callable[[], object], seconds: float) -> float:
    """The median of one call after the other."""
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while (started := time.perf_counter()) < end:
        call()
        taken.append(time.perf_counter() - started)
    return median(taken) * 1e6


def alone(
    node: str, echo: str, directory: Path, seconds: float, rounds: int
) -> tuple[float, float, float]:
    """Microseconds of a put, of a bare call, and of an append with its fdatasync."""
    file = os.open(directory / "appended", os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def append() -> None:
        os.write(file, b"x" * APPENDED_BYTES)
        os.fdatasync(file)

    puts, calls, syncs = [], [], []
    with Client(node) as db, grpc.insecure_channel(echo) as channel:
        bare: Any = channel.unary_unary(ECHO)
        for _ in range(rounds):
            puts.append(latency_us(lambda: db.put("key", VALUE), seconds))
            calls.append(latency_us(lambda: bare(VALUE), seconds))
            syncs.append(latency_us(append, seconds))
    os.close(file)
    return median(puts), median(calls), median(syncs)


@click.command()
@click.option("--seconds", default=2.0, show_default=True, help="Of each measurement.")
@click.option("--rounds", default=5, show_default=True, help="Of all measurements.")
def main(seconds: float, rounds: int) -> None:
    """Print calls/s and microseconds, and their ratios to bare gRPC."""
    click.echo(heading(f"Calls of the client against bare gRPC, {rounds} rounds of {seconds} s"))
    with (
        TemporaryDirectory() as directory,
        LocalCluster(1, directory=Path(directory)) as cluster,
        echo_server(Path(directory) / "echo") as echo,
    ):
        node = cluster.endpoint("n1")
        puts, echoes = asyncio.run(together(node, echo, seconds, rounds))
        click.echo(
            f"  {CALLERS} tasks: await db.put {puts.calls_per_s:,.0f}/s, bare unary"
            f" {echoes.calls_per_s:,.0f}/s: {puts.calls_per_s / echoes.calls_per_s:.2f} x"
            f" (wanted: 4); CPU of the caller's process {puts.cpu_us:.0f} and"
            f" {echoes.cpu_us:.0f} us a call: {echoes.cpu_us / puts.cpu_us:.2f} x"
        )
        put, call, sync = alone(node, echo, Path(directory), seconds, rounds)
        click.echo(
            f"  one thread: db.put {put:,.0f} us, bare unary {call:,.0f} us + fdatasync"
            f" {sync:,.0f} us: {put / (call + sync):.2f} x (wanted: at most 1.15)"
        )


if __name__ == "__main__":
    main()
