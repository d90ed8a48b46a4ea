"""How far a question is, on stderr: one line that changes on a terminal, else a line each."""

from __future__ import annotations

import shutil
import sys
import time

import click


class Progress:
    """Of one question."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._started = time.monotonic()
        self._is_terminal = sys.stderr.isatty()

    @property
    def seconds(self) -> float:
        """Since it was asked."""
        return time.monotonic() - self._started

    def tell(self, text: str) -> None:
        """Where it is now."""
        line = f"  [{self.seconds:4.0f} s] {self._name}: {text}"
        if self._is_terminal:
            width = shutil.get_terminal_size().columns - 1
            click.echo(f"\r\033[K{line[:width]}", nl=False, err=True)
        else:
            click.echo(line, err=True)

    def end(self) -> None:
        """Take the line away."""
        if self._is_terminal:
            click.echo("\r\033[K", nl=False, err=True)
