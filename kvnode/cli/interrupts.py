"""Ctrl-C while a command is still loading, and while it follows something.

Loading takes most of a quick command's time, most of it inside the imports of others, where an
exception is a traceback at best. Nothing was sent and nothing is open then: the process just ends.

What follows something has a place to go on from, and an exception that comes anywhere may come
where half a step is told, or inside a lock of others, which is then another error. So the first
Ctrl-C only asks for the end; the second one raises, for an output that nobody reads; the third one
ends the process here as well.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

EXIT_INTERRUPTED: Final = 130


def leave_on_interrupt() -> None:
    """From now on Ctrl-C ends the process without a word; not if it is to be ignored (nohup)."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, leave)


def raise_on_interrupt() -> None:
    """From now on Ctrl-C is KeyboardInterrupt again: there may be something to end or to say."""
    if signal.getsignal(signal.SIGINT) is leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def leave(_number: int, _frame: FrameType | None) -> None:
    """End the process here and now."""
    os._exit(EXIT_INTERRUPTED)


@contextmanager
def ended_by_interrupt(end: Callable[[], None]) -> Iterator[None]:
    """``end`` is called at the first Ctrl-C, in a thread, unless it is to be ignored (nohup).

    The handler takes no lock: the thread that it came into may have any.
    """
    before = signal.getsignal(signal.SIGINT)
    asking, asked = os.pipe()

    def ask(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, insist)
        os.write(asked, b"!")

    def insist(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, leave)
        raise KeyboardInterrupt

    def wait() -> None:
        if os.read(asking, 1):
            end()

    waiting = threading.Thread(target=wait, name="kvnode-interrupt", daemon=True)
    waiting.start()
    if before in (leave, signal.default_int_handler):
        signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        os.close(asked)
        waiting.join()
        os.close(asking)
