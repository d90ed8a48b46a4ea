"""The command's entry: it imports nothing yet, so that Ctrl-C is quiet from the first moment."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from kvnode.cli.interrupts import leave_on_interrupt


def main() -> NoReturn:
    """Run the command line of this process and exit."""
    leave_on_interrupt()
    # gRPC's C core would write of its own to standard error what the command reports in one line.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from kvnode.cli.commands import run

    sys.exit(run(sys.argv[1:]))
