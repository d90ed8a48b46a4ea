"""Siblings: what a put or a delete replaces under each context mode, and what it returns."""

from __future__ import annotations

import time

import grpc
import pytest

from kvnode.core.errors import Reason
from tests.node.process import NodeProcess

from .api import SIBLINGS, Api, refusal


def test_a_put_is_read_back_with_its_provenance(api: Api, node: NodeProcess, key: bytes) -> None:
    before_ms = time.time_ns() // 1_000_000
    put = api.put(key, b"value")
    state = api.get(key)
    (stored,) = state.siblings.values
    assert (state.key, stored.value, stored.node) == (key, b"value", "shared")
    assert stored.dot == put.result.dot
    assert before_ms <= stored.time_ms <= time.time_ns() // 1_000_000 + 1000
    assert put.key == key
    assert not put.repeated
    assert node.name == "shared"


@pytest.mark.parametrize(
    "value",
    [b"", b"\x00", b"\xff" * 100, bytes(range(256)), bytes(1 << 20)],
    ids=["empty", "zero", "ones", "all", "largest"],
)
def test_any_bytes_up_to_a_mebibyte_are_a_value(api: Api, key: bytes, value: bytes) -> None:
    api.put(key, value)
    assert api.values(key) == [value]
    api.delete(key)


@pytest.mark.parametrize(
    "name",
    [b"k", b"\x00", b"\xff", b"\x00" * 480, b"\xff" * 480, bytes(range(256))],
    ids=["short", "zero", "one", "zeros", "ones", "all"],
)
def test_any_1_to_480_bytes_are_a_key(api: Api, name: bytes) -> None:
    api.put(name, b"value")
    assert api.get(name).key == name
    assert name in api.names()
    api.delete(name)
    assert name not in api.names()


def test_a_put_without_context_replaces_what_the_node_holds(api: Api, key: bytes) -> None:
    api.put(key, b"one", blind=True)
    api.put(key, b"two", blind=True)
    api.put(key, b"three")
    assert api.values(key) == [b"three"]


def test_a_blind_put_adds_a_sibling(api: Api, key: bytes) -> None:
    for value in (b"one", b"two", b"two"):
        api.put(key, value, blind=True)
    assert api.values(key) == [b"one", b"two", b"two"]


def test_a_put_with_context_replaces_exactly_what_was_read(api: Api, key: bytes) -> None:
    """A value the reader has not been shown stays, though the node holds it by now."""
    api.put(key, b"read 1", blind=True)
    api.put(key, b"read 2", blind=True)
    context = api.get(key).context
    api.put(key, b"not read", blind=True)
    api.put(key, b"new", context=context)
    assert api.values(key) == [b"not read", b"new"]


def test_two_puts_with_one_context_are_siblings(api: Api, key: bytes) -> None:
    api.put(key, b"base")
    context = api.get(key).context
    api.put(key, b"left", context=context)
    api.put(key, b"right", context=context)
    assert api.values(key) == [b"left", b"right"]


def test_the_context_of_a_put_shows_its_own_value_only(api: Api, key: bytes) -> None:
    api.put(key, b"other", blind=True)
    mine = api.put(key, b"mine", blind=True).result.context
    api.put(key, b"mine again", context=mine)
    assert api.values(key) == [b"other", b"mine again"]


def test_the_context_of_an_absent_key_replaces_nothing(api: Api, key: bytes) -> None:
    found = refusal(lambda: api.get(key))
    assert found.info.reason == Reason.KEY_NOT_FOUND
    assert found.code is grpc.StatusCode.NOT_FOUND
    absent = bytes.fromhex(found.info.metadata["context"])
    assert absent == api.batch_get(key).states[0].context
    api.put(key, b"there first")
    api.put(key, b"new", context=absent)
    assert api.values(key) == [b"there first", b"new"]


def test_a_used_context_does_not_revive_what_it_replaced(api: Api, key: bytes) -> None:
    api.put(key, b"one")
    context = api.get(key).context
    api.put(key, b"two", context=context)
    api.delete(key, context=context)
    assert api.values(key) == [b"two"]


def test_delete_with_context_deletes_exactly_what_was_read(api: Api, key: bytes) -> None:
    api.put(key, b"read", blind=True)
    context = api.get(key).context
    api.put(key, b"not read", blind=True)
    api.delete(key, context=context)
    assert api.values(key) == [b"not read"]


def test_delete_without_context_deletes_all_the_node_holds(api: Api, key: bytes) -> None:
    api.put(key, b"one", blind=True)
    api.put(key, b"two", blind=True)
    deleted = api.delete(key)
    assert deleted.key == key
    assert refusal(lambda: api.get(key)).info.reason == Reason.KEY_NOT_FOUND
    api.put(key, b"again")
    assert api.values(key) == [b"again"]


def test_a_deletion_of_nothing_has_a_dot(api: Api, key: bytes) -> None:
    before = api.seq()
    assert api.delete(key).result.dot.seq == before + 1
    assert api.delete(key, type=SIBLINGS).result.dot.seq == before + 2


def test_deleted_siblings_leave_nothing_behind(api: Api, key: bytes) -> None:
    api.put(key, b"value")
    api.delete(key)
    assert refusal(lambda: api.inspect(key)).info.reason == Reason.KEY_NOT_FOUND


def test_siblings_are_ordered_by_time(api: Api, key: bytes) -> None:
    values = [b"%d" % number for number in range(20)]
    for value in values:
        api.put(key, value, blind=True)
    stored = api.get(key).siblings.values
    assert [item.value for item in stored] == values
    assert [item.time_ms for item in stored] == sorted(item.time_ms for item in stored)
