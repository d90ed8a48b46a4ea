"""``export``: what only a node's own disk has."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kvnode.cli.output import bytes_object, complain, write_line

if TYPE_CHECKING:
    from kvnode.core.block import Block


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--after",
    type=click.IntRange(min=0),
    metavar="SEQ",
    help="Only writes after this one.  [default: the last one the cluster has, if known here]",
)
def export(*, directory: Path, after: int | None) -> None:
    """Print a node's own writes from its data directory DIRECTORY, as JSON lines.

    For a node that was forgotten, or a directory that was set aside (DIR/aside-N): what the others
    do not have can be looked through and written again. The node must not be running. Counters
    show the totals of their slot after the operation.

    \b
    Examples:
      kvnode export ./kvnode-data > lost.jsonl
      kvnode export ./kvnode-data/aside-1 --after 1200
    """
    from kvnode.storage.interfaces import StorageError
    from kvnode.storage.own_log import OwnLog

    folder = directory / "v1" if (directory / "v1").is_dir() else directory
    if is_in_use(directory):
        raise click.ClickException(f"{directory} is in use: stop its node first")
    try:
        found = OwnLog(folder)
    except StorageError as error:
        raise click.ClickException(str(error)) from error
    first = found.agreed if after is None else after
    count = 0
    for block in found.blocks:
        for line in block_lines(block, first):
            write_line(json.dumps(line))
            count += 1
    for problem in found.problems:
        complain(problem)
    sys.stderr.write(f"{count} operations of {found.origin:016x} after {first}\n")


def is_in_use(directory: Path) -> bool:
    """Whether a node holds the directory's lock."""
    import fcntl

    lock = directory / "LOCK"
    if not lock.exists():
        return False
    with lock.open("rb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def block_lines(block: Block, after: int) -> list[dict[str, Any]]:
    """An object per operation that changed something."""
    from kvnode.core.hlc import time_ms
    from kvnode.core.types import COUNTERS, NAMES

    lines = []
    for index, op in enumerate(block.ops):
        seq = block.first_seq + index
        if seq <= after or not isinstance(op, list):
            continue
        kind = op[0]
        line: dict[str, Any] = {
            "dot": f"{block.origin:016x}:{seq}",
            "time_ms": time_ms(block.hlc + index),
            "type": NAMES[kind],
            "key": bytes_object(op[1]),
        }
        if kind in COUNTERS and len(op) == 5:
            line |= {"slot": op[2], "incremented": op[3], "decremented": op[4]}
        elif kind in COUNTERS or op[2] is None:
            line["deleted"] = True
        else:
            line["value"] = bytes_object(op[2])
        lines.append(line)
    return lines
