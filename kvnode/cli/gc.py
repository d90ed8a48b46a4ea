"""``gc status``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kvnode.cli.admin import duration
from kvnode.cli.options import Settings, connection_options, pass_settings
from kvnode.cli.output import write_json, write_line
from kvnode.cli.tables import write_table

if TYPE_CHECKING:
    from kvnode.v1 import gc_pb2


@click.group()
@connection_options()
def gc() -> None:
    """Show what deletes have left behind and what that waits for.

    What a delete leaves (a register's tombstone, a counter's spent slot) goes when every member
    has the delete, and nothing written without it can come any more. No timer decides that. A
    value that has expired is shown no more at once; what is kept of it goes likewise.

    \b
    Examples:
      kvnode gc status
      kvnode gc status --json | jq .rows_waiting
    """


@gc.command()
@connection_options()
@pass_settings
def status(settings: Settings) -> None:
    """Show what waits for being collected, and for which member.

    \b
    Examples:
      kvnode gc status
      kvnode -e 127.0.0.1:7081 gc status --json | jq '.members[0]'
    """
    with settings.client() as client:
        found = client.admin.collection_status()
    if settings.json:
        from kvnode.cli.messages import message_object

        write_json(message_object(found))
        return
    write_line(
        f"{found.rows_waiting} deletes and expired values wait for being collected at {found.name}"
    )
    if found.to_expire:
        write_line(f"{found.to_expire} values are to expire")
    write_line(f"{found.entries_collected} entries collected since start")
    if found.held_up:
        write_line(f"nothing is collected, and the log is cut only by its cap: {found.held_up}")
    for member in found.members:
        if holds_up(member):
            write_line(f"waits for {sentence(member)}")
    for title, counted, rows in (
        ("Waiting", "rows", [(row, row.rows) for row in found.waiting]),
        ("Stable", "seq", [(row, row.seq) for row in found.stable]),
    ):
        if rows:
            write_line(f"\n{title}")
            write_table(
                ("node", "origin", counted),
                [(row.node or "(unknown)", f"{row.origin:016x}", str(n)) for row, n in rows],
            )


def holds_up(member: gc_pb2.MemberReport) -> bool:
    """Whether something waits for its next report."""
    return not member.reported or member.covered_ops < member.own_ops


def sentence(member: gc_pb2.MemberReport) -> str:
    """What is missing of it."""
    name = member.node or f"{member.origin:016x}"
    silent = f", silent for {duration(member.silent_ms)}" if member.silent_ms else ""
    if not member.origin:
        return f"{name}: never met since start"
    if not member.reported:
        return f"{name}: no report yet{silent}"
    covers = f"{name}: last report covers {member.covered_ops} of {member.own_ops} operations"
    if not member.usable:
        covers += ", and what it wrote before a newer one is not all here yet"
    return covers + silent
