"""Tables at any width: what somebody may want to copy is never broken."""

from __future__ import annotations

import re
import sys

import pytest

from kvnode import Client
from kvnode.cli import losers, quarantine
from kvnode.cli.states import EXPIRES, SIBLING_COLUMNS
from kvnode.cli.tables import FOLDED, WRAPPED, table_text
from tests.cli.commands import Cli, conflict, ok

DOT, TIME = "32f39798e0b198f5:271", "2026-11-21 19:28:24.738+00:00"
LONG = "12.5,47.1 " * 20 + r"\... (1000 bytes)"

TABLES: dict[str, tuple[tuple[str, ...], list[tuple[str, ...]]]] = {
    "peers": (
        ("name", "address", "state", "silent", "behind", "falls off", "problem"),
        [
            ("n2", "127.0.0.1:41717", "connected", "12 ms", "0 ops", "", ""),
            (
                *("n3", "db-3.example.org:41718", "unreachable", "never seen"),
                *("120 ops, 12.5 KiB, 5.2 s", "in 3 h 20 min", "refused: another cluster"),
            ),
        ],
    ),
    "members": (
        ("node", "origin", "address", "place", "waits for"),
        [("n2", "32f39798e0b198f6", "127.0.0.1:41719", "leaving", "n1, n3, n4")],
    ),
    "siblings": (
        (*SIBLING_COLUMNS, EXPIRES),
        [("1", "3 x tea", "siblings", "n1", TIME, DOT, ""), ("2", LONG, "s", "n", TIME, DOT, TIME)],
    ),
    "lost": (
        losers.COLUMNS,
        [("17", "position:N123", LONG, "n1", TIME, "value", "n2", TIME)],
    ),
    "quarantine": (
        quarantine.COLUMNS,
        [("3", f"{DOT}-300", "n2", "n3", TIME, "2", "12345", "its checksum is wrong")],
    ),
    "slots": (
        ("slot", "node", "added", "taken", "deleted added", "deleted taken", "last change"),
        [(DOT, "n1", "5", "2", "0", "0", TIME)],
    ),
    "verify": (
        ("key", "node", "what", "only here", "only there"),
        [("user:1", "n3", "different", f"{DOT}, {DOT}1, {DOT}2", DOT)],
    ),
    "status": (("", ""), [("data", "/a/long/way/" * 12 + "data"), ("up", "3 h 20 min")]),
}


def on_terminal(monkeypatch: pytest.MonkeyPatch, name: str, width: int) -> list[str]:
    """The lines of a table, as they are seen."""
    monkeypatch.setenv("COLUMNS", str(width))
    return re.sub("\x1b[^m]*m", "", table_text(*TABLES[name], terminal=True)).splitlines()


@pytest.mark.parametrize("width", [40, 60, 80, 100, 160])
@pytest.mark.parametrize("name", TABLES)
def test_what_may_be_copied_is_never_broken(
    monkeypatch: pytest.MonkeyPatch, name: str, width: int
) -> None:
    lines = on_terminal(monkeypatch, name, width)
    columns, rows = TABLES[name]
    for row in rows:
        for column, cell in zip(columns, row, strict=True):
            if column in FOLDED:
                continue
            for part in cell.split() if column in WRAPPED else [cell]:
                assert any(part in line for line in lines), (column, part)


@pytest.mark.parametrize("width", [60, 80, 100, 160])
@pytest.mark.parametrize("name", TABLES.keys() - {"status"})
def test_a_table_fits_its_terminal(monkeypatch: pytest.MonkeyPatch, name: str, width: int) -> None:
    assert all(len(line.rstrip()) <= width for line in on_terminal(monkeypatch, name, width))


def test_where_a_table_is_too_wide_a_row_is_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what it has not."""
    assert on_terminal(monkeypatch, "peers", 60)[:6] == [
        " name      n2",
        " address   127.0.0.1:41717",
        " state     connected",
        " silent    12 ms",
        " behind    0 ops",
        "",
    ]


def test_a_listing_of_keys_stays_a_table_on_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    rows = [("k" * 100, "lww_register", "v" * 200)]
    lines = table_text(("key", "type", "value"), rows, terminal=True).splitlines()
    assert "lww_register" in lines[2]
    assert "".join(lines).count("k") == 101
    assert "".join(lines).count("v") == 201


def test_what_no_row_has_is_no_column(cli: Cli, key: str) -> None:
    """A counter has no node, time and dot of its own; an empty value is still a value."""
    ok(cli("incr", key, "5"))
    heading, _, row, *_ = ok(cli("siblings", key)).decode().splitlines()
    assert heading.split() == ["#", "value", "type"]
    assert row.split() == ["1", "5", "pn_counter"]
    lines = table_text(("key", "node", "value"), [("k", "", "")], terminal=False).splitlines()
    assert lines[0].split() == ["key", "value"]


def test_the_values_of_a_conflict_fit_the_terminal_they_are_shown_on(
    cli: Cli, key: str, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On standard error; a long one is cut."""
    conflict(cli, key, "x" * 300, "y")
    (dot, _) = (str(each.dot) for each in client.get(key).siblings)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    said = cli("get", key).err
    assert f" dot     {dot}\n" in said
    assert "x" * 200 + r"\...(300bytes)" in "".join(said.split())


def test_tables_show_markup_as_it_is_and_cut_nothing() -> None:
    """A value such as [red] is a value."""
    long = "x" * 500
    text = table_text(("#", "value"), [("1", "[red]:fish:[/red]"), ("10", long)], terminal=False)
    lines = text.splitlines()
    assert len(lines) == 4
    assert lines[2] == "  1   [red]:fish:[/red]"
    assert lines[3] == " 10   " + long
