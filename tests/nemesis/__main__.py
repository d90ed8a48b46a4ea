"""``python -m tests.nemesis``: faults on real processes, and the judgement of their history."""

from __future__ import annotations

import os

from cluster.interruption import end_when_interrupted


def main() -> None:
    """Import what takes a while, and run."""
    end_when_interrupted()
    # Before anything imports grpc: it would write of every connection that is cut.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from tests.nemesis.command import nemesis

    nemesis.main(prog_name="python -m tests.nemesis")


if __name__ == "__main__":
    main()
