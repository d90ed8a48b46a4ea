"""A curve is drawn through what was found."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from bench.figures import Figures
from bench.pictures import HEIGHT, LEFT, WIDTH, drawn, write_pictures

SVG = "{http://www.w3.org/2000/svg}"


def test_figures_of_a_curve_become_one_line_for_each_series() -> None:
    figures = Figures()
    for number, value in ((1, 10.0), (100, 30.0), (10, 20.0)):
        figures.add(f"curve/size & shape/writes at {number:,}", "kvnode", value, "writes/s")
        figures.add(f"curve/size & shape/writes at {number:,}", "redis", 2 * value, "writes/s")
        figures.add(f"curve/size & shape/p50 at {number:,}", "kvnode", value, "ms")
    figures.add("one node/batch 10", "kvnode", 1.0, "operations/s")
    pictures = drawn(figures)
    assert set(pictures) == {"size-shape-writes-s", "size-shape-ms"}
    root = ElementTree.fromstring(pictures["size-shape-writes-s"])
    lines = [
        [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
        for line in root.iter(f"{SVG}polyline")
    ]
    assert [len(line) for line in lines] == [3, 3]
    for line in lines:
        across = [x for x, _ in line]
        assert across == sorted(across), "by number, not as they came"
        assert across[1] - across[0] == across[2] - across[1], "1, 10, 100 are equally far apart"
        assert all(LEFT <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in line)
        assert line[0][1] > line[2][1], "more is higher"
    assert lines[1][2][1] < lines[0][2][1], "redis has twice as much here"


def test_one_point_is_a_picture_too(tmp_path: Path) -> None:
    figures = Figures()
    figures.add("curve/keys/writes at 1,000,000", "kvnode", 0.0, "writes/s")
    write_pictures(figures, tmp_path / "made" / "here")
    picture = (tmp_path / "made" / "here" / "keys-writes-s.svg").read_text()
    assert "1,000,000" in picture
    ElementTree.fromstring(picture)
