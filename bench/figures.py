"""What benches found: figures by question and subject, each with all its repetitions.

A figure's value is the median of its repetitions; a percentile within one repetition (p50, p99 of
calls) is a figure of its own. Names are ``question/what``: ``one-node/batch100`` of ``kvnode``.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

from bench.report import commit

MIB: Final = 1 << 20


@dataclass(slots=True)
class Figure:
    """One quantity of one subject."""

    name: str
    subject: str
    unit: str
    values: list[float] = field(default_factory=list)

    @property
    def value(self) -> float:
        """The median of the repetitions."""
        return median(self.values)

    def __str__(self) -> str:
        """Its median with the smallest and the largest repetition."""
        spread = ""
        if len(self.values) > 1:
            spread = f" ({shown(min(self.values))} .. {shown(max(self.values))})"
        return f"{shown(self.value)} {self.unit}{spread}"


class Figures:
    """All of a run, in the order in which they came."""

    def __init__(self) -> None:
        self._figures: dict[tuple[str, str], Figure] = {}
        self.absent: dict[str, str] = {}
        """Subject -> why there are no figures of it."""
        self.failed: dict[str, str] = {}
        """Question -> why it has no answer."""
        self.untaken: dict[str, str] = {}
        """What could not be measured, once or at all -> why."""

    def add(self, name: str, subject: str, value: float, unit: str) -> None:
        """One repetition more."""
        figure = self._figures.setdefault((name, subject), Figure(name, subject, unit))
        assert figure.unit == unit, f"{name} of {subject} in {figure.unit} and in {unit}"
        figure.values.append(value)

    def value(self, name: str, subject: str) -> float | None:
        """The median; None if it was not measured."""
        figure = self._figures.get((name, subject))
        return figure.value if figure else None

    def __iter__(self) -> Iterator[Figure]:
        return iter(self._figures.values())

    def text(self, names: set[str]) -> str:
        """A row for each of ``names`` and subject, with its parts (``NAME/p50``)."""
        lines = []
        for figure in self:
            if figure.name not in names or self._is_part(figure):
                continue
            prefix = figure.name + "/"
            parts = [
                f"{part.name.removeprefix(prefix)} {shown(part.value)} {part.unit}"
                for part in self
                if part.subject == figure.subject and part.name.startswith(prefix)
            ]
            row = f"  {figure.name:44} {figure.subject:8} {figure}"
            lines.append(", ".join([row, *parts]))
        return "\n".join(lines)

    def _is_part(self, figure: Figure) -> bool:
        whole, slash, _ = figure.name.rpartition("/")
        return bool(slash) and (whole, figure.subject) in self._figures

    def to_json(self) -> list[dict[str, Any]]:
        """One object each."""
        return [
            {
                "name": figure.name,
                "subject": figure.subject,
                "unit": figure.unit,
                "median": figure.value,
                "values": figure.values,
            }
            for figure in self
        ]


def shown(value: float) -> str:
    """Three digits and no more than that after the point: 48,529 or 0.26."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def circumstances() -> dict[str, Any]:
    """Where and when a run was."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "commit": commit(),
        "python": platform.python_version(),
        "kernel": f"{platform.system()} {platform.release()}",
        "processor": processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory / MIB / 1024, 1),
        "load": round(os.getloadavg()[0], 2),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def processor() -> str:
    """As Linux names it."""
    try:
        with open("/proc/cpuinfo") as rows:  # noqa: PTH123 - a file of the kernel, read by line
            for row in rows:
                if row.startswith("model name"):
                    return row.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()


def dumped(figures: Figures, around: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """All of a run as JSON."""
    whole = {
        "circumstances": around,
        "figures": figures.to_json(),
        "absent": figures.absent,
        "failed": figures.failed,
        "untaken": figures.untaken,
        "table": rows,
    }
    return json.dumps(whole, indent=1)
