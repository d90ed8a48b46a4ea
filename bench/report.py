"""What every bench prints about itself: machine, commit, load; and percentiles."""

from __future__ import annotations

import math
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path


def commit() -> str:
    """Of the working tree; "unknown" outside of a repository."""
    root = Path(__file__).resolve().parent.parent
    try:
        told = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=root,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return "unknown"
    return told.stdout.strip() or "unknown"


def heading(question: str) -> str:
    """The question, and where and when it is answered."""
    load = os.getloadavg()[0]
    return (
        f"{question}\n"
        f"  commit {commit()}, Python {platform.python_version()}, "
        f"{os.cpu_count()} cores, load {load:.1f} at the start"
    )


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that ``percent`` per cent of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def line(name: str, values: Sequence[float], unit: str) -> str:
    """One row: median, p90, p99, count."""
    p50, p90, p99 = (percentile(values, percent) for percent in (50, 90, 99))
    return (
        f"  {name:42} median {p50:7.2f}  p90 {p90:7.2f}  p99 {p99:7.2f} {unit}  (n={len(values)})"
    )
