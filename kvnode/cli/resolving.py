"""``siblings`` and ``resolve``: a key's conflict, seen and ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kvnode.cli.levels import (
    consistency_option,
    durability_option,
    session_option,
    stored_text,
)
from kvnode.cli.options import (
    KEY,
    VALUE,
    Settings,
    connection_options,
    encode_token,
    file_option,
    key_base64_option,
    pass_settings,
    value_of,
)
from kvnode.cli.output import (
    escaped,
    note,
    stderr_is_terminal,
    stdout_is_terminal,
    write_json,
    write_line,
)

if TYPE_CHECKING:
    from kvnode.cli.states import Entry
    from kvnode.client.operations import Operation
    from kvnode.client.values import KeyState


@click.command()
@click.argument("key", type=KEY)
@consistency_option
@session_option
@key_base64_option
@connection_options()
@pass_settings
def siblings(settings: Settings, *, key: bytes) -> None:
    """Show every value of KEY and who wrote it.

    With where and when, when it expires, and the key's causal context. The numbers are those of
    'kvnode resolve KEY --keep N'. A dot is the identity of one write.

    \b
    Examples:
      kvnode siblings note:N123
      kvnode siblings note:N123 --json | jq -r '.values[].node'
    """
    with settings.client() as client:
        state = client.get(key)
    from kvnode.cli.states import sibling_table, state_object

    if settings.json:
        write_json(state_object(state))
        return
    text = sibling_table(state, terminal=stdout_is_terminal())
    write_line(f"{text}\ncontext {encode_token(state.context)}")


@click.command()
@click.argument("key", type=KEY)
@click.option(
    "--keep",
    metavar="N|DOT",
    help="Keep the value of this number or, safe against renumbering, of this dot.",
)
@click.option(
    "--value",
    type=VALUE,
    metavar="VALUE",
    help="Store this merged value; - is standard input.",
)
@file_option
@durability_option
@session_option
@key_base64_option
@connection_options()
@pass_settings
def resolve(
    settings: Settings, *, key: bytes, keep: str | None, value: bytes | None, path: str | None
) -> None:
    """End the conflict of KEY.

    Keep one of its values, or store a merged one. Exactly the values that this command reads
    first are replaced. One that is written elsewhere meanwhile survives: the key is in conflict
    still, which is said, and the exit code is 4. Numbers can shift when a value arrives;
    scripts should --keep a DOT of 'kvnode siblings'. A value that is kept expires when it would
    have; a merged one does not.

    \b
    Examples:
      kvnode resolve note:N123 --keep 2
      kvnode resolve note:N123 --keep 6f1c0a4be2d39758:1041
      kvnode resolve note:N123 --value 'crew change at EWR and JFK'
      merge-notes | kvnode resolve note:N123 --file -
    """
    from kvnode.errors import KvnodeError

    if keep is not None and (value is not None or path is not None):
        raise click.UsageError("Give one of --keep, --value and --file")
    merged = None
    if keep is None:
        merged = value_of(
            value, path, "--keep N, --value VALUE, or --file FILE (- is standard input)"
        )
    with settings.client() as client:
        state = client.get(key)
        if keep is not None:
            operations = keeping(state, chosen(state, keep))
        else:
            assert merged is not None
            operations = merging(state, merged)
        stored = stored_text(client.write(operations).stored_by) if operations else ""
        if stored:
            note(f"({stored})")
        try:
            after = client.get(key)
        except KvnodeError as error:
            note(f"resolved, but the key could not be read back: {error}")
            return
    said = f"resolved {escaped(key)}"
    if not state.in_conflict:
        done = "its value is replaced" if operations else "nothing was changed"
        said = f"{escaped(key)} was not in conflict: {done}"
    tell(settings, after, said)


def tell(settings: Settings, after: KeyState, said: str) -> None:
    """What the key holds now, or for people what was done.

    ConflictError if a value arrived that was not seen.
    """
    from kvnode.cli.states import sibling_table, state_object
    from kvnode.client.values import ConflictError

    if settings.json:
        write_json(state_object(after))
    if after.in_conflict:
        note("what was seen is resolved, but another value was written meanwhile and survives:")
        if not settings.json:
            note(sibling_table(after, terminal=stderr_is_terminal()))
        raise ConflictError(after)
    if not settings.json:
        write_line(said)


def chosen(state: KeyState, keep: str) -> Entry:
    """The value that --keep names."""
    from kvnode.cli.states import entries_of

    entries = entries_of(state)
    for number, entry in enumerate(entries, start=1):
        dot = None if entry.stored is None else str(entry.stored.dot)
        if keep in (str(number), dot):
            return entry
    raise click.UsageError(
        f"--keep {keep}: key {escaped(state.key)} has the values 1 to {len(entries)},"
        " see 'kvnode siblings'"
    )


def keeping(state: KeyState, entry: Entry) -> list[Operation]:
    """One batch that leaves only ``entry`` of what ``state`` shows; none if that is so already."""
    from kvnode.cli.states import time_left_s
    from kvnode.client.operations import Delete, Put
    from kvnode.client.values import DataType

    operations: list[Operation] = [
        Delete(state.key, kind, state.context) for kind in state.types if kind is not entry.type
    ]
    if entry.type is DataType.SIBLINGS and len(state.siblings) > 1:
        assert isinstance(entry.value, bytes)
        ttl = None
        if entry.stored is not None and entry.stored.expires_ms is not None:
            ttl = time_left_s(entry.stored.expires_ms, "the value to keep")
        operations.append(Put(state.key, entry.value, context=state.context, ttl=ttl))
    return operations


def merging(state: KeyState, merged: bytes) -> list[Operation]:
    """One batch that replaces all that ``state`` shows by ``merged``.

    It becomes a sibling, or a register where the key has a register and no siblings.
    """
    from kvnode.client.operations import Delete, Put
    from kvnode.client.values import DataType

    if DataType.SIBLINGS not in state.types and DataType.LWW_REGISTER not in state.types:
        raise click.UsageError(f"key {escaped(state.key)} holds counters only: --keep one of them")
    lww = DataType.SIBLINGS not in state.types
    target = DataType.LWW_REGISTER if lww else DataType.SIBLINGS
    deletes: list[Operation] = [
        Delete(state.key, kind, state.context) for kind in state.types if kind is not target
    ]
    context = None if lww else state.context
    return [*deletes, Put(state.key, merged, lww=lww, context=context)]
