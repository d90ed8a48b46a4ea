"""Values with a time to live, as clients see them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest

from kvnode.core.errors import Reason
from kvnode.v1 import kv_pb2
from tests.node.process import NodeProcess, until

from .api import LWW_REGISTER, PN_COUNTER, SIBLINGS, Api, put, refusal
from .impostor import Impostor, now_ms

HOUR_MS = 3_600_000
CENTURY_MS = 100 * 365 * 24 * HOUR_MS
Start = Callable[..., tuple[NodeProcess, Api]]
TYPES = pytest.mark.parametrize("kind", [LWW_REGISTER, SIBLINGS])
LONG_AGO = 1
"""A deadline."""
ORIGINS = count(7_000)


def hidden(api: Api, key: bytes) -> bool:
    """Whether the key shows nothing."""
    return not api.names(prefix=key)


def write_expired(api: Api, key: bytes, kind: int = SIBLINGS) -> None:
    """Another region's write arrives when its deadline has passed."""
    region = Impostor(next(ORIGINS))
    replaced: list[list[int]] = [[]] if kind == SIBLINGS else []
    region.push(api, region.block([kind, key, b"expired", *replaced, LONG_AGO]))


@TYPES
def test_the_deadline_is_absolute_and_shown(api: Api, key: bytes, kind: int) -> None:
    before = now_ms()
    api.put(key, b"v", type=kind, ttl_ms=HOUR_MS)
    state = api.get(key)
    stored = state.lww_register if kind == LWW_REGISTER else state.siblings.values[0]
    assert before + HOUR_MS <= stored.expires_ms <= now_ms() + HOUR_MS
    assert api.get(key).siblings == state.siblings, "reading it again does not prolong it"
    (cell,) = api.inspect(key).cells
    kept = cell.register if kind == LWW_REGISTER else cell.siblings[0]
    assert kept.expires_ms == stored.expires_ms


@TYPES
def test_a_value_expires(api: Api, key: bytes, kind: int) -> None:
    api.put(key, b"v", type=kind, ttl_ms=1)
    until(lambda: hidden(api, key), "the value is gone")


@TYPES
def test_an_expired_value_is_hidden_everywhere(api: Api, key: bytes, kind: int) -> None:
    write_expired(api, key, kind)
    refused = refusal(lambda: api.get(key))
    assert refused.info.reason == Reason.KEY_NOT_FOUND
    (state,) = api.batch_get(key).states
    assert not state.HasField("lww_register")
    assert not state.HasField("siblings")
    assert api.names(prefix=key) == []
    (cell,) = api.inspect(key).cells
    assert not cell.visible
    api.increment(key)
    assert api.get(key).pn_counter.value == 1, "another type over it is no conflict"
    assert api.conflicts(prefix=key) == []


def test_an_expired_sibling_is_no_conflict_and_is_replaced(api: Api, key: bytes) -> None:
    api.put(key, b"stays")
    write_expired(api, key)
    assert api.values(key) == [b"stays"]
    assert api.conflicts(prefix=key) == []
    assert len(api.inspect(key).cells[0].siblings) == 2
    api.put(key, b"new", context=api.get(key).context)
    assert len(api.inspect(key).cells[0].siblings) == 1


def test_each_put_of_a_batch_has_its_own(api: Api, key: bytes) -> None:
    api.write(put(key + b"1", b"v", ttl_ms=HOUR_MS), put(key + b"2", b"v"))
    expires = [state.siblings.values[0].expires_ms for state in api.scan(prefix=key)]
    assert expires[0] > now_ms()
    assert expires[1] == 0


def test_a_put_without_one_makes_it_stay(api: Api, key: bytes) -> None:
    """A deadline belongs to its write: the next write has its own or none."""
    api.put(key, b"v", type=LWW_REGISTER, ttl_ms=HOUR_MS)
    api.put(key, b"w", type=LWW_REGISTER)
    assert api.get(key).lww_register.expires_ms == 0


@pytest.mark.parametrize("ttl_ms", [0, CENTURY_MS + 1, 2**64 - 1])
def test_a_time_to_live_has_bounds(api: Api, key: bytes, ttl_ms: int) -> None:
    for call in (
        lambda: api.put(key, b"v", ttl_ms=ttl_ms),
        lambda: api.write(put(key, b"v", ttl_ms=ttl_ms)),
    ):
        refused = refusal(call)
        assert refused.info.reason == Reason.BAD_REQUEST
        assert refused.info.metadata["limit"] == str(CENTURY_MS)
    api.put(key, b"v", ttl_ms=CENTURY_MS)


def test_counters_have_none(api: Api, key: bytes) -> None:
    """Nothing says which of the increments would go."""
    assert "ttl_ms" not in kv_pb2.Increment.DESCRIPTOR.fields_by_name
    refused = refusal(lambda: api.put(key, b"1", type=PN_COUNTER, ttl_ms=HOUR_MS))
    assert refused.info.reason == Reason.BAD_REQUEST


def test_a_repeated_request_keeps_the_first_deadline(api: Api, key: bytes) -> None:
    for ttl_ms in (HOUR_MS, 2 * HOUR_MS):
        api.put(key, b"v", ttl_ms=ttl_ms, request_id=(key * 16)[:16])
    assert api.get(key).siblings.values[0].expires_ms <= now_ms() + HOUR_MS


def test_collection_status_tells_what_is_to_expire(start: Start) -> None:
    process, api = start()
    api.put(b"k", b"v", ttl_ms=HOUR_MS)
    process.stop()  # writes a checkpoint: it counts what is on disk
    _, api = start()
    status = api.collection()
    assert (status.to_expire, status.rows_waiting, status.horizon_ms) == (1, 0, 0)
    assert api.get(b"k").siblings.values[0].expires_ms > now_ms()
