"""Dots, session vectors, request ids and atomic batches."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from kvnode.core.errors import Reason
from kvnode.v1 import kv_pb2

from .api import CALL_S, G_COUNTER, LWW_REGISTER, Api, delete, increment, put, refusal, vector


def test_dots_are_contiguous_and_sessions_cover_them(api: Api, key: bytes) -> None:
    first = api.put(key, b"1")
    origin, seq = first.result.dot.origin, first.result.dot.seq
    answers: list[Any] = [
        api.put(key, b"2"),
        api.increment(key + b"n"),
        api.delete(key),
        api.put(key + b"r", b"", type=LWW_REGISTER),
    ]
    for offset, answer in enumerate(answers, start=1):
        assert answer.result.dot.origin == origin
        assert answer.result.dot.seq == seq + offset
        assert vector(answer.session)[origin] == seq + offset
    assert origin == api.status().origin


def test_reads_carry_the_session_vector(api: Api, key: bytes) -> None:
    written = vector(api.put(key, b"1").session)
    for answer in (
        api.kv.Get(kv_pb2.GetRequest(key=key), timeout=100),
        api.batch_get(key),
        api.page(prefix=key),
        api.conflicts_page(prefix=key),
        api.inspect(key),
    ):
        session = vector(answer.session)
        assert all(session[origin] >= seq for origin, seq in written.items())


def test_a_batch_has_contiguous_dots_in_its_order(api: Api, key: bytes) -> None:
    before = api.seq()
    answer = api.write(*(put(key + b"%d" % n, b"v") for n in range(5)))
    assert [result.dot.seq for result in answer.results] == list(range(before + 1, before + 6))
    assert api.values(key + b"4") == [b"v"]


def test_a_batch_holds_every_kind_and_sees_itself(api: Api, key: bytes) -> None:
    """Later operations see earlier ones: the put without context replaces the one before it."""
    answer = api.write(
        put(key, b"one"),
        put(key, b"two"),
        put(key, b"three", blind=True),
        increment(key + b"n", 5),
        increment(key + b"n", -7),
        delete(key + b"n"),
        increment(key + b"n", 3),
        increment(key + b"g", 1, type=G_COUNTER),
        put(key + b"r", b"register", type=LWW_REGISTER),
        delete(key + b"absent"),
    )
    assert [result.counter.value for result in answer.results] == [0, 0, 0, 5, -2, 0, 3, 1, 0, 0]
    assert [bool(result.context) for result in answer.results] == [True] * 3 + [False] * 5 + [
        True,
        False,
    ]
    assert api.values(key) == [b"two", b"three"]
    counter, grows, register = api.batch_get(key + b"n", key + b"g", key + b"r").states
    assert counter.pn_counter.value == 3
    assert grows.g_counter.value == 1
    assert register.lww_register.value == b"register"


def test_the_largest_batch_is_taken(api: Api, key: bytes) -> None:
    answer = api.write(*(increment(key) for _ in range(10_000)))
    assert answer.results[-1].counter.value == 10_000
    api.write(*(put(key + b"%d" % n, bytes((1 << 20) - 1000)) for n in range(4)))
    api.write(*(delete(key + b"%d" % n) for n in range(4)))


@pytest.mark.parametrize("kind", ["put", "register", "delete", "increment"])
def test_a_retry_returns_the_first_dot_and_does_nothing(api: Api, key: bytes, kind: str) -> None:
    request_id = os.urandom(16)

    def call() -> kv_pb2.PutResponse | kv_pb2.DeleteResponse | kv_pb2.IncrementResponse:
        match kind:
            case "put":
                return api.put(key, b"v", blind=True, request_id=request_id)
            case "register":
                return api.put(key, b"v", type=LWW_REGISTER, request_id=request_id)
            case "delete":
                return api.delete(key, request_id=request_id)
        return api.increment(key, 5, request_id=request_id)

    first = call()
    before = api.everything()
    again = call()
    assert not first.repeated
    assert again.repeated
    assert again.result.dot == first.result.dot
    assert again.key == key
    assert again.result.counter == first.result.counter
    assert vector(again.session) == vector(first.session)
    assert api.everything() == before


def test_a_retried_batch_returns_the_first_dots_and_does_nothing(api: Api, key: bytes) -> None:
    request_id = os.urandom(16)
    operations = [increment(key, 2), put(key + b"v", b"v", blind=True), delete(key + b"a")]
    first = api.write(*operations, request_id=request_id)
    before = api.everything()
    again = api.write(*operations, request_id=request_id)
    assert again.repeated
    assert [result.dot for result in again.results] == [result.dot for result in first.results]
    assert again.results[1].context == first.results[1].context
    assert api.everything() == before


def test_two_copies_of_a_request_at_once_count_once(api: Api, key: bytes) -> None:
    """Both may be in one round: the id is looked up in the block being built too."""
    with ThreadPoolExecutor(8) as pool:
        for _ in range(10):
            request_id = os.urandom(16)
            calls = [pool.submit(api.increment, key, 1, request_id=request_id) for _ in range(8)]
            answers = [call.result() for call in calls]
            assert sum(not answer.repeated for answer in answers) == 1
            assert len({answer.result.dot.seq for answer in answers}) == 1
    assert api.get(key).pn_counter.value == 10


def test_a_refused_request_id_is_free_again(api: Api, key: bytes) -> None:
    request_id = os.urandom(16)
    api.put(key, b"v")
    refused = refusal(lambda: api.increment(key, request_id=request_id))
    assert refused.info.reason == Reason.TYPE_CONFLICT
    api.delete(key)
    answer = api.increment(key, request_id=request_id)
    assert not answer.repeated
    assert answer.result.counter.value == 1


def test_a_known_request_id_with_other_operations_claims_no_foreign_dots(
    api: Api, key: bytes
) -> None:
    """A batch of two under an id, then one of five: there are no five first dots to return.

    Either the request is refused, or each dot it returns is one of the first request's.
    """
    request_id = os.urandom(16)
    first = api.write(put(key, b"1"), put(key, b"2"), request_id=request_id)
    api.put(key + b"someone else's", b"3")
    batch = [increment(key + b"%d" % number) for number in range(5)]
    found = refusal(lambda: api.write(*batch, request_id=request_id))
    assert found.info.reason == Reason.BAD_REQUEST, first


def test_refused_requests_leave_no_trace_in_the_round_they_share(api: Api, key: bytes) -> None:
    """Good and bad batches over one key, sent without waiting, so that they share commits."""
    api.put(key + b"text", b"text")
    before, commits = api.seq(), api.status().commits
    good = [put(key + b"v", b"good"), increment(key)]
    bad = [increment(key), put(key + b"v", b"bad"), delete(key), increment(key + b"text")]
    calls = []
    for number in range(300):
        request = kv_pb2.WriteRequest(operations=bad if number % 3 else good)
        calls.append(api.kv.Write.future(request, timeout=CALL_S))
    seqs: list[int] = []
    for number, call in enumerate(calls):
        if number % 3:
            assert refusal(call.result).info.reason == Reason.TYPE_CONFLICT
        else:
            seqs.extend(result.dot.seq for result in call.result().results)
    assert sorted(seqs) == list(range(before + 1, before + 201))
    assert api.seq() == before + 200
    assert api.get(key).pn_counter.value == 100
    assert api.values(key + b"v") == [b"good"]
    assert api.status().commits - commits < 100, "no two of them shared a commit"


def test_batch_get_answers_in_order_absent_keys_included(api: Api, key: bytes) -> None:
    api.put(key + b"a", b"v")
    api.increment(key + b"c")
    asked = [key + b"c", key + b"absent", key + b"a", key + b"c"]
    states = api.batch_get(*asked).states
    assert [state.key for state in states] == asked
    fields = [[field.name for field, _ in state.ListFields()] for state in states]
    assert fields == [
        ["key", "context", "pn_counter"],
        ["key", "context"],
        ["key", "context", "siblings"],
        ["key", "context", "pn_counter"],
    ]
