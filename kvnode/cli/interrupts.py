"""Ctrl-C while a command is still loading.

Loading takes most of a quick command's time, most of it inside the imports of others, where an
exception is a traceback at best. Nothing was sent and nothing is open then: the process just ends.
"""

from __future__ import annotations

import os
import signal
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
