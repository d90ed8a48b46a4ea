"""``export``: what only a node's own disk has."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from kvnode.cli.output import bytes_object, complain, write_line


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option(
    "--after",
    type=click.IntRange(min=0),
    metavar="SEQ",
    help="Only writes after this one.  [default: the last one the cluster has, if known here]",
)
def export(*, directory: Path, after: int | None) -> None:
    """Print the writes of a stopped node.

    Those it wrote itself, from its data directory DIRECTORY, as JSON lines. For a node that was
    forgotten, or a directory that was set aside (DIR/aside-N): what the others do not have can
    be looked through and written again. The node must not be running. Counters show the totals
    of their slot after the operation.

    \b
    Examples:
      kvnode export ./kvnode-data > lost.jsonl
      kvnode export ./kvnode-data/aside-1 --after 1200
    """
    from kvnode.node.exporting import ExportError, OwnWrites

    try:
        found = OwnWrites(directory, after)
    except ExportError as error:
        raise click.ClickException(str(error)) from error
    count = 0
    for write in found.writes():
        line: dict[str, object] = {
            "dot": write.dot,
            "time_ms": write.time_ms,
            "type": write.type,
            "key": bytes_object(write.key),
            **write.counter,
        }
        if write.deleted:
            line["deleted"] = True
        elif write.value is not None:
            line["value"] = bytes_object(write.value)
            if write.expires_ms:
                line["expires_ms"] = write.expires_ms
        write_line(json.dumps(line))
        count += 1
    for problem in found.problems:
        complain(problem)
    sys.stderr.write(f"{count} operations of {found.origin:016x} after {found.after}\n")
