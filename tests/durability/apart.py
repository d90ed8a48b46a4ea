"""A function in a process of its own, which may die of it.

LMDB reads its file as memory: damage can end a process by SIGSEGV, SIGBUS or abort. The processes
are forked from a server that has imported everything and started nothing, so one takes some
milliseconds, and threads of the test's own process do not matter.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from typing import Any

DEADLINE_S = 60.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended: with a value, an exception's trace, a signal, or not in time."""

    value: Any = None
    trace: str = ""
    signal: str = ""


@cache
def _server() -> ForkServerContext:
    context = get_context("forkserver")
    context.set_forkserver_preload(["tests.durability.specimen", "tests.durability.apart"])
    return context


def apart(job: Callable[..., Any], *arguments: Any) -> Ended:
    """Run a module's function with these arguments; it ends as a crash would, closing nothing."""
    ours, theirs = _server().Pipe(duplex=False)
    process = _server().Process(target=_run, args=(theirs, job, arguments))
    process.start()
    theirs.close()
    ended = Ended()
    try:
        if ours.poll(DEADLINE_S):
            ended = ours.recv()
        else:
            ended = Ended(signal="no end")
            process.kill()
    except EOFError:
        process.join()
        code = process.exitcode or 0
        ended = Ended(signal=signal.Signals(-code).name if code < 0 else f"exit code {code}")
    finally:
        ours.close()
        process.join()
    return ended


def _run(answers: Connection, job: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123 - until the process ends
    try:
        ended = Ended(value=job(*arguments))
    except BaseException:
        ended = Ended(trace=traceback.format_exc())
    answers.send(ended)
    answers.close()
    os._exit(0)
