"""A run as one picture: faults, calls and lag over time, a panel for each node, as plain SVG.

Time goes to the right. The uppermost strip has what was done to links, for that concerns several
nodes. Below, each node has a panel: what was done to the node itself as coloured spans, its calls
as stacked bars (by the node they were sent to and the time they ended), and how many operations it
was behind as a line. Lag is drawn by its logarithm: 5 and 5,000 operations are both to be seen.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, log10
from typing import Final
from xml.sax.saxutils import escape

from tests.checkers.history import Call, Fault, History
from tests.nemesis.pulse import Beat
from tests.nemesis.schedule import LINKS, TRACKS

LEFT: Final = 70
WIDTH: Final = 1150
"""Of the time axis, in pixels, as all below."""
RIGHT: Final = 60
TOP: Final = 60
LINK_ROWS: Final = 2
ROW: Final = 16
PANEL: Final = 130
GAP: Final = 26
BARS_MAX: Final = 400
TICKS_S: Final = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600)
TICKS_MAX: Final = 16

OUTCOMES: Final = {"ok": "#3a9a5b", "refused": "#e39b1f", "unknown": "#d03a3a"}
LAG: Final = "#2458b8"
SILENT: Final = "#9aa0a6"
FAULTS: Final = {
    "kill": "#d03a3a",
    "restarts": "#b04a90",
    "pause": "#6b4fb3",
    "full-disk": "#8a5a2b",
    "slow-disk": "#c9a36a",
    "clock": "#2f9fb5",
    "lost-replies": "#7d9a3a",
}
LINK_FAULT: Final = "#5b6b7b"
LABEL: Final = 10
"""Height of a label."""
NARROW: Final = 4.6
"""Width of a character of a label, about."""
SHORT: Final = 3
"""Characters of a label that are not worth drawing."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Where a moment and an amount are drawn."""

    end_ms: float
    bar_s: int
    """What one bar sums up."""
    calls_max: int
    """In one bar."""
    lag_max: int

    def x(self, at_ms: float) -> float:
        """From the left."""
        return LEFT + WIDTH * min(at_ms, self.end_ms) / self.end_ms

    def bar(self, calls: int) -> float:
        """Height of so many calls."""
        return PANEL * calls / self.calls_max

    def lag(self, operations: int) -> float:
        """Height of so many operations."""
        return PANEL * log10(1 + operations) / log10(1 + self.lag_max)


def draw(history: History, beats: Sequence[Beat], nodes: Sequence[str], title: str) -> str:
    """The whole SVG document."""
    sums = _sums(history.calls, 1)
    times = [fault.ended_ms or fault.started_ms for fault in history.faults]
    times += [beat.at_ms for beat in beats]
    times += [1000.0 * (second + 1) for _, second in sums]
    end_ms = max(times, default=1000.0)
    bar_s = ceil(end_ms / 1000 / BARS_MAX)
    sums = _sums(history.calls, bar_s)
    scale = Scale(
        end_ms,
        bar_s,
        max((sum(each.values()) for each in sums.values()), default=1),
        max(1, *(beat.lag or 0 for beat in beats), 1),
    )
    base = TOP + LINK_ROWS * ROW + GAP
    height = base + len(nodes) * (PANEL + GAP) + 2 * ROW
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + RIGHT}" '
        f'height="{height}" font-family="sans-serif" font-size="10">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{LEFT}" y="18" font-size="14">{escape(title)}</text>',
        *_legend(),
        *_link_faults(history.faults, scale),
    ]
    for number, node in enumerate(nodes):
        top = base + number * (PANEL + GAP)
        parts += _panel(node, top, history, sums, [b for b in beats if b.node == node], scale)
    parts += _axis(height - 2 * ROW, scale)
    return "\n".join([*parts, "</svg>", ""])


def _sums(calls: Sequence[Call], bar_s: int) -> dict[tuple[str, int], Counter[str]]:
    """(node, bar) -> how many calls came to which end."""
    sums: dict[tuple[str, int], Counter[str]] = defaultdict(Counter)
    for call in calls:
        at_ms = call.started_ms if call.ended_ms is None else call.ended_ms
        sums[call.node, int(at_ms / 1000 / bar_s)][call.outcome] += 1
    return sums


def _legend() -> Iterator[str]:
    x = float(LEFT)
    words = {**OUTCOMES, "operations behind": LAG, "no answer": SILENT, **FAULTS}
    for word, colour in words.items():
        yield _box(x, 28, 10, 10, colour, 0.9)
        yield f'<text x="{x + 14:.0f}" y="37">{word}</text>'
        x += 28 + 6 * len(word)


