"""Counters: sums, signs, deletes and the edge of 64 bits."""

from __future__ import annotations

import pytest

from kvnode.core.errors import Reason

from .api import G_COUNTER, PN_COUNTER, Api, refusal

INT64_MAX = 2**63 - 1


def test_a_new_counter_is_a_pn_counter(api: Api, key: bytes) -> None:
    response = api.increment(key, 5)
    assert response.key == key
    assert response.result.counter.value == 5
    assert api.get(key).pn_counter.value == 5


def test_amounts_of_both_signs_add_up(api: Api, key: bytes) -> None:
    sums = [api.increment(key, amount).result.counter.value for amount in (1000, -100, 50, -2000)]
    assert sums == [1000, 900, 950, -1050]
    assert api.get(key).pn_counter.value == -1050


def test_a_g_counter_grows(api: Api, key: bytes) -> None:
    api.increment(key, 3, type=G_COUNTER)
    assert api.increment(key, 4).result.counter.value == 7
    state = api.get(key)
    assert state.g_counter.value == 7
    assert not state.HasField("pn_counter")


def test_a_sum_of_zero_is_a_value(api: Api, key: bytes) -> None:
    api.increment(key, 5)
    api.increment(key, -5)
    state = api.get(key)
    assert state.HasField("pn_counter")
    assert state.pn_counter.value == 0


@pytest.mark.parametrize("kind", [G_COUNTER, PN_COUNTER])
def test_a_deleted_counter_starts_again_at_zero(api: Api, key: bytes, kind: int) -> None:
    for total in (3, 4):
        api.increment(key, total, type=kind)
        api.delete(key)
        assert refusal(lambda: api.get(key)).info.reason == Reason.KEY_NOT_FOUND
    assert api.increment(key, 2, type=kind).result.counter.value == 2


@pytest.mark.parametrize("kind", [G_COUNTER, PN_COUNTER])
def test_delete_with_context_takes_exactly_what_was_read(api: Api, key: bytes, kind: int) -> None:
    api.increment(key, 10, type=kind)
    context = api.get(key).context
    api.increment(key, 7, type=kind)
    api.delete(key, context=context)
    assert api.increment(key, 1, type=kind).result.counter.value == 8
    api.delete(key, context=context)
    assert api.increment(key, 1, type=kind).result.counter.value == 9


def test_a_deleted_g_counter_may_come_back_as_a_pn_counter(api: Api, key: bytes) -> None:
    api.increment(key, 10, type=G_COUNTER)
    api.delete(key)
    assert api.increment(key, -1).result.counter.value == -1
    assert api.get(key).pn_counter.value == -1


def test_sums_reach_the_edge_of_64_bits(api: Api, key: bytes) -> None:
    assert api.increment(key, INT64_MAX).result.counter.value == INT64_MAX
    assert api.increment(key, -INT64_MAX).result.counter.value == 0
    assert api.increment(key + b"-", -INT64_MAX).result.counter.value == -INT64_MAX
    state = api.get(key + b"-")
    assert (state.pn_counter.value, state.pn_counter.exact) == (-INT64_MAX, "")


def test_a_sum_within_64_bits_is_never_refused_for_its_history(api: Api, key: bytes) -> None:
    """The totals of a slot end at 63 bits; a full slot is left as it is and a new one begun."""
    for amount in (INT64_MAX, -INT64_MAX, 1, -1, INT64_MAX, -INT64_MAX):
        api.increment(key, amount)
    assert api.get(key).pn_counter.value == 0
    api.delete(key)
    assert api.increment(key, 1).result.counter.value == 1


def test_a_context_does_not_grow_with_what_was_deleted_before(api: Api, key: bytes) -> None:
    """A counter that is deleted and counted anew for ever must stay deletable by context.

    Spent slots wait for their collection; in the context of what a reader *sees* they have no
    place, and if they had one the token would outgrow the limit on tokens one day.
    """
    api.increment(key, 1)
    short = len(api.get(key).context)
    for _ in range(50):
        api.delete(key)
        api.increment(key, 1)
    assert len(api.get(key).context) < short + 32
