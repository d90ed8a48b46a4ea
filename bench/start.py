"""How long after kill -9 is a node ready that has many keys, or many entries in its log?

kvnode and its peers take 1 M keys and then 100 K other writes, are killed and started again; the
time runs until a client that is new has read a key. What a node of kvnode wrote last is in no
checkpoint then. *Checkpointed* nodes start on files of their own that were put together beforehand,
with 1 M keys and then with 1 M single puts more, each an entry of the log; there the time runs
until ``kvnode serve`` prints that it serves.

``python -m bench.start [--keys N] [--json]`` tells more of a checkpointed node: also after a clean
stop, and after a kill when the machine seems to have been restarted, so that all is looked at
first. The parts are of a process that imports and opens the same and nothing else. On a busy
machine compare CPU times. (1 M keys: about 3 minutes, most of it to make the store.)
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

import click

from bench.made_stores import NAME, add_entries, add_keys, node_of, restart_machine
from bench.processes import ServerProcess
from bench.report import heading
from bench.room import Room
from bench.servers import Servers, until
from bench.stores import Store

BATCH: Final = 1000
WRITES: Final = 20
"""Batches before a kill, a tenth of the keys in all."""
PARTS_S: Final = 300
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


async def measure(room: Room) -> None:
    """All that were written to, then those that were made."""
    count = room.pace.started
    async with room.systems() as systems:
        for servers in systems:
            with room.part(f"start of {servers.store.name}"):
                await room.write_all(servers.store, room.keys[:count])
                for _ in room.rounds():
                    await kill_and_start(room, servers)
    with room.part("start/checkpointed"):
        await start_made(room, count, room.pace.entries)


async def kill_and_start(room: Room, servers: Servers[Any]) -> None:
    """Some writes, kill -9, and then until a key is there again."""
    count, name = room.pace.started, servers.store.name
    async with servers.connect() as store:
        for _ in range(WRITES):
            await store.write(room.some_pairs(max(1, count // 10 // WRITES), count))
    process = servers.process
    process.kill()
    began = time.perf_counter()
    process.start()
    process.wait_ready()
    async with servers.connect() as store:
        await until(partial(answers, store, room.keys[0]), f"{name} has its keys again")
    figures = room.figures
    figures.add(f"start/kill -9 at {count:,}", name, time.perf_counter() - began, "s")
    figures.add(f"start/kill -9 at {count:,}/cpu", name, process.cpu_s(), "s")


async def answers(store: Store, key: bytes) -> bool:
    """The key is read; a server that still loads says so by an error."""
    try:
        return await store.get(key) is not None
    except Exception:  # any of its client's
        return False


async def start_made(room: Room, keys: int, entries: int) -> None:
    """After kill -9, with few and with many entries in the log."""
    directory = room.new_directory()
    process, folder = node_of(directory), directory / "data"
    await add_keys(folder, keys, BATCH, room.tell)
    names = [f"start/checkpointed at {keys:,}"]
    names.append(f"start/checkpointed, {entries:,} log entries, at {keys:,}")
    for name in names:
        with process:
            for _ in room.rounds():
                process.kill()
                start = started(process)
                room.figures.add(name, "kvnode", start.seconds, "s")
                room.figures.add(f"{name}/cpu", "kvnode", start.cpu_s, "s")
        if name == names[0]:
            await add_entries(folder, entries, room.tell)


class Start(NamedTuple):
    """Of a node, until it serves."""

    seconds: float
    cpu_s: float
    """Of the node; a look before is another process."""


def started(process: ServerProcess) -> Start:
    """It serves."""
    began = time.perf_counter()
    process.start()
    process.wait_ready()
    return Start(time.perf_counter() - began, process.cpu_s())


@click.command()
@click.option("--keys", default=1_000_000, show_default=True, type=click.IntRange(1))
@click.option("--batch", default=BATCH, show_default=True, help="Operations of a block in the log.")
@click.option("--times", default=3, show_default=True, help="Starts of each kind.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def main(*, keys: int, batch: int, times: int, as_json: bool) -> None:
    """Print the time to ready after kill -9, after a clean stop, and with a look before."""
    found: dict[str, list[Start]] = {"kill -9": [], "clean stop": [], "machine restarted": []}
    with tempfile.TemporaryDirectory(prefix="kvnode-bench-") as made:
        folder = Path(made) / "data"
        began = time.perf_counter()
        asyncio.run(add_keys(folder, keys, batch, lambda _: None))
        made_s = time.perf_counter() - began
        disk = {
            part: (folder / "v1" / part / "data.mdb").stat().st_blocks * 512 / keys
            for part in ("log", "state")
        }
        with node_of(Path(made)) as process:
            for number in range(times):
                process.kill()
                found["kill -9"].append(started(process))
                process.stop()
                found["clean stop"].append(started(process))
                if not number:
                    process.kill()
                    restart_machine(folder)
                    found["machine restarted"].append(started(process))
        parts = json.loads(
            subprocess.run(
                [sys.executable, "-c", PARTS, str(folder), NAME],
                capture_output=True,
                check=True,
                text=True,
                timeout=PARTS_S,
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
