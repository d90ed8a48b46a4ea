"""A node's own files, put together without the node: many keys, many entries in its log.

Everything is in a checkpoint that was just written, as after a while without writes. The node is
then started on it by ``python -m bench.start`` or ``./bench/run start``.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench.processes import ServerProcess
from bench.servers import PORTS, kvnode_process
from cluster.ports import HOST
from kvnode.config import Config
from kvnode.core.block import Block
from kvnode.core.operations import Put
from kvnode.core.replica import Request
from kvnode.core.types import LWW_REGISTER
from kvnode.node.engine import Engine
from kvnode.storage.directory import DataDirectory

NAME: Final = "n1"
VALUE_BYTES: Final = 100
STAGE: Final = 50_000
"""Entries between two checkpoints."""
OVERWRITTEN: Final = 10_000
"""Keys that the entries are about: few, so that they do not change how many there are."""


def node_of(directory: Path) -> ServerProcess:
    """A node whose data are in ``directory/data``."""
    return kvnode_process(directory, 0, [f"{HOST}:{PORTS.choose(1)[0]}"], "")


def opened(folder: Path) -> DataDirectory:
    """To be closed."""
    return DataDirectory(folder, cluster="default", name=NAME, now_ms=1)


def recovered(directory: DataDirectory) -> Engine:
    """What its node has when it has started."""
    origin = directory.identity.origin_id
    return Engine(Config(name=NAME), origin, directory.log, directory.state)


async def add_keys(folder: Path, count: int, batch: int, tell: Callable[[str], None]) -> None:
    """Keys of 16 random bytes, values of 100, a block in the log for every batch."""
    directory = opened(folder)
    engine = recovered(directory)
    chance = random.Random(1)
    for first in range(0, count, batch):
        if first % (count // 4 // batch * batch or batch) == 0:
            tell(f"making a store: {first:,} of {count:,} keys")
        puts = [
            Put(chance.randbytes(16), chance.randbytes(VALUE_BYTES))
            for _ in range(min(batch, count - first))
        ]
        while engine.checkpoints.overdue:
            await engine.checkpoints.flush()
        await engine.submit(Request(puts, b""), 0)
    await engine.close()
    directory.close()


async def add_entries(folder: Path, count: int, tell: Callable[[str], None]) -> None:
    """Single puts of registers, each a block of its own; many blocks are synced at once."""
    directory = opened(folder)
    chance = random.Random(2)
    for first in range(0, count, STAGE):
        tell(f"making a store: {first:,} of {count:,} entries of the log")
        engine = recovered(directory)
        await engine.close()  # from here on it is its replica that is used, and not its log
        blocks: list[Block] = []
        for _ in range(min(STAGE, count - first)):
            key = b"overwritten/%d" % chance.randrange(OVERWRITTEN)
            put = Put(key, bytes(VALUE_BYTES), LWW_REGISTER)
            planned = engine.replica.plan([Request([put])], [], engine.ambient.wall_ms())
            engine.memtable.install(engine.replica.commit(planned), 0)
            blocks += planned.records
        directory.log.append(blocks)
    await recovered(directory).close()  # what it had to replay is in a checkpoint now
    directory.close()


def restart_machine(folder: Path) -> None:
    """Let the directory look so."""
    lock = folder / "LOCK"
    number, _, phase = lock.read_text().split()
    lock.write_text(f"{number} another {phase}")
