"""Tables, and what becomes of them where a terminal is too narrow.

Whoever reads a dot, an address or a time wants to copy it, and a state has to be found by a look:
their columns are never broken. Keys and values may be anywhere, sentences between words. If that
does not make enough room, every row becomes a block of lines; what is too long even there is left
to the terminal, which gives it back in one piece.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from typing import Final, Literal

from kvnode.cli.output import stdout_is_terminal, write_line

RIGHT: Final = frozenset({"#", "seq", "added", "taken", "deleted added", "deleted taken"})
"""Columns that are aligned to the right."""

FOLDED: Final = frozenset({"key", "value", "lost value"})
"""Columns that may be broken anywhere, but not narrower than ``FOLDED_MIN``."""

FOLDED_MIN: Final = 16

WRAPPED: Final = frozenset(
    {"behind", "detail", "only here", "only there", "problem", "reason", "waits for"}
)
"""Columns that may be broken between words."""

GAP: Final = 3
"""Characters between two columns."""

EDGES: Final = 2
"""Characters before the first column and behind the last one."""

NO_TERMINAL_COLUMNS: Final = 8192
"""Width of tables that no terminal shows: nothing is broken."""


def write_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on standard output."""
    write_line(table_text(columns, rows, terminal=stdout_is_terminal()))


def table_text(columns: Sequence[str], rows: Sequence[Sequence[str]], *, terminal: bool) -> str:
    """A table without the columns in which no row has anything; elsewhere a row is one line.

    On a terminal it fits the width. Two columns without titles are names and what they stand for.
    """
    width = shutil.get_terminal_size().columns if terminal else NO_TERMINAL_COLUMNS
    if not any(columns):
        return block_text([(name, text) for name, text in rows], width)
    shown = [
        number
        for number, column in enumerate(columns)
        if column in FOLDED or any(row[number] for row in rows)
    ]
    columns = [columns[number] for number in shown]
    rows = [[row[number] for number in shown] for row in rows]
    widths = fitting(columns, rows, width)
    if widths is None:
        blocks = [
            [pair for pair in zip(columns, row, strict=True) if pair[1] or pair[0] in FOLDED]
            for row in rows
        ]
        whole = set(columns) - FOLDED - WRAPPED
        return "\n\n".join(block_text(pairs, width, whole) for pairs in blocks)
    return drawn(columns, rows, widths, terminal=terminal)


def fitting(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[int] | None:
    """The width of each column, the widest ones narrowed as far as they may be; None: too wide."""
    from rich.cells import cell_len

    widths, narrowest = [], []
    for column, *cells in zip(columns, *rows, strict=True):
        wanted = max(map(cell_len, (column, *cells)))
        words = (word for cell in (column, *cells) for word in cell.split())
        if column in FOLDED:
            least = max(min(wanted, FOLDED_MIN), cell_len(column))
        elif column in WRAPPED:
            least = max(map(cell_len, words))
        else:
            least = wanted
        widths.append(wanted)
        narrowest.append(least)
    room = width - GAP * (len(columns) - 1) - EDGES
    if sum(narrowest) > room:
        return None
    while sum(widths) > room:
        at = max(
            (at for at in range(len(widths)) if widths[at] > narrowest[at]), key=widths.__getitem__
        )
        widths[at] -= 1
    return widths


def drawn(
    columns: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int], *, terminal: bool
) -> str:
    """The table of these widths."""
    from io import StringIO

    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column, width in zip(columns, widths, strict=True):
        justify: Literal["left", "right"] = "right" if column in RIGHT else "left"
        table.add_column(Text(column), justify=justify, overflow="fold", width=width)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    text = StringIO()
    wide = sum(widths) + GAP * (len(widths) - 1) + EDGES
    Console(file=text, width=wide, force_terminal=terminal, highlight=False).print(table)
    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    return "\n".join(line for line in lines if line)


def block_text(pairs: Sequence[tuple[str, str]], width: int, whole: Collection[str] = ()) -> str:
    """A line for each pair, more if it is long and not one of the ``whole``."""
    from textwrap import wrap

    indent = max(len(name) for name, _ in pairs) + 1 + GAP
    lines = []
    for name, text in pairs:
        room = len(text) if name in whole else width - indent
        folded = wrap(text, max(room, 1), break_long_words=name in FOLDED, break_on_hyphens=False)
        for number, line in enumerate(folded or [""]):
            lines.append((f" {'' if number else name}".ljust(indent) + line).rstrip())
    return "\n".join(lines)
