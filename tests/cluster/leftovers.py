"""Processes that a cluster left behind, looked for in /proc."""

from __future__ import annotations

from pathlib import Path


def running_in(directory: Path) -> list[str]:
    """Command lines of processes that were started for this directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:  # it ended while we looked
            continue
        if str(directory) in line:
            found.append(line)
    return found
