"""``get``, ``scan`` and ``conflicts``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

import click

from kvnode.cli.levels import consistency_option, session_option
from kvnode.cli.options import (
    KEY,
    Count,
    Settings,
    connection_options,
    encode_token,
    key_base64_option,
    pass_settings,
    prefix_of_keys,
)
from kvnode.cli.output import (
    cut,
    escaped,
    is_presentable,
    note,
    stderr_is_terminal,
    stdout_is_terminal,
    write,
    write_json,
    write_line,
)
from kvnode.cli.tables import write_table

if TYPE_CHECKING:
    from kvnode.client.values import KeyState

TABLE_KEYS: Final = 1_000
"""Keys of one table on a terminal; a longer listing is several tables."""


@click.command()
@click.argument("key", type=KEY)
@click.option("--raw", is_flag=True, help="The exact bytes, on a terminal too.")
@click.option(
    "--show-context",
    is_flag=True,
    help="Print the causal context to standard error, for 'put --context'.",
)
@consistency_option
@session_option
@key_base64_option
@connection_options()
@pass_settings
def get(settings: Settings, *, key: bytes, raw: bool, show_context: bool) -> None:
    """Print the value of KEY.

    A pipe or file gets the exact bytes of the value and nothing else. A terminal gets a line
    feed after it, and unprintable bytes escaped, and is told when the value expires, if it does.
    A counter is printed as a number and a line feed.

    If the key is in conflict nothing is printed to standard output, all values are shown on
    standard error, and the exit code is 4. With --json the values go to standard output in
    either case.

    \b
    Examples:
      kvnode get user:1
      kvnode get photo > photo.jpg
      kvnode get user:1 --show-context
      kvnode get user:1 --json | jq -r '.values[0].value.utf8'
      kvnode get order:3 --consistency quorum
    """
    from kvnode.client.values import Conflict, ConflictError
    from kvnode.errors import KeyNotFound

    with settings.client() as client:
        try:
            state = client.get(key)
        except KeyNotFound as error:
            if show_context:
                note(f"context {encode_token(error.context)}")
            raise
    if show_context:
        note(f"context {encode_token(state.context)}")
    if settings.json:
        from kvnode.cli.states import state_object

        write_json(state_object(state))
    if isinstance(state, Conflict):
        if not settings.json:
            from kvnode.cli.states import sibling_table

            note(sibling_table(state, terminal=stderr_is_terminal()))
        raise ConflictError(state)
    if not settings.json:
        write_value(state.value, raw=raw)
        if stdout_is_terminal():
            note_expiry(state)


def note_expiry(state: KeyState) -> None:
    """When the one value expires, if it does."""
    from kvnode.cli.states import local_time

    stored = state.register or next(iter(state.siblings), None)
    if stored is not None and stored.expires_ms is not None:
        note(f"(expires at {local_time(stored.expires_ms)})")


def write_value(value: int | bytes, *, raw: bool) -> None:
    """The value alone: exact for programs, harmless for terminals."""
    if isinstance(value, int):
        write_line(str(value))
    elif raw or not stdout_is_terminal():
        write(value)
    elif is_presentable(value):
        write(value + b"\n")
    else:
        write_line(escaped(value))
        note(f"({len(value)} bytes, shown escaped; --raw writes them as they are)")


@click.command()
@prefix_of_keys
@click.option("--start", type=KEY, default=b"", metavar="KEY", help="Only keys >= KEY.")
@click.option("--end", type=KEY, default=b"", metavar="KEY", help="Only keys < KEY.")
@click.option("--limit", type=Count(), metavar="N", help="At most N keys.")
@click.option("--keys-only", is_flag=True, help="Keys alone, one a line.")
@consistency_option
@session_option
@key_base64_option
@connection_options()
@pass_settings
def scan(
    settings: Settings,
    *,
    prefix: bytes,
    start: bytes,
    end: bytes,
    limit: int | None,
    keys_only: bool,
) -> None:
    """List the keys that begin with PREFIX.

    In key order, with their values.

    A terminal gets tables. A pipe or file gets one line for each value, KEY, TYPE and VALUE
    separated by tabs and escaped as 'kvnode --help' says. --json gives one JSON object a line.

    \b
    Examples:
      kvnode scan
      kvnode scan user: --limit 20
      kvnode scan --start a --end n --keys-only
      kvnode scan user: --json > users.jsonl
    """
    with settings.client() as client:
        states = client.scan(prefix, start=start, end=end, limit=limit, page_size=TABLE_KEYS)
        write_states(settings, states, keys_only=keys_only, nothing="No keys.")


@click.command()
@prefix_of_keys
@click.option("--limit", type=Count(), metavar="N", help="At most N keys.")
@click.option("--keys-only", is_flag=True, help="Keys alone, one a line.")
@click.option(
    "--resolved",
    is_flag=True,
    help="The conflicts of registers instead, which the later write has won.",
)
@consistency_option
@session_option
@key_base64_option
@connection_options()
@pass_settings
def conflicts(
    settings: Settings, *, prefix: bytes, limit: int | None, keys_only: bool, resolved: bool
) -> None:
    """List the keys that are in conflict.

    Those that begin with PREFIX, with all their values. The output has the form of 'kvnode
    scan'. 'kvnode siblings KEY' shows who wrote each value.

    With --resolved it lists the values that a last-writer-wins register has dropped although
    they were concurrent with the winner, newest first: who wrote them and when, and
    whether they were lost to a value or a delete. 'kvnode undo KEY' puts one back. A node
    remembers the last 10,000 of them (64 MiB).

    \b
    Examples:
      kvnode conflicts
      kvnode conflicts user: --keys-only
      kvnode conflicts --resolved
      kvnode conflicts position: --resolved --json
    """
    if resolved:
        from kvnode.cli.losers import write_lost

        write_lost(settings, prefix, limit, keys_only=keys_only)
        return
    with settings.client() as client:
        states = client.conflicts(prefix, limit=limit, page_size=TABLE_KEYS)
        write_states(settings, states, keys_only=keys_only, nothing="No conflicts.")


def write_states(
    settings: Settings, states: Iterator[KeyState], *, keys_only: bool, nothing: str
) -> None:
    """A listing, written as it arrives; ``nothing`` on a terminal if it is empty."""
    from kvnode.cli.states import state_object

    if settings.json:
        for state in states:
            found = state_object(state)
            write_json({"key": found["key"]} if keys_only else found)
    elif keys_only:
        for state in states:
            write_line(escaped(state.key))
    elif stdout_is_terminal():
        first = next(states, None)
        if first is None:
            write_line(nothing)
            return
        states = chain((first,), states)
        while page := list(islice(states, TABLE_KEYS)):
            write_table(("key", "type", "value"), list(table_rows(page)))
    else:
        for state in states:
            for line in listing_lines(state):
                write_line(line)


def table_rows(states: Iterable[KeyState]) -> Iterator[tuple[str, str, str]]:
    """A row for each value, the key in the first one only."""
    from kvnode.cli.states import entries_of, type_name, value_cell

    for state in states:
        key = escaped(state.key)
        for entry in entries_of(state):
            yield key, type_name(entry.type), value_cell(entry.value)
            key = ""


def listing_lines(state: KeyState) -> Iterator[str]:
    """A line for each value: key, type and value, separated by tabs; on a terminal not for ever."""
    from kvnode.cli.states import entries_of, type_name

    shown = cut if stdout_is_terminal() else escaped
    for entry in entries_of(state):
        value = str(entry.value) if isinstance(entry.value, int) else shown(entry.value)
        yield f"{escaped(state.key)}\t{type_name(entry.type)}\t{value}"
