"""Curves as SVG: figures whose names end in a number, over that number.

A curve's figures are called ``curve/PICTURE/SERIES at NUMBER``; the horizontal axis is
logarithmic, the vertical one begins at zero.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Final

from bench.figures import Figures, shown

WIDTH: Final = 640
HEIGHT: Final = 360
LEFT, RIGHT, TOP, BOTTOM = 70, 170, 40, 40
COLOURS: Final = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b")
STEPS: Final = 4
"""Lines across."""

NAME: Final = re.compile(r"^curve/(?P<picture>[^/]+)/(?P<series>.+) at (?P<number>[\d,]+)$")
Points = Sequence[tuple[float, float]]


def write_pictures(figures: Figures, directory: Path) -> None:
    """One file each."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, picture in drawn(figures).items():
        (directory / f"{name}.svg").write_text(picture)


def drawn(figures: Figures) -> dict[str, str]:
    """File name without suffix -> SVG."""
    found: dict[tuple[str, str], dict[str, list[tuple[float, float]]]] = defaultdict(dict)
    for figure in figures:
        if match := NAME.match(figure.name):
            number = float(match["number"].replace(",", ""))
            series = found[match["picture"], figure.unit]
            series.setdefault(f"{figure.subject}, {match['series']}", []).append(
                (number, figure.value)
            )
    return {
        re.sub(r"[^a-z0-9]+", "-", f"{picture} {unit}".lower()).strip("-"): chart(
            picture, unit, series
        )
        for (picture, unit), series in found.items()
    }


def chart(title: str, unit: str, series: Mapping[str, Points]) -> str:
    """One picture."""
    numbers = sorted({number for points in series.values() for number, _ in points})
    highest = max(value for points in series.values() for _, value in points) or 1.0
    first, last = math.log(numbers[0]), math.log(numbers[-1])

    def across(number: float) -> float:
        share = (math.log(number) - first) / (last - first) if last > first else 0.5
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def up(value: float) -> float:
        return HEIGHT - BOTTOM - value / highest * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{LEFT}" y="20" font-size="14">{escape(title)}, {escape(unit)}</text>',
    ]
    for step in range(STEPS + 1):
        value = highest * step / STEPS
        parts.append(
            f'<line x1="{LEFT}" y1="{up(value):.1f}" x2="{WIDTH - RIGHT}" y2="{up(value):.1f}" '
            f'stroke="#ddd"/><text x="{LEFT - 6}" y="{up(value) + 4:.1f}" '
            f'text-anchor="end">{shown(value)}</text>'
        )
    parts += [
        f'<text x="{across(number):.1f}" y="{HEIGHT - BOTTOM + 18}" '
        f'text-anchor="middle">{number:,.0f}</text>'
        for number in numbers
    ]
    for position, (name, points) in enumerate(series.items()):
        colour = COLOURS[position % len(COLOURS)]
        places = [(across(number), up(value)) for number, value in sorted(points)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        parts.append(
            f'<text x="{WIDTH - RIGHT + 10}" y="{TOP + 18 * position + 10}" '
            f'fill="{colour}">{escape(name)}</text>'
        )
    return "\n".join([*parts, "</svg>", ""])
