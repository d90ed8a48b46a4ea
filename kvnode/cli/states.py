"""The state of a key as rows for people and as JSON for programs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import click

from kvnode.cli.options import encode_token
from kvnode.cli.output import bytes_object, cut
from kvnode.cli.tables import table_text
from kvnode.client.values import DataType, KeyState, StoredValue

SIBLING_COLUMNS = ("#", "value", "type", "node", "time", "dot")
EXPIRES = "expires"
"""Title of a column that tables have when a value in them expires."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One visible value of a key."""

    type: DataType
    value: int | bytes
    stored: StoredValue | None
    """Its provenance; a counter has none of its own, see ``kvnode inspect``."""


def entries_of(state: KeyState) -> tuple[Entry, ...]:
    """All visible values: counters, register, siblings from the oldest to the latest."""
    entries: list[Entry] = []
    for kind, total in (
        (DataType.G_COUNTER, state.g_counter),
        (DataType.PN_COUNTER, state.pn_counter),
    ):
        if total is not None:
            entries.append(Entry(kind, total, None))
    if state.register is not None:
        entries.append(Entry(DataType.LWW_REGISTER, state.register.value, state.register))
    entries += [Entry(DataType.SIBLINGS, sibling.value, sibling) for sibling in state.siblings]
    return tuple(entries)


def type_name(kind: DataType) -> str:
    """The type as options, tables and JSON spell it."""
    return kind.name.lower()


def value_cell(value: int | bytes) -> str:
    """A value in a table."""
    return str(value) if isinstance(value, int) else cut(value)


def state_object(state: KeyState) -> dict[str, object]:
    """A state for JSON."""
    return {
        "key": bytes_object(state.key),
        "context": encode_token(state.context),
        "conflict": state.in_conflict,
        "values": [entry_object(entry) for entry in entries_of(state)],
    }


def entry_object(entry: Entry) -> dict[str, object]:
    """One value for JSON: counters are numbers, the others ``bytes_object`` with provenance."""
    if isinstance(entry.value, int):
        return {"type": type_name(entry.type), "value": entry.value}
    found: dict[str, object] = {
        "type": type_name(entry.type),
        "value": bytes_object(entry.value),
    }
    if entry.stored is not None:
        found["node"] = entry.stored.node
        found["time_ms"] = entry.stored.time_ms
        found["dot"] = str(entry.stored.dot)
        if entry.stored.expires_ms is not None:
            found["expires_ms"] = entry.stored.expires_ms
    return found


def sibling_table(state: KeyState, *, terminal: bool) -> str:
    """All values of a key, numbered from 1, with who wrote them and when they expire, if any do."""
    entries = entries_of(state)
    rows = []
    for number, entry in enumerate(entries, start=1):
        origin = ("", "", "") if entry.stored is None else provenance(entry.stored)
        rows.append((str(number), value_cell(entry.value), type_name(entry.type), *origin))
    return with_expiry(
        SIBLING_COLUMNS,
        rows,
        [entry.stored.expires_ms or 0 if entry.stored else 0 for entry in entries],
        terminal=terminal,
    )


def with_expiry(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    expires_ms: Sequence[int],
    *,
    terminal: bool,
) -> str:
    """A table, with a column for when its rows expire (0: never) if one of them does."""
    if any(expires_ms):
        columns = (*columns, EXPIRES)
        times = [local_time(time) if time else "" for time in expires_ms]
        rows = [(*row, time) for row, time in zip(rows, times, strict=True)]
    return table_text(columns, rows, terminal=terminal)


def time_left_s(expires_ms: int, what: str) -> float:
    """The seconds until then, for a value that is written again; ClickException if it is past."""
    left_ms = expires_ms - time.time_ns() // 1_000_000
    if left_ms <= 0:
        raise click.ClickException(f"{what} has expired at {local_time(expires_ms)}")
    return left_ms / 1000


def provenance(stored: StoredValue) -> tuple[str, str, str]:
    """Who wrote a value, when, and with which write."""
    return (stored.node or "(unknown)", local_time(stored.time_ms), str(stored.dot))


def local_time(time_ms: int) -> str:
    """A hybrid logical clock's time in the local time zone; a far one stays a number."""
    try:
        moment = datetime.fromtimestamp(time_ms / 1000, tz=UTC).astimezone()
    except (OverflowError, ValueError, OSError):
        return f"{time_ms} ms"
    return moment.isoformat(sep=" ", timespec="milliseconds")
