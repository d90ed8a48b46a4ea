"""Puts and increments that can go in columns, before they leave."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from kvnode import (
    Client,
    DataType,
    KvnodeError,
)
from kvnode.client.alike import draw_ids, parted, request_of
from kvnode.client.calls import Calls, failover_of
from kvnode.client.lanes import Entry
from kvnode.client.operations import VALUE_BYTES_MAX
from kvnode.client.settings import settings_of
from tests.client.scripted import (
    ScriptedNode,
)

ID = bytes(range(16))


WRONG: list[Callable[..., Any]] = [
    lambda db, **level: db.put("", "v", **level),
    lambda db, **level: db.put("k" * 481, "v", **level),
    lambda db, **level: db.put(7, "v", **level),
    lambda db, **level: db.put("\ud800", "v", **level),
    lambda db, **level: db.put("k", 7, **level),
    lambda db, **level: db.put("k", "\ud800", **level),
    lambda db, **level: db.put("k", b"x" * (VALUE_BYTES_MAX + 1), **level),
    lambda db, **level: db.put("k", "v", ttl=0, **level),
    lambda db, **level: db.put("k", "v", ttl="1", **level),
    lambda db, **level: db.put("k", "v", ttl=1e12, lww=True, **level),
    lambda db, **level: db.put("", 7, ttl=0, request_id=b"x", timeout_s=0, **level),
    lambda db, **level: db.put("", 7, ttl=0, timeout_s=0, **level),
    lambda db, **level: db.put("k", 7, ttl=0, timeout_s=0, **level),
    lambda db, **level: db.put("k", "v", ttl=0, timeout_s=0, **level),
    lambda db, **level: db.put("k", "v", timeout_s=0, **level),
    lambda db, **level: db.increment("k", 0, **level),
    lambda db, **level: db.increment("k", amount=True, **level),
    lambda db, **level: db.increment("k", 1.5, **level),
    lambda db, **level: db.increment("k", 1 << 63, **level),
    lambda db, **level: db.increment("k", -1, type=DataType.G_COUNTER, **level),
    lambda db, **level: db.increment("k", 1, type=DataType.SIBLINGS, **level),
    lambda db, **level: db.increment("k", 1, type="PN", **level),
    lambda db, **level: db.increment("", 0, **level),
    lambda db, **level: db.increment("", 1, timeout_s=-1, **level),
    lambda db, **level: db.increment("k", 1, request_id=b"short", **level),
]


@pytest.mark.parametrize("call", WRONG)
def test_a_wrong_call_is_refused_at_once_in_the_words_of_any_other(
    client: Client, node: ScriptedNode, call: Callable[..., Any]
) -> None:
    with pytest.raises(KvnodeError) as plain:
        call(client)
    with pytest.raises(KvnodeError, match=f"^{re.escape(str(plain.value))}$") as general:
        call(client, durability="all")
    assert type(plain.value) is type(general.value)
    assert plain.value.reason == general.value.reason  # type: ignore[attr-defined]
    assert node.calls == []


@pytest.fixture
def calls() -> Calls:
    """What makes entries."""
    return Calls(
        failover_of("127.0.0.1:1", lambda: 0.0), settings_of(5, "fsync", None, session=False)
    )


def test_the_size_of_an_entry_is_a_bound_of_its_request(calls: Calls) -> None:
    """Flights are filled by it."""
    entries = [
        calls.put("k", ""),
        calls.put("k" * 480, "v" * VALUE_BYTES_MAX, lww=True, ttl=100 * 365 * 24 * 3600),
        calls.increment("k" * 480, -(2**63) + 1, DataType.PN_COUNTER, None, None, None),
    ]
    draw_ids(entries)
    for entry in entries:
        assert request_of(entry).ByteSize() <= entry.size <= request_of(entry).ByteSize() + 64


def test_ids_are_drawn_once_and_those_given_are_kept(calls: Calls) -> None:
    entries = [calls.put("a", "v"), calls.put("b", "v", request_id=ID), calls.put("c", "v")]
    assert [each.request_id for each in entries] == [b"", ID, b""]
    draw_ids(entries)
    drawn = [each.request_id for each in entries]
    assert drawn[1] == ID
    assert [len(each) for each in set(drawn)] == [16] * 3
    draw_ids(entries)
    assert [each.request_id for each in entries] == drawn


def test_parts_are_found_by_what_matters(calls: Calls) -> None:
    """Keys of one part may come again in it, those of another may not."""

    def shape(*entries: Entry) -> list[tuple[Any, int]]:
        return [(kind, len(part)) for kind, part in parted(entries)]

    a, b = calls.put("a", "v"), calls.put("b", "v")
    register = calls.put("a", "v", lww=True)
    general = calls.delete("c", None, None, None, None, None)
    assert shape(a, b, a) == [(a.kind, 3)]
    assert shape(a, general, b) == [(None, 1), (a.kind, 2)]
    assert shape(b, register, general) == [(None, 1), (b.kind, 1), (register.kind, 1)]
    assert shape(a, register, general) == [(None, 3)]
