"""``quarantine``: blocks that a node got and cannot take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from kvnode.cli.options import Count, Settings, connection_options, pass_settings
from kvnode.cli.output import (
    ask,
    bytes_object,
    escaped,
    note,
    stdout_is_terminal,
    write,
    write_json,
    write_line,
)
from kvnode.cli.tables import write_table

if TYPE_CHECKING:
    from kvnode.v1 import quarantine_pb2

COLUMNS: Final = ("id", "block", "by", "from", "last", "times", "bytes", "reason")

number_argument = click.argument("number", type=Count(), metavar="ID")


@click.group()
@connection_options()
def quarantine() -> None:
    """Show and settle blocks that a node cannot take.

    A block that cannot be decoded, fails its checksum or breaks a rule is kept here with the
    reason. Later writes of the node that wrote it wait; all others go on. A good copy from any
    peer settles it by itself. If none comes: a newer version of kvnode may read it ('retry'), or
    the writer's disk or memory is damaged. Ids mean something on one node only.

    \b
    Examples:
      kvnode quarantine ls
      kvnode quarantine show 3
      kvnode quarantine retry 3
      kvnode quarantine drop 3
    """


@quarantine.command("ls")
@connection_options()
@pass_settings
def list_records(settings: Settings) -> None:
    """List what is in quarantine.

    With several endpoints it is the first node that answers. A pipe gets one line for each
    record, its cells separated by tabs.

    \b
    Examples:
      kvnode quarantine ls
      kvnode quarantine ls --json | jq .reason
    """
    from kvnode.client.records import quarantine_records

    with settings.client() as client:
        reply = quarantine_records(client)
    if settings.json:
        for record in reply.records:
            write_json(record_object(record))
    elif stdout_is_terminal():
        rows = [record_row(record) for record in reply.records]
        if rows:
            write_table(COLUMNS, rows)
        else:
            write_line("Nothing in quarantine.")
    else:
        for record in reply.records:
            write_line("\t".join(record_row(record)))
    if reply.pushed_out:
        note(f"{reply.pushed_out} more had to go for newer ones since the node started")


@quarantine.command()
@number_argument
@click.option("--raw", is_flag=True, help="The block's exact bytes and nothing else.")
@connection_options()
@pass_settings
def show(settings: Settings, *, number: int, raw: bool) -> None:
    """Show one record.

    \b
    Examples:
      kvnode quarantine show 3
      kvnode quarantine show 3 --raw > block
    """
    from kvnode.client.records import quarantine_record

    with settings.client() as client:
        record = quarantine_record(client, number)
    if raw:
        write(record.raw)
    elif settings.json:
        write_json({**record_object(record), "raw": bytes_object(record.raw)})
    else:
        rows = list(zip(COLUMNS, record_row(record), strict=True))
        rows.insert(4, ("first", local_time(record.first_ms)))
        rows.append(("settled by", settled_by(record)))
        write_table(("", ""), rows)


@quarantine.command()
@number_argument
@connection_options()
@pass_settings
def retry(settings: Settings, *, number: int) -> None:
    """Try to take the block now.

    For example after the node was upgraded, or its disk repaired. The exit code is 1 if it
    still cannot be taken; the record stays then.

    \b
    Examples:
      kvnode quarantine retry 3
    """
    from kvnode.client.records import retry_quarantined

    with settings.client() as client:
        reply = retry_quarantined(client, number)
    if settings.json:
        write_json({"id": number, "settled": reply.settled, "reason": reply.reason})
    if not reply.settled:
        raise click.ClickException(f"record {number} stays in quarantine: {reply.reason}")
    if not settings.json:
        write_line(f"settled record {number}")


@quarantine.command()
@number_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
@connection_options()
@pass_settings
def drop(settings: Settings, *, number: int, yes: bool) -> None:
    """Forget a record.

    This heals nothing: the later writes of the node that wrote the block stay away from this
    node until a good copy arrives, and a bad one that comes again makes a new record. Only for
    bytes that belong to no block is that the end of it.

    \b
    Examples:
      kvnode quarantine drop 3
      kvnode quarantine drop 3 --yes
    """
    from kvnode.client.records import drop_quarantined, quarantine_record

    with settings.client() as client:
        if not yes:
            record = quarantine_record(client, number)
            note(f"record {number}: {block_text(record)}: {escaped(record.reason.encode())}")
            note(meaning(record))
            ask("Drop it?")
        drop_quarantined(client, number)
    if settings.json:
        write_json({"id": number, "dropped": True})
    else:
        write_line(f"dropped record {number}")


def meaning(record: quarantine_pb2.QuarantineRecord) -> str:
    """What dropping it means."""
    if record.source != "received":
        return "The block stays damaged in this node's log; peers still cannot get it from here."
    writer = record.node or (f"{record.origin:016x}" if record.origin else "whoever wrote it")
    return (
        f"Later writes of {writer} stay away from this node until a good copy arrives from a peer."
    )


def settled_by(record: quarantine_pb2.QuarantineRecord) -> str:
    """What has to be here for the record to go by itself."""
    awaited = ", ".join(f"{dot.origin:016x}:{dot.seq}" for dot in record.awaits.entries)
    return f"a good copy (when {awaited} is here)" if awaited else "'retry' or 'drop' only"


def block_text(record: quarantine_pb2.QuarantineRecord) -> str:
    """Which block it is, as far as that can be read."""
    if not record.origin:
        return "(unreadable)"
    return f"{record.origin:016x}:{record.first_seq}-{record.last_seq}"


def record_row(record: quarantine_pb2.QuarantineRecord) -> tuple[str, ...]:
    """The cells of ``COLUMNS``."""
    return (
        str(record.id),
        block_text(record),
        record.node or "(unknown)",
        record.peer or ("own log" if record.source == "own log" else "(unknown)"),
        local_time(record.last_ms),
        str(record.times),
        str(record.raw_bytes),
        escaped(record.reason.encode()),
    )


def local_time(time_ms: int) -> str:
    """A time in the local time zone."""
    from kvnode.cli.states import local_time as shown

    return shown(time_ms)


def record_object(record: quarantine_pb2.QuarantineRecord) -> dict[str, object]:
    """A record for JSON, without its bytes."""
    from kvnode.cli.messages import message_object

    found = message_object(record)
    assert isinstance(found, dict)
    del found["raw"]
    return found