def _link_faults(faults: Sequence[Fault], scale: Scale) -> Iterator[str]:
    yield f'<text x="{LEFT - 6}" y="{TOP + ROW - 4}" text-anchor="end">links</text>'
    on_links = [fault for fault in faults if fault.kind in LINKS]
    for number, fault in enumerate(on_links):
        y = TOP + ROW * (number % LINK_ROWS)
        yield from _span(fault, y, ROW - 2, LINK_FAULT, 0.35, scale, fault.detail)


def _panel(
    node: str,
    top: int,
    history: History,
    sums: dict[tuple[str, int], Counter[str]],
    beats: Sequence[Beat],
    scale: Scale,
) -> Iterator[str]:
    bottom = top + PANEL
    yield f'<text x="{LEFT - 6}" y="{top + 12}" text-anchor="end" font-size="12">{node}</text>'
    yield f'<rect x="{LEFT}" y="{top}" width="{WIDTH}" height="{PANEL}" fill="#f4f5f7"/>'
    for fault in history.faults:
        if node in fault.nodes and fault.kind not in LINKS:
            colour = FAULTS.get(fault.kind, LINK_FAULT)
            yield from _span(fault, top, PANEL, colour, 0.25, scale, "", row=_row(fault.kind))
    width = max(0.5, WIDTH * scale.bar_s * 1000 / scale.end_ms - 0.5)
    for (of_node, bar), counts in sorted(sums.items()):
        y = float(bottom)
        for outcome, colour in OUTCOMES.items() if of_node == node else ():
            tall = scale.bar(counts[outcome])
            y -= tall
            if tall:
                yield _box(scale.x(bar * scale.bar_s * 1000), y, width, tall, colour, 0.8)
    yield from _lag(beats, bottom, scale)
    most = scale.calls_max / scale.bar_s
    yield (
        f'<text x="{LEFT - 6}" y="{top + 26}" text-anchor="end" fill="#555">{most:.0f}/s</text>'
        f'<text x="{LEFT + WIDTH + 4}" y="{top + 10}" fill="{LAG}">{scale.lag_max:,}</text>'
        f'<text x="{LEFT + WIDTH + 4}" y="{bottom}" fill="{LAG}">0</text>'
    )


def _lag(beats: Sequence[Beat], bottom: int, scale: Scale) -> Iterator[str]:
    """The line, broken where the node did not answer."""
    line: list[str] = []
    for beat in [*beats, None]:
        if beat is not None and beat.lag is not None:
            line.append(f"{scale.x(beat.at_ms):.1f},{bottom - scale.lag(beat.lag):.1f}")
            continue
        if line:
            points = " ".join(line)
            yield f'<polyline points="{points}" fill="none" stroke="{LAG}" stroke-width="1.2"/>'
            line = []
        if beat is not None:
            yield _box(scale.x(beat.at_ms) - 1, bottom - 3, 3, 3, SILENT, 1)


def _axis(y: int, scale: Scale) -> Iterator[str]:
    seconds = scale.end_ms / 1000
    step = next((step for step in TICKS_S if seconds / step <= TICKS_MAX), TICKS_S[-1])
    for second in range(0, int(seconds) + 1, step):
        x = scale.x(second * 1000)
        yield f'<text x="{x:.1f}" y="{y}" text-anchor="middle" fill="#555">{second} s</text>'


def _row(kind: str) -> int:
    """Where the label goes: faults of different tracks overlap."""
    node_tracks = [kinds for kinds in TRACKS.values() if kinds is not LINKS]
    return next((row for row, kinds in enumerate(node_tracks) if kind in kinds), 0)


def _span(
    fault: Fault,
    y: float,
    height: float,
    colour: str,
    opacity: float,
    scale: Scale,
    more: str,
    *,
    row: int = 0,
) -> Iterator[str]:
    """A fault from its begin to its end; its name where there is room, all else on hovering."""
    end_ms = scale.end_ms if fault.ended_ms is None else fault.ended_ms
    x, width = scale.x(fault.started_ms), scale.x(end_ms) - scale.x(fault.started_ms)
    whole = escape(f"{fault.kind}: {fault.detail}")
    box = _box(x, y, width, height, colour, opacity)
    yield f"<g><title>{whole}</title>{box}"
    label = f"{fault.kind} {more}".strip()[: int(width / NARROW)]
    if len(label) > SHORT:
        down = y + LABEL * (row + 1)
        yield f'<text x="{x + 2:.1f}" y="{down:.1f}" font-size="8">{escape(label)}</text>'
    yield "</g>"


def _box(x: float, y: float, width: float, height: float, colour: str, opacity: float) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
        f'fill="{colour}" fill-opacity="{opacity}"/>'
    )
