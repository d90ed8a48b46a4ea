"""LWW registers."""

from __future__ import annotations

from kvnode.core.errors import Reason

from .api import LWW_REGISTER, Api, refusal


def test_the_last_write_wins(api: Api, key: bytes) -> None:
    api.put(key, b"one", type=LWW_REGISTER)
    second = api.put(key, b"two", type=LWW_REGISTER)
    stored = api.get(key).lww_register
    assert (stored.value, stored.node) == (b"two", "shared")
    assert stored.dot == second.result.dot


def test_a_register_shows_only_as_a_register(api: Api, key: bytes) -> None:
    api.put(key, b"", type=LWW_REGISTER)
    state = api.get(key)
    assert state.HasField("lww_register")
    assert not state.HasField("siblings")
    assert state.lww_register.value == b""


def test_a_put_with_an_old_context_wins_all_the_same(api: Api, key: bytes) -> None:
    api.put(key, b"one", type=LWW_REGISTER)
    old = api.get(key).context
    api.put(key, b"two", type=LWW_REGISTER)
    api.put(key, b"three", type=LWW_REGISTER, context=old)
    assert api.get(key).lww_register.value == b"three"


def test_delete_and_re_creation(api: Api, key: bytes) -> None:
    api.put(key, b"one", type=LWW_REGISTER)
    api.delete(key)
    assert refusal(lambda: api.get(key)).info.reason == Reason.KEY_NOT_FOUND
    assert api.inspect(key).cells[0].deleted
    api.put(key, b"two", type=LWW_REGISTER)
    assert api.get(key).lww_register.value == b"two"


def test_delete_with_context_spares_a_newer_value(api: Api, key: bytes) -> None:
    first = api.put(key, b"one", type=LWW_REGISTER).result.context
    read = api.get(key).context
    api.put(key, b"two", type=LWW_REGISTER)
    for context in (first, read):
        api.delete(key, context=context)
    assert api.get(key).lww_register.value == b"two"
    api.delete(key, context=api.get(key).context)
    assert refusal(lambda: api.get(key)).info.reason == Reason.KEY_NOT_FOUND


def test_the_context_of_a_put_is_that_of_its_value(api: Api, key: bytes) -> None:
    context = api.put(key, b"one", type=LWW_REGISTER).result.context
    assert api.get(key).context == context


def test_a_deleted_key_may_come_back_as_another_type(api: Api, key: bytes) -> None:
    api.put(key, b"one", type=LWW_REGISTER)
    api.delete(key)
    api.put(key, b"two")
    assert api.values(key) == [b"two"]
