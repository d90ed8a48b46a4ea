"""Vectors on the wire: kept ones are never told in the place of others."""

from __future__ import annotations

import pytest

from kvnode.core.errors import Refused
from kvnode.core.hlc import TIME_MS_MAX
from kvnode.core.report import ORIGINS_MAX, RELAYED_MAX, Report
from kvnode.rpc.replication_codec import (
    KEPT_LENGTH_MAX,
    forget_vectors,
    report_from_wire,
    report_to_wire,
    vector_from_wire,
    vector_to_wire,
)
from kvnode.v1 import replication_pb2


def test_a_vector_that_was_changed_is_encoded_as_it_is_now() -> None:
    vector = {7: 1, 3: 2}
    before = vector_to_wire(vector).SerializeToString()
    vector[7] = 5
    after = vector_to_wire(vector)
    assert [(dot.origin, dot.seq) for dot in after.entries] == [(3, 2), (7, 5)]
    assert before != after.SerializeToString()


def test_who_changes_what_was_read_changes_nothing_for_the_next_reader() -> None:
    message = vector_to_wire({3: 2})
    vector_from_wire(message)[3] = 9
    assert vector_from_wire(message) == {3: 2}


def test_who_changes_a_report_changes_no_other() -> None:
    first = report_to_wire(Report({3: 2}, 1))
    first.vector.entries[0].seq = 9
    assert report_from_wire(report_to_wire(Report({3: 2}, 1))).vector == {3: 2}


def test_a_clock_that_is_said_to_be_beyond_all_time_is_at_its_end() -> None:
    """Its offset has to fit where offsets are told."""
    for wall_ms in (TIME_MS_MAX, TIME_MS_MAX + 1, 2**64 - 1):
        assert report_from_wire(replication_pb2.Report(wall_ms=wall_ms)).wall_ms == TIME_MS_MAX


def test_kept_vectors_can_be_forgotten() -> None:
    vector = {11: 1}
    kept = vector_to_wire(vector)
    assert vector_to_wire(vector) is kept
    forget_vectors()
    assert vector_to_wire(vector) is not kept
    assert vector_to_wire(vector) == kept


def test_long_vectors_come_as_they_went() -> None:
    vector = {origin: origin for origin in range(1, KEPT_LENGTH_MAX + 2)}
    assert vector_from_wire(vector_to_wire(vector)) == vector


def test_a_report_that_names_more_origins_than_any_cluster_has_is_refused_unread() -> None:
    most = most_of(ORIGINS_MAX)
    assert report_from_wire(report_to_wire(Report(most, 0, yours=most))).vector == most
    for report in (Report({0: 1} | most, 0), Report({}, 0, yours={0: 1} | most)):
        with pytest.raises(Refused, match="origins"):
            report_from_wire(report_to_wire(report))


def test_of_too_much_that_is_passed_on_nothing_is_heeded_and_the_rest_is() -> None:
    relayed = dict.fromkeys(range(1, 1 + RELAYED_MAX // ORIGINS_MAX), most_of(ORIGINS_MAX))
    assert report_from_wire(report_to_wire(Report({3: 2}, 1, relayed=relayed))).relayed == relayed
    heard = report_from_wire(report_to_wire(Report({3: 2}, 1, relayed=relayed | {99: {5: 1}})))
    assert (heard.vector, heard.relayed) == ({3: 2}, {})


def most_of(origins: int) -> dict[int, int]:
    return dict.fromkeys(range(1, origins + 1), 1)
