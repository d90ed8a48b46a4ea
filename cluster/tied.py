"""Becomes another program that the kernel (Linux) ends together with the process that started it.

``python cluster/tied.py PARENT_PID PROGRAM [ARGUMENT]...``. A ``preexec_fn`` would run Python in a
fork of a process with other threads, whose locks nobody lets go there; this asks for the signal
before the program takes its place, in a process that has only itself.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

PR_SET_PDEATHSIG: Final = 1


def tied(command: Sequence[str]) -> list[str]:
    """The command that ends together with the process that runs this."""
    return [sys.executable, "-I", "-S", str(Path(__file__).resolve()), str(os.getpid()), *command]


def main() -> None:
    """Replace this process by the program."""
    parent, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != int(parent):  # it is gone already
            sys.exit(1)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
