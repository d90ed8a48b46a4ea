"""The Verification service of one node: who may ask, and how much."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kvnode.core.entry import encode_entry
from kvnode.core.errors import Reason
from kvnode.core.types import SIBLINGS
from kvnode.v1 import replication_pb2, verify_pb2, verify_pb2_grpc

from .api import CALL_S, Api, refusal
from .conftest import CLUSTER
from .impostor import Impostor

Call = Callable[..., Any]


@pytest.fixture
def stub(api: Api) -> Any:
    """The service of the shared node."""
    return verify_pb2_grpc.VerificationStub(api.channel)  # type: ignore[no-untyped-call]


@pytest.fixture
def hello(api: Api) -> replication_pb2.Hello:
    """Of a peer the node knows."""
    impostor = Impostor(7)
    impostor.acquaint(api)
    return impostor.hello


def calls(stub: Any) -> list[tuple[Call, type[Any]]]:
    """What only peers may ask."""
    return [
        (stub.Compare, verify_pb2.CompareRequest),
        (stub.Fetch, verify_pb2.FetchRequest),
        (stub.Heal, verify_pb2.HealRequest),
        (lambda *args, **more: list(stub.Check(*args, **more)), verify_pb2.CheckRequest),
    ]


@pytest.mark.parametrize(
    "stranger",
    [
        replication_pb2.Hello(),
        replication_pb2.Hello(cluster="other", name="impostor", origin=7, protocol=1),
        replication_pb2.Hello(cluster=CLUSTER, name="nobody", origin=7, protocol=1),
        replication_pb2.Hello(cluster=CLUSTER, name="impostor", origin=7, protocol=99),
    ],
    ids=["nameless", "foreign", "not configured", "another protocol"],
)
def test_strangers_are_turned_away(stub: Any, stranger: replication_pb2.Hello) -> None:
    """As replication turns them away: data must not leave, or enter, by a side door."""
    for call, request in calls(stub):
        asked = request(hello=stranger)
        refused = refusal(lambda call=call, asked=asked: call(asked, timeout=CALL_S))  # type: ignore[misc]
        assert refused.info.reason == Reason.WRONG_CLUSTER


def test_questions_are_bounded(stub: Any, hello: replication_pb2.Hello) -> None:
    ranges = [verify_pb2.RangeDigest()] * 257
    many = verify_pb2.CompareRequest(hello=hello, ranges=ranges)
    assert refusal(lambda: stub.Compare(many, timeout=CALL_S)).info.reason == Reason.BAD_REQUEST
    keys = verify_pb2.FetchRequest(hello=hello, keys=[b"k"] * 257)
    assert refusal(lambda: stub.Fetch(keys, timeout=CALL_S)).info.reason == Reason.BAD_REQUEST
    for key in (b"", bytes(481)):
        fetch = verify_pb2.FetchRequest(hello=hello, keys=[key])
        assert refusal(lambda: stub.Fetch(fetch, timeout=CALL_S)).info.reason == Reason.BAD_KEY  # noqa: B023
        heal = verify_pb2.HealRequest(hello=hello, key=key)
        assert refusal(lambda: stub.Heal(heal, timeout=CALL_S)).info.reason == Reason.BAD_KEY  # noqa: B023
    long = verify_pb2.RangeDigest(start=bytes(482))
    bound = verify_pb2.CompareRequest(hello=hello, ranges=[long])
    assert refusal(lambda: stub.Compare(bound, timeout=CALL_S)).info.reason == Reason.BAD_KEY
    prefix = verify_pb2.VerifyRequest(prefix=bytes(600))
    assert refusal(lambda: list(stub.Verify(prefix, timeout=CALL_S))).info.reason == Reason.BAD_KEY


def test_a_repair_names_keys_or_everything(stub: Any) -> None:
    for request in (verify_pb2.RepairRequest(), verify_pb2.RepairRequest(keys=[b"k"], all=True)):
        refused = refusal(lambda: list(stub.Repair(request, timeout=CALL_S)))  # noqa: B023
        assert refused.info.reason == Reason.BAD_REQUEST


def test_a_key_is_healed_only_if_nothing_came_in_between(
    stub: Any, api: Api, key: bytes, hello: replication_pb2.Hello
) -> None:
    """Else a repair would take a write away that it has not seen (P4)."""
    api.put(key, b"v")
    fetched = stub.Fetch(
        verify_pb2.FetchRequest(hello=hello, keys=[key], entries=True), timeout=CALL_S
    ).keys[0]
    other = encode_entry({SIBLINGS: ({(7, 1): (1 << 20, b"w")}, frozenset())})
    api.put(key, b"v2")
    heal = verify_pb2.HealRequest(hello=hello, key=key, expected=fetched.entry, entry=other)
    assert not stub.Heal(heal, timeout=CALL_S).healed
    assert api.values(key) == [b"v2"]
    now = stub.Fetch(
        verify_pb2.FetchRequest(hello=hello, keys=[key], entries=True), timeout=CALL_S
    ).keys[0]
    heal.expected = now.entry
    assert stub.Heal(heal, timeout=CALL_S).healed
    assert api.values(key) == [b"w"]
    broken = verify_pb2.HealRequest(hello=hello, key=key, expected=other, entry=other[:-1])
    assert refusal(lambda: stub.Heal(broken, timeout=CALL_S)).info.reason == Reason.BAD_REQUEST
    assert api.values(key) == [b"w"]


def test_a_range_is_cut_until_its_keys_show(
    stub: Any, api: Api, key: bytes, hello: replication_pb2.Hello
) -> None:
    """From a wrong digest of the whole down to every key, each level the sum of its parts."""
    names = [key[:-4] + b"%03d" % number for number in range(100)]
    for name in names:
        api.put(name, b"v")
    pending = [verify_pb2.RangeDigest(start=names[0], end=names[-1] + b"\0")]
    found: list[bytes] = []
    fresh = True
    while pending:
        asked = pending.pop()
        asked.keys, asked.sum = 0, b""
        request = verify_pb2.CompareRequest(hello=hello, ranges=[asked], fresh=fresh)
        (answer,) = stub.Compare(request, timeout=CALL_S).ranges
        fresh = False
        assert bool(answer.parts) != bool(answer.keys)
        if answer.parts:
            assert sum(part.keys for part in answer.parts) == answer.digest.keys
            total = sum(int.from_bytes(part.sum, "big") for part in answer.parts)
            assert (total % 2**128).to_bytes(16, "big") == answer.digest.sum
        found += [each.key for each in answer.keys]
        pending += answer.parts
    assert sorted(found) == names
