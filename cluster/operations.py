"""The kvnode operations that a flight stands for.

One operation per event, never a sum: adding up is what the counters are there for.

================================  ===========  ====================================================
key                               type         written for
================================  ===========  ====================================================
flights/carrier/UA                G-Counter    every flight, +1
flights/destination/IAH           G-Counter    every flight, +1
delay/carrier/UA                  PN-Counter   every arrival off schedule, minutes, early < 0
delay/aircraft/N14228             PN-Counter   the same
movement/N14228                   LWW          every departure
crew/N14228/2013-01-31            siblings     every departure of an aircraft from an airport, on a
                                               day on which another airport handled it too
================================  ===========  ====================================================

A crew note is put with the default context: it replaces what its node holds at that moment. So two
notes become siblings exactly when neither node had the other's note yet.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from cluster.flights import Flight
from kvnode import DataType, Increment, Operation, Put

FLIGHTS_BY_CARRIER: Final = "flights/carrier/"
FLIGHTS_BY_DESTINATION: Final = "flights/destination/"
DELAY_BY_CARRIER: Final = "delay/carrier/"
DELAY_BY_AIRCRAFT: Final = "delay/aircraft/"
MOVEMENT: Final = "movement/"
NOTE: Final = "crew/"

OPERATIONS_PER_FLIGHT_MAX: Final = 6
UNKNOWN: Final = "NA"


@dataclass(frozen=True, slots=True)
class Batch:
    """What one call writes: whole flights, so that nobody ever sees half of one."""

    flights: int
    operations: list[Operation]
    notes: list[tuple[int, str, str]]
    """The crew notes: where in ``operations`` they are, key, text."""


def days_shared_by_airports(flights: Iterable[Flight]) -> frozenset[str]:
    """ "aircraft/date" of the days on which an aircraft left from more than one airport."""
    first: dict[str, str] = {}
    shared: set[str] = set()
    for flight in flights:
        if departed(flight):
            name = f"{flight.tailnum}/{date_of(flight)}"
            if first.setdefault(name, flight.origin) != flight.origin:
                shared.add(name)
    return frozenset(shared)


def batch_of(flights: Sequence[Flight], shared: Collection[str]) -> Batch:
    """The operations of these flights, in their order."""
    operations: list[Operation] = []
    notes: list[tuple[int, str, str]] = []
    add = operations.append
    for flight in flights:
        carrier, aircraft = flight.carrier, flight.tailnum
        add(one_more(FLIGHTS_BY_CARRIER + carrier))
        add(one_more(FLIGHTS_BY_DESTINATION + flight.dest))
        minutes = 0 if flight.arr_delay == UNKNOWN else int(flight.arr_delay)
        if minutes:
            add(Increment(DELAY_BY_CARRIER + carrier, minutes, DataType.PN_COUNTER))
            if aircraft != UNKNOWN:
                add(Increment(DELAY_BY_AIRCRAFT + aircraft, minutes, DataType.PN_COUNTER))
        if departed(flight):
            date = date_of(flight)
            trip = trip_of(flight)
            add(Put(MOVEMENT + aircraft, f"{aircraft} {date} {trip}", lww=True))
            if (day := f"{aircraft}/{date}") in shared:
                key, text = NOTE + day, f"crew of {trip}"
                notes.append((len(operations), key, text))
                add(Put(key, text))
    return Batch(len(flights), operations, notes)


@cache
def one_more(key: str) -> Increment:
    """One for a G-Counter. Kept: it is the same for every flight, and there are 120 of them."""
    return Increment(key, 1, DataType.G_COUNTER)


def departed(flight: Flight) -> bool:
    """It was not cancelled and its aircraft is known."""
    return flight.dep_time != UNKNOWN and flight.tailnum != UNKNOWN


def date_of(flight: Flight) -> str:
    """ISO, e.g. 2013-01-31."""
    return f"{flight.year}-{flight.month:0>2}-{flight.day:0>2}"


def trip_of(flight: Flight) -> str:
    """E.g. "UA1545 EWR-IAH 05:17"."""
    time = f"{flight.dep_time:0>4}"
    return f"{flight.carrier}{flight.flight} {flight.origin}-{flight.dest} {time[:2]}:{time[2:]}"
