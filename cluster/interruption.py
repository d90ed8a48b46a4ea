"""Ctrl-C, from a command's first import to its end: one sentence, exit code 130, no traceback.

Imports next to nothing, ``typing`` neither: until it is imported nobody sees to Ctrl-C.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import FrameType

EXIT_INTERRUPTED = 128 + signal.SIGINT

_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def end_when_interrupted() -> None:
    """Let Ctrl-C end the process on the spot: for the imports, and for what has nothing to clear.

    An exception would not do: halfway through an import it may come out as any other error.
    """

    def end(_number: int, _frame: FrameType | None) -> None:
        with suppress(OSError):
            os.write(2, b"\nInterrupted.\n")
        os._exit(EXIT_INTERRUPTED)

    _handle((signal.SIGINT,), end)


def raise_when_interrupted() -> None:
    """Let Ctrl-C, SIGTERM and SIGHUP raise ``KeyboardInterrupt``: for what has to be cleared."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    _handle(_ENDINGS, interrupt)


def ignore_interrupts() -> None:
    """For the last instants of a command, in which nothing can be undone any more."""
    for number in _ENDINGS:
        signal.signal(number, signal.SIG_IGN)


def _handle(
    numbers: Iterable[signal.Signals], handler: Callable[[int, FrameType | None], None]
) -> None:
    for number in numbers:
        # Whoever started this process may want it ignored: nohup, a script's background job.
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)
