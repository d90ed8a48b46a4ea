"""The demo's own arithmetic: what the flights add up to, and what is sent for them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise

import pytest

from cluster.flights import (
    FLIGHTS,
    Flight,
    FlightsNotFound,
    Totals,
    parse_flights,
    read_flights,
    totals_of,
)
from cluster.notes import Note, wrong_survivors
from cluster.operations import OPERATIONS_PER_FLIGHT_MAX, batch_of, days_shared_by_airports
from cluster.replay import SLICE_ROWS_MAX
from cluster.verdict import Held, differences, expected_counters
from kvnode import DataType, Dot, Increment, Operation, Put, StoredValue

TINY = """\
flight,year,month,day,dep_time,arr_delay,carrier,tailnum,origin,dest
1,2013,1,1,517,11,UA,N1,EWR,IAH
2,2013,1,1,533,-20,AA,N2,LGA,MIA
3,2013,1,1,1200,0,UA,N1,LGA,ORD
4,2013,1,1,1730,-30,UA,N1,EWR,IAH
5,2013,1,1,NA,NA,AA,N2,JFK,MIA
6,2013,1,2,NA,NA,B6,NA,JFK,BOS
7,2013,1,2,905,NA,AA,N2,JFK,MIA
8,2013,10,2,5,20,AA,N2,LGA,MIA
"""
"""Early, late, on time, cancelled with and without an aircraft, diverted; one shared day."""


def tiny() -> list[Flight]:
    return list(parse_flights(TINY.splitlines()))


def test_totals_are_those_counted_by_hand() -> None:
    assert totals_of(tiny()) == Totals(
        flights=8,
        operations=8 * 2 + 4 * 2 + 6 + 3,
        flights_by_carrier={"UA": 3, "AA": 4, "B6": 1},  # type: ignore[arg-type]
        flights_by_destination={"IAH": 2, "MIA": 4, "ORD": 1, "BOS": 1},  # type: ignore[arg-type]
        delay_by_carrier={"UA": -19, "AA": 0},
        delay_by_aircraft={"N1": -19, "N2": 0},
        movements={
            "N1": {
                "EWR": "N1 2013-01-01 UA4 EWR-IAH 17:30",
                "LGA": "N1 2013-01-01 UA3 LGA-ORD 12:00",
            },
            "N2": {
                "LGA": "N2 2013-10-02 AA8 LGA-MIA 00:05",
                "JFK": "N2 2013-01-02 AA7 JFK-MIA 09:05",
            },
        },
        notes={
            "N1/2013-01-01": {
                "EWR": ["crew of UA1 EWR-IAH 05:17", "crew of UA4 EWR-IAH 17:30"],
                "LGA": ["crew of UA3 LGA-ORD 12:00"],
            }
        },
    )


def test_operations_applied_to_plain_dicts_give_the_totals() -> None:
    flights = tiny()
    held, written = apply_in_turn(flights)
    assert held.counters == expected_counters(totals_of(flights))
    assert list(differences(held, totals_of(flights), written)) == []


@pytest.mark.parametrize("count", [1, 3_000])
def test_operations_of_real_flights_give_the_totals(count: int) -> None:
    flights = real(count)
    held, written = apply_in_turn(flights)
    totals = totals_of(flights)
    assert totals.flights == count
    assert list(differences(held, totals, written)) == []


def test_a_wrong_operation_shows_up_as_a_difference() -> None:
    """Otherwise the demo's "differences 0" would say nothing."""
    flights = tiny()
    held, written = apply_in_turn(flights)
    del held.counters["flights/carrier/B6"]
    held.counters["delay/carrier/AA"] = "PN", 1
    held.counters["delay/aircraft/N1"] = "G", -19
    held.counters["delay/aircraft/N3"] = "PN", 5
    held.registers["movement/N1"] = held.registers["movement/N2"]
    written.clear()
    found = list(differences(held, totals_of(flights), written))
    assert [line.split(":")[0] for line in found] == [
        "delay/aircraft/N1",
        "delay/aircraft/N3",
        "delay/carrier/AA",
        "flights/carrier/B6",
        "movement/N1",
        "crew/N1/2013-01-01",
        "crew/N1/2013-01-01",
    ]


def test_every_flight_is_one_counter_operation_per_event() -> None:
    """Sums made before sending would be fewer operations and prove less."""
    flights = tiny()
    batch = batch_of(flights, days_shared_by_airports(flights))
    assert batch.flights == 8
    assert len(batch.operations) == totals_of(flights).operations
    assert [batch.operations[position] for position, _, _ in batch.notes] == [
        Put("crew/N1/2013-01-01", "crew of UA1 EWR-IAH 05:17"),
        Put("crew/N1/2013-01-01", "crew of UA3 LGA-ORD 12:00"),
        Put("crew/N1/2013-01-01", "crew of UA4 EWR-IAH 17:30"),
    ]
    assert all(batch.operations[position] == Put(key, text) for position, key, text in batch.notes)
    assert all(
        operation.amount == 1
        for operation in batch.operations
        if isinstance(operation, Increment) and operation.type == DataType.G_COUNTER
    )


