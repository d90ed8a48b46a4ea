"""How long does a start take with many keys: ``python -m bench.start [--keys N] [--json]``?

A store is made once by a node's engine: keys of 16 random bytes, values of 100 bytes, a block in
the log for every batch, the last checkpoint just written. Then the real ``kvnode serve`` is started
on it, in turn after kill -9 and after a clean stop, and after a kill when the machine seems to have
been restarted, so that all is looked at first. The time runs until it prints that it serves. The
parts are of a process that imports and opens the same and nothing else. On a busy machine compare
CPU times. (1 M keys: about 3 minutes, most of it to make the store.)
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

import click

from bench.report import heading
from kvnode.config import Config
from kvnode.core.operations import Put
from kvnode.core.replica import Request
from kvnode.node.engine import Engine
from kvnode.storage.directory import DataDirectory

VALUE_BYTES: Final = 100
START_S: Final = 300
NAME: Final = "start"
PARTS: Final = """
import json, sys, time
from pathlib import Path
began = time.process_time()
from kvnode.cli import serve
from kvnode.node.node import Node
imported = time.process_time()
from kvnode.config import Config
from kvnode.node.engine import Engine
from kvnode.storage.directory import DataDirectory
directory = DataDirectory(Path(sys.argv[1]), cluster="default", name=sys.argv[2], now_ms=1)
opened = time.process_time()
Engine(Config(), directory.identity.origin_id, directory.log, directory.state)
recovered = time.process_time()
directory.close()
print(json.dumps([imported - began, opened - imported, recovered - opened]))
"""


def make(folder: Path, keys: int, batch: int) -> None:
    """Write the store."""

    async def write() -> None:
        directory = DataDirectory(folder, cluster="default", name=NAME, now_ms=1)
        origin = directory.identity.origin_id
        engine = Engine(Config(name=NAME), origin, directory.log, directory.state)
        chance = random.Random(1)
        for first in range(0, keys, batch):
            puts = [
                Put(chance.randbytes(16), chance.randbytes(VALUE_BYTES))
                for _ in range(min(batch, keys - first))
            ]
            while engine.checkpoints.overdue:
                await engine.checkpoints.flush()
            await engine.submit(Request(puts, b""), 0)
        await engine.close()
        directory.close()

    asyncio.run(write())


class Start(NamedTuple):
    """Of a node, until it serves."""

    seconds: float
    cpu_s: float
    """Of the node; a look before is another process."""


def serve(folder: Path) -> tuple[subprocess.Popen[str], Start]:
    """A node that serves, and how long that took."""
    began = time.perf_counter()
    command = ["serve", "--name", NAME, "--data", str(folder), "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "kvnode", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert " serving on " in line, f"the node said {line!r}"
    seconds = time.perf_counter() - began
    used = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return process, Start(seconds, sum(map(int, used)) / os.sysconf("SC_CLK_TCK"))


def end(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Send the signal and wait."""
    with process:
        process.send_signal(number)
        process.wait(START_S)


def restart_machine(folder: Path) -> None:
    """Let the directory look so."""
    lock = folder / "LOCK"
    number, _, phase = lock.read_text().split()
    lock.write_text(f"{number} another {phase}")


@click.command()
@click.option("--keys", default=1_000_000, show_default=True, type=click.IntRange(1))
@click.option("--batch", default=1000, show_default=True, help="Operations of a block in the log.")
@click.option("--times", default=3, show_default=True, help="Starts of each kind.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def main(*, keys: int, batch: int, times: int, as_json: bool) -> None:
    """Print the time to ready after kill -9, after a clean stop, and with a look before."""
    found: dict[str, list[Start]] = {"kill -9": [], "clean stop": [], "machine restarted": []}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "data"
        began = time.perf_counter()
        make(folder, keys, batch)
        made_s = time.perf_counter() - began
        disk = {
            part: (folder / "v1" / part / "data.mdb").stat().st_blocks * 512 / keys
            for part in ("log", "state")
        }
        for number in range(times):
            end(serve(folder)[0], signal.SIGKILL)
            process, start = serve(folder)
            found["kill -9"].append(start)
            end(process, signal.SIGTERM)
            process, start = serve(folder)
            found["clean stop"].append(start)
            end(process, signal.SIGKILL)
            if not number:
                restart_machine(folder)
                process, start = serve(folder)
                found["machine restarted"].append(start)
                end(process, signal.SIGTERM)
        parts = json.loads(
            subprocess.run(
                [sys.executable, "-c", PARTS, str(folder), NAME],
                capture_output=True,
                check=True,
                text=True,
                timeout=START_S,
            ).stdout
        )
    if as_json:
        click.echo(json.dumps({"ready_s": found, "parts_s": parts, "disk_per_key": disk}))
        return
    click.echo(heading(f"Start of a node with {keys:,} keys, blocks of {batch}"))
    click.echo(f"  made in {made_s:.0f} s; disk per key: {disk['state']:.0f} B, and the log's")
    click.echo(f"  {disk['log']:.0f} B, which go with retention")
    for name, starts in found.items():
        click.echo(
            f"  ready after {name:20} median {median(one.seconds for one in starts):6.2f} s  "
            f"(CPU {median(one.cpu_s for one in starts):.2f} s, n={len(starts)})"
        )
    for name, seconds in zip(("imports", "opening", "recovery"), parts, strict=True):
        click.echo(f"  CPU of {name:25} {seconds:13.2f} s")


if __name__ == "__main__":
    main()
