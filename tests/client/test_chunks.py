"""When a bulk writer's chunk is no batch: what was refused whole leaves again, taken apart."""

from __future__ import annotations

from kvnode import FailedPrecondition, NodeUnavailable, NotReplicated
from kvnode.client.calls import Calls
from kvnode.client.failover import Failover
from kvnode.client.gathering import gathering
from kvnode.client.settings import settings_of
from kvnode.v1 import kv_pb2
from tests.client.test_bulk import Clock
from tests.client.test_voyages import LIMITS, at_sea


def test_a_refused_chunk_leaves_again_apart_before_all_that_waits() -> None:
    """And not once more if each of its operations is refused, nor if it is one."""
    waiting, voyage = at_sea()
    for number in range(6):
        waiting.put(f"k{number}", "v", lww=True, ttl=None)
    voyage.send()
    waiting.flush()
    voyage.send()
    several, one = voyage.unfinished()
    refused = FailedPrecondition("no")
    assert several.is_refused_by(refused)
    assert not several.is_refused_by(NodeUnavailable("gone"))
    assert not several.is_refused_by(NotReplicated("done"))
    assert not one.is_refused_by(refused)
    several.flight.entries[0].fail(refused)
    one.flight.entries[0].settle((kv_pb2.WriteResponse(), "h:1"))
    waiting.put("behind", "v", lww=True, ttl=None)
    for chunk in (several, one):
        waiting.landed(chunk)
    assert waiting.progress.acknowledged == 1
    assert not waiting.has_settled(1), "one that came later is not one of the first"
    waiting.put("last", "v", lww=True, ttl=None)
    assert waiting.wait_s() == 0
    assert waiting.chunk() is several
    assert len(several.flight.entries) == len(several) == 5
    assert not several.is_refused_by(refused)
    for entry in several.flight.entries:
        entry.settle((kv_pb2.WriteResponse(), "h:1"))
    waiting.landed(several)
    assert waiting.has_settled(6)
    assert len(waiting.chunk()) == 2


def test_what_is_acknowledged_from_the_queue_leaves_apart() -> None:
    """As a batch all of it would be lost with one wrong operation, and nobody told."""
    calls = Calls(Failover(["h:1"], Clock()), settings_of(9, "fsync", None, session=False))
    waiting = gathering(calls, LIMITS, "buffered", None)
    for key in "abc":
        waiting.put(key, "v", lww=True, ttl=None)
    chunk = waiting.chunk()
    assert [entry.keys for entry in chunk.flight.entries] == [(b"a",), (b"b",), (b"c",)]
    assert not chunk.is_refused_by(FailedPrecondition("no"))


def test_nothing_joins_a_chunk_that_is_to_leave_apart() -> None:
    waiting, voyage = at_sea()
    for key in "ab":
        waiting.put(key, "v", lww=True, ttl=None)
    waiting.flush()
    voyage.send()
    (refused,) = voyage.unfinished()
    refused.flight.entries[0].fail(FailedPrecondition("no"))
    waiting.landed(refused)
    assert waiting.put("c", "v", lww=True, ttl=None), "a chunk was begun"
    assert len(refused) == 2
