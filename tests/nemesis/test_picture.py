"""The timeline: everything that happened is in it, at its place."""

from __future__ import annotations

from xml.etree import ElementTree

from tests.checkers.history import Call, Fault, History
from tests.nemesis.picture import FAULTS, LAG, LEFT, OUTCOMES, SILENT, WIDTH, draw
from tests.nemesis.pulse import Beat
from tests.nemesis.schedule import LINKS, Kind

SVG = "{http://www.w3.org/2000/svg}"


def call(node: str, ended_ms: float, outcome: str) -> Call:
    """One that came to this end."""
    assert outcome in ("ok", "refused", "unknown")
    return Call(0, 0, node, ended_ms - 1, ended_ms, outcome)  # type: ignore[arg-type]


def drawn(history: History, beats: list[Beat], title: str = "a run") -> ElementTree.Element:
    """The document's root; that it can be parsed is part of every test."""
    return ElementTree.fromstring(draw(history, beats, ["n1", "n2"], title))


def boxes(root: ElementTree.Element, colour: str, opacity: str) -> list[ElementTree.Element]:
    return [
        box
        for box in root.iter(f"{SVG}rect")
        if box.get("fill") == colour and box.get("fill-opacity") == opacity
    ]


def test_a_run_in_which_nothing_happened_is_a_picture_too() -> None:
    assert drawn(History(), []).tag == f"{SVG}svg"


def test_bars_are_as_high_as_there_were_calls_of_each_outcome() -> None:
    outcomes = ["ok"] * 6 + ["refused"] * 3 + ["unknown"]
    history = History([call("n1", 500.0, outcome) for outcome in outcomes])
    root = drawn(history, [Beat(2000.0, "n1", 0)])
    heights = {
        outcome: [float(box.get("height", "")) for box in boxes(root, colour, "0.8")]
        for outcome, colour in OUTCOMES.items()
    }
    (ok,), (refused,), (unknown,) = heights["ok"], heights["refused"], heights["unknown"]
    assert ok == 2 * refused == 6 * unknown


def test_a_call_without_an_end_is_where_it_began() -> None:
    history = History([Call(1, 0, "n2", 500.0, None, "unknown")])
    assert len(boxes(drawn(history, []), OUTCOMES["unknown"], "0.8")) == 1


def test_a_fault_spans_its_time_on_its_own_nodes_only() -> None:
    history = History(faults=[Fault("kill", ("n2",), 2500.0, 7500.0, "SIGKILL")])
    (span,) = boxes(drawn(history, [Beat(10_000.0, "n1", 0)]), FAULTS["kill"], "0.25")
    assert float(span.get("x", "")) == LEFT + WIDTH / 4
    assert float(span.get("width", "")) == WIDTH / 2


def test_a_fault_of_links_is_drawn_once_with_its_name() -> None:
    history = History(faults=[Fault("halves", ("n1", "n2"), 0.0, 9_000.0, "n1-n2")])
    texts = [text.text or "" for text in drawn(history, []).iter(f"{SVG}text")]
    assert [text for text in texts if "halves n1-n2" in text] == ["halves n1-n2"]


def test_every_kind_of_fault_of_a_node_has_a_colour_of_its_own() -> None:
    assert FAULTS.keys() == {str(kind) for kind in Kind if kind not in LINKS}
    assert len(set(FAULTS.values())) == len(FAULTS)


def test_lag_is_a_line_that_breaks_where_the_node_was_silent() -> None:
    lags = [0, 10, None, 1000, 1000]
    beats = [Beat(1000.0 * second, "n1", lag) for second, lag in enumerate(lags)]
    root = drawn(History(), beats)
    lines = [line for line in root.iter(f"{SVG}polyline") if line.get("stroke") == LAG]
    assert [len((line.get("points") or "").split()) for line in lines] == [2, 2]
    assert len(boxes(root, SILENT, "1")) == 1
    first, second = (
        [float(point.split(",")[1]) for point in (line.get("points") or "").split()]
        for line in lines
    )
    assert first[0] > first[1] > second[0], "more lag is higher up"


def test_what_is_written_into_it_cannot_break_it() -> None:
    title = "<script>&\"'"
    history = History(faults=[Fault("kill", ("n1",), 0.0, 9_000.0, title)])
    texts = [element.text or "" for element in drawn(history, [], title).iter()]
    assert title in texts
    assert f"kill: {title}" in texts
