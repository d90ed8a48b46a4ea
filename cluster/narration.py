"""What the demo says while it runs: plain sentences, and on a terminal a progress bar."""

from __future__ import annotations

import sys
from contextlib import suppress
from time import monotonic
from typing import Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

PLAIN_EVERY_S: Final = 5.0
"""Without a terminal: one line of progress that often."""

REFRESH_HZ: Final = 5
"""The bar takes its time from the nodes; five times a second looks alive."""


class Narration:
    """Sentences and progress on standard output. Use as a context manager."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        self._bar: Progress | None = None
        self._started_s = monotonic()
        self._next_line_s = 0.0

    def __enter__(self) -> Narration:
        return self

    def __exit__(self, *_: object) -> None:
        # After SIGHUP the terminal is gone.
        with suppress(OSError):
            self.end_progress()

    def say(self, text: str) -> None:
        """One sentence, above the bar if there is one."""
        self._console.print(text, markup=False)

    def complain(self, text: str) -> None:
        """One sentence on standard error, beside the error that it belongs to."""
        self.end_progress()
        sys.stderr.write(f"{text}\n")

    def table(self, table: Table) -> None:
        """A table, above the bar if there is one."""
        self._console.print(table)

    def begin_progress(self, flights: int) -> None:
        """Show a bar for this many flights; without a terminal, lines."""
        self._started_s = monotonic()
        self._next_line_s = self._started_s + PLAIN_EVERY_S
        if not self._console.is_terminal:
            return
        self._bar = Progress(
            TextColumn("flights"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TextColumn("{task.fields[operations]:>9,} operations"),
            TextColumn("{task.fields[rate]:>6,}/s"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            refresh_per_second=REFRESH_HZ,
        )
        self._bar.add_task("flights", total=flights, operations=0, rate=0)
        self._bar.start()

    def progress(self, flights: int, flights_total: int, operations: int) -> None:
        """So many flights and operations are acknowledged."""
        now_s = monotonic()
        rate = round(operations / max(now_s - self._started_s, 1e-3))
        if self._bar is not None:
            task = self._bar.task_ids[0]
            self._bar.update(task, completed=flights, operations=operations, rate=rate)
        elif now_s >= self._next_line_s:
            self._next_line_s = now_s + PLAIN_EVERY_S
            share = flights / flights_total
            self.say(f"  {share:4.0%}  {operations:>9,} operations  {rate:>6,}/s")

    def end_progress(self) -> None:
        """Take the bar off the screen's last line; what it showed stays."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
