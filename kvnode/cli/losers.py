"""``conflicts --resolved`` and ``undo``: what last-writer-wins dropped, seen and put back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

import click

from kvnode.cli.levels import durability_option
from kvnode.cli.options import (
    KEY,
    Count,
    Settings,
    connection_options,
    key_base64_option,
    pass_settings,
)
from kvnode.cli.output import (
    ask,
    bytes_object,
    cut,
    escaped,
    note,
    stdout_is_terminal,
    write_json,
    write_line,
)
from kvnode.cli.writing import write_receipt

if TYPE_CHECKING:
    from kvnode.client.client import Client
    from kvnode.v1 import admin_pb2, journal_pb2, types_pb2

COLUMNS: Final = ("id", "key", "lost value", "by", "time", "lost to a", "by", "time")
TABLE_ROWS: Final = 1_000
"""Rows of one table on a terminal; a longer listing is several tables."""


@click.command()
@click.argument("key", type=KEY)
@click.option(
    "--id",
    "number",
    type=Count(),
    metavar="N",
    help="The value of this id of 'kvnode conflicts --resolved'; needs a single endpoint."
    "  [default: the one dropped last]",
)
@click.option(
    "--over-newer",
    is_flag=True,
    help="Also if something else than the winner of then is there by now.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@durability_option
@key_base64_option
@connection_options()
@pass_settings
def undo(
    settings: Settings, *, key: bytes, number: int | None, over_newer: bool, yes: bool
) -> None:
    """Put back a value that KEY lost.

    When two regions write one register at the same time the later write wins and the other
    value is dropped; 'kvnode conflicts --resolved' lists it. This writes it again, as a new write
    that knows what is there now. The value that is there now is not kept. A value that was to
    expire does so when it would have; one that has expired is not put back.

    It shows what it is about to do and asks. If the winner has been overwritten since, also by
    the lost value itself, it does nothing unless --over-newer is given.

    \b
    Examples:
      kvnode undo position:N123
      kvnode undo position:N123 --id 17 --yes
      kvnode undo position:N123 --durability quorum
    """
    with settings.client() as client:
        row = chosen(client, key, number)
        present = register_of(client, key)
        ttl_left(row)
        before = present_text(present)
        after = stored_text(row.lost, cut(row.lost.value))
        if not over_newer and is_there(row, present):
            raise click.ClickException(f"key {escaped(key)} holds {before}: that is there already")
        if not (over_newer or is_winner(row, present)):
            raise click.ClickException(
                f"key {escaped(key)} holds {before}, which is not what won over {after};"
                " to replace it all the same, add --over-newer"
            )
        note(f"{escaped(key)}: {before} -> {after}")
        if not yes:
            ask("Put the lost value back?")
            if register_of(client, key) != present:
                raise click.ClickException(
                    f"key {escaped(key)} was written meanwhile; nothing was changed"
                )
        context = present.context if present else None
        receipt = client.put(key, row.lost.value, lww=True, context=context, ttl=ttl_left(row))
    write_receipt(settings, key, receipt, "put back")


def chosen(client: Client, key: bytes, number: int | None) -> journal_pb2.LostValue:
    """The row of this number, or the key's newest."""
    from kvnode.client.records import lost_value, lost_values

    if number is None:
        row = next((row for row in lost_values(client, key) if row.key == key), None)
        if row is None:
            raise click.ClickException(
                f"this node remembers no lost value of key {escaped(key)}; another one may:"
                " see 'kvnode conflicts --resolved'"
            )
        return row
    row = lost_value(client, number)
    if row.key != key:
        raise click.ClickException(f"id {number} is a lost value of key {escaped(row.key)}")
    return row


def ttl_left(row: journal_pb2.LostValue) -> float | None:
    """What is left of the value's time, s; None if it does not expire."""
    from kvnode.cli.states import time_left_s

    expires_ms = row.lost.expires_ms
    return time_left_s(expires_ms, "the lost value") if expires_ms else None


def register_of(client: Client, key: bytes) -> admin_pb2.Cell | None:
    """The key's register, deleted or not; None if there is none.

    What else the key may hold is the node's affair: it refuses a register beside other types.
    """
    from kvnode.errors import KeyNotFound

    try:
        cells = client.admin.inspect(key).cells
    except KeyNotFound:
        return None
    return next((cell for cell in cells if cell.HasField("register")), None)


def is_winner(row: journal_pb2.LostValue, present: admin_pb2.Cell | None) -> bool:
    """Whether what is there is what won; the tombstone of a delete may have been collected."""
    if present is None:
        return row.winner_deleted
    return present.register.dot == row.winner.dot


def is_there(row: journal_pb2.LostValue, present: admin_pb2.Cell | None) -> bool:
    """Whether the key holds the lost value, put back before or written anew."""
    if present is None or present.deleted:
        return False
    return present.visible and present.register.value == row.lost.value


def present_text(cell: admin_pb2.Cell | None) -> str:
    """What is there now."""
    if cell is None:
        return "(nothing)"
    return stored_text(cell.register, "(deleted)" if cell.deleted else cut(cell.register.value))


def stored_text(item: types_pb2.StoredValue, value: str) -> str:
    """A value with who wrote it and when."""
    from kvnode.cli.states import local_time, provenance
    from kvnode.client.states import stored_value_of

    node, time, dot = provenance(stored_value_of(item))
    expires = f", expires at {local_time(item.expires_ms)}" if item.expires_ms else ""
    return f"{value} (by {node} at {time}, write {dot}{expires})"


def write_lost(settings: Settings, prefix: bytes, limit: int | None, *, keys_only: bool) -> None:
    """The listing of ``conflicts --resolved``, written as it arrives."""
    from kvnode.cli.messages import message_object
    from kvnode.cli.states import with_expiry
    from kvnode.client.records import lost_values

    with settings.client() as client:
        rows: Iterator[journal_pb2.LostValue] = islice(lost_values(client, prefix), limit)
        if keys_only:
            write_keys(settings, (row.key for row in rows))
        elif settings.json:
            for row in rows:
                write_json(message_object(row))
        elif stdout_is_terminal():
            first = next(rows, None)
            if first is None:
                write_line("No lost values.")
                return
            rows = chain((first,), rows)
            while page := list(islice(rows, TABLE_ROWS)):
                expires = [row.lost.expires_ms for row in page]
                write_line(with_expiry(COLUMNS, list(table_rows(page)), expires, terminal=True))
        else:
            for cells in table_rows(rows):
                write_line("\t".join(cells))


def table_rows(rows: Iterable[journal_pb2.LostValue]) -> Iterator[tuple[str, ...]]:
    """The rows of ``COLUMNS``."""
    from kvnode.cli.states import local_time

    for row in rows:
        yield (
            str(row.id),
            escaped(row.key),
            cut(row.lost.value),
            row.lost.node or "(unknown)",
            local_time(row.lost.time_ms),
            "delete" if row.winner_deleted else "value",
            row.winner.node or "(unknown)",
            local_time(row.winner.time_ms),
        )


def write_keys(settings: Settings, keys: Iterable[bytes]) -> None:
    """Each key once."""
    for key in dict.fromkeys(keys):
        if settings.json:
            write_json({"key": bytes_object(key)})
        else:
            write_line(escaped(key))
