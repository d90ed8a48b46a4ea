"""Does the space of deleted keys come back, and what does collecting them cost?

``python -m bench.collection [--keys N] [--json]``: one engine over LMDB on this disk, with one
member that reports what the engine has. N keys are written and deleted, all is collected. *Live*
are the pages that hold something; free pages are used again, and given back when they are most of
the file.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from pathlib import Path

import click

from bench.report import heading
from kvnode.config import Config
from kvnode.core.operations import Delete, Operation, Put
from kvnode.core.replica import Request
from kvnode.core.types import LWW_REGISTER
from kvnode.node.collector import Collector
from kvnode.node.engine import Engine
from kvnode.storage.state import LmdbState
from kvnode.storage.tailed_log import TailedLog

BATCH = 1_000
OWN, MEMBER = 1, 2
VALUE = bytes(100)


async def measure(folder: Path, keys: int) -> dict[str, float]:
    """Bytes and seconds of each phase."""
    for part in ("log", "state"):
        (folder / part).mkdir()
    log, state = TailedLog(folder / "log", OWN), LmdbState(folder / "state", OWN)
    engine = Engine(Config(), OWN, log, state)
    collector = Collector(engine, lambda: frozenset({MEMBER}), lambda: 0)
    found: dict[str, float] = {"keys": keys, "start_live_bytes": state.usage().used_bytes}

    async def write(name: str, operations: list[Operation]) -> None:
        started = time.perf_counter()
        for at in range(0, keys, BATCH):
            batch = operations[at : at + BATCH]
            while engine.checkpoints.overdue:  # noqa: ASYNC110 - the other side is a thread
                await asyncio.sleep(0.01)
            await engine.submit(Request(batch), len(batch) * 120)
        await checkpoint(engine)
        found[f"{name}_s"] = time.perf_counter() - started
        found[f"{name}_live_bytes"] = state.usage().used_bytes

    await write("written", [Put(b"key:%012d" % n, VALUE, LWW_REGISTER) for n in range(keys)])
    await write("deleted", [Delete(b"key:%012d" % n) for n in range(keys)])
    found["rows_waiting"] = sum(state.waiting().values())
    engine.stability.learn(MEMBER, engine.vector, engine.vector)
    started = time.perf_counter()
    while state.waiting():
        await collector.look()
        await checkpoint(engine)
    found["collected_s"] = time.perf_counter() - started
    usage = state.usage()
    found |= {"end_live_bytes": usage.used_bytes, "file_bytes": usage.file_bytes}
    await engine.close()
    log.close()
    state.close()
    return found


async def checkpoint(engine: Engine) -> None:
    """Everything so far, on disk."""
    made = engine.checkpoints.made
    engine.checkpoints.start()
    while engine.checkpoints.made == made:  # noqa: ASYNC110 - the other side is a thread
        await asyncio.sleep(0.001)


@click.command()
@click.option("--keys", default=100_000, show_default=True, help="How many to write and delete.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def main(*, keys: int, as_json: bool) -> None:
    """Print sizes at the start, at the peak, and at the end."""
    with tempfile.TemporaryDirectory(prefix="kvnode-bench-") as folder:
        found = asyncio.run(measure(Path(folder), keys))
    if as_json:
        click.echo(json.dumps(found))
        return
    click.echo(heading(f"Space of {keys:,} deleted LWW registers (16 B keys, 100 B values)"))
    start, peak = found["start_live_bytes"], found["written_live_bytes"]
    for name, value in found.items():
        click.echo(f"  {name:22} {value:16,.1f}")
    share = (found["end_live_bytes"] - start) / (peak - start)
    click.echo(f"  what is left: {share:.4%} of the peak")


if __name__ == "__main__":
    main()