def test_largest_possible_batch_is_within_what_a_node_takes() -> None:
    assert SLICE_ROWS_MAX * OPERATIONS_PER_FLIGHT_MAX <= 10_000


def test_first_real_flight_is_as_published() -> None:
    first = real(5)
    assert len(first) == 5
    assert first[0]._asdict() == {
        "year": "2013",
        "month": "1",
        "day": "1",
        "dep_time": "517",
        "arr_delay": "11",
        "carrier": "UA",
        "flight": "1545",
        "tailnum": "N14228",
        "origin": "EWR",
        "dest": "IAH",
    }


def test_there_are_as_many_flights_as_the_help_says() -> None:
    assert len(real(FLIGHTS + 1)) == FLIGHTS


def test_real_flights_are_in_the_order_of_their_days() -> None:
    days = [(int(flight.month), int(flight.day)) for flight in real(5_000)]
    assert all(earlier <= later for earlier, later in pairwise(days))


def test_a_file_without_a_needed_column_is_refused() -> None:
    with pytest.raises(ValueError, match="no column arr_delay, tailnum"):
        list(parse_flights(["year,month,day,dep_time,carrier,flight,origin,dest"]))


# ---- crew notes

A, B = 1, 2
"""Origins."""


def note(value: str, dot: tuple[int, int], before: dict[int, int], after: dict[int, int]) -> Note:
    return Note(value.encode(), dot, before, after)


def test_notes_that_nobody_saw_must_all_be_there() -> None:
    apart = [note("a", (A, 5), {A: 4}, {A: 5}), note("b", (B, 7), {B: 6}, {B: 7})]
    assert wrong_survivors(apart, {(A, 5): b"a", (B, 7): b"b"}) == []
    assert wrong_survivors(apart, {(B, 7): b"b"}) == ["b'a' is lost: nobody had seen it"]
    assert len(wrong_survivors(apart, {})) == 3


def test_a_note_that_was_seen_must_be_gone() -> None:
    after = [note("a", (A, 5), {A: 4}, {A: 5}), note("b", (B, 7), {A: 5, B: 6}, {A: 5, B: 7})]
    assert wrong_survivors(after, {(B, 7): b"b"}) == []
    assert wrong_survivors(after, {(A, 5): b"a", (B, 7): b"b"}) == [
        "b'a' was replaced and is still there"
    ]


def test_a_note_that_arrived_during_the_other_write_may_be_either() -> None:
    meeting = [note("a", (A, 5), {A: 4}, {A: 5}), note("b", (B, 7), {B: 6}, {A: 5, B: 7})]
    assert wrong_survivors(meeting, {(B, 7): b"b"}) == []
    assert wrong_survivors(meeting, {(A, 5): b"a", (B, 7): b"b"}) == []
    assert wrong_survivors(meeting, {(A, 5): b"a"}) == ["b'b' is lost: nobody had seen it"]


def test_a_node_replaces_its_own_earlier_note_within_one_batch() -> None:
    batch = [note("a", (A, 5), {A: 4}, {A: 9}), note("b", (A, 6), {A: 4}, {A: 9})]
    assert wrong_survivors(batch, {(A, 6): b"b"}) == []
    assert len(wrong_survivors(batch, {(A, 5): b"a"})) == 2


def test_a_value_nobody_wrote_is_found_out() -> None:
    one = [note("a", (A, 5), {}, {A: 5})]
    assert wrong_survivors(one, {(A, 5): b"x"}) == ["b'x' was never written"]


# ---- plain dicts in place of kvnode


def real(count: int) -> list[Flight]:
    try:
        return read_flights(count)
    except FlightsNotFound as error:
        pytest.skip(str(error))


def apply_in_turn(flights: Iterable[Flight]) -> tuple[Held, dict[str, list[Note]]]:
    """What one node would hold that took all operations in file order."""
    flights = list(flights)
    return apply(batch_of(flights, days_shared_by_airports(flights)).operations)


def apply(operations: Iterable[Operation]) -> tuple[Held, dict[str, list[Note]]]:
    """Counters add up, a put replaces what is there: one node sees everything in turn."""
    held = Held()
    written: defaultdict[str, list[Note]] = defaultdict(list)
    for seq, operation in enumerate(operations, start=1):
        key = str(operation.key)
        if isinstance(operation, Increment):
            kind = "G" if operation.type == DataType.G_COUNTER else "PN"
            assert held.counters.get(key, (kind, 0))[0] == kind
            assert operation.amount > 0 or kind == "PN"
            held.counters[key] = kind, held.counters.get(key, (kind, 0))[1] + operation.amount
            continue
        assert isinstance(operation, Put)
        value = str(operation.value).encode()
        stored = StoredValue(value, Dot(A, seq), seq, "JFK")
        if operation.lww:
            held.registers[key] = stored
        else:
            held.notes[key] = (stored,)
            written[key].append(Note(value, (A, seq), {A: seq - 1}, {A: seq}))
    return held, written
