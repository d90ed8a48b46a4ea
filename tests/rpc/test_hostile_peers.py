"""What comes in over replication is checked like what clients send: a bad peer harms nobody."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from kvnode.core.block import CHAIN_BYTES, CHECKSUM_BYTES, SEQ_MAX, sealed
from kvnode.core.entry import encode_entry
from kvnode.core.errors import Reason
from kvnode.core.hlc import HLC_MAX
from kvnode.core.report import PROTOCOL
from kvnode.core.roster import encode_roster
from kvnode.node.founding import founding_roster
from kvnode.v1 import replication_pb2, verify_pb2, verify_pb2_grpc
from tests.node.process import NodeProcess, until

from .api import CALL_S, Api, failed, refusal, vector
from .conftest import CLUSTER, PEERS
from .impostor import Impostor, report
from .refused import nothing_changes

Start = Callable[..., tuple[NodeProcess, Api]]

COMPLAINTS = r"block refused: |quarantined block |bad peer"
"""What a node may log at ERROR here."""


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A node of its own; it may complain of what it gets, and stops well."""
    process = NodeProcess(tmp_path_factory.mktemp("victim") / "data", "--cluster", CLUSTER, *PEERS)
    try:
        api = Api(process.ready().address)
        api.put(b"k", b"v")
        yield api
        api.close()
        process.stop(trouble=COMPLAINTS)
    finally:
        process.kill()


ORIGINS = itertools.count(1000)


def stranger(**changes: Any) -> Impostor:
    """An impostor nobody has met, with these changes to its hello."""
    region = Impostor(next(ORIGINS))
    for name, value in changes.items():
        setattr(region.hello, name, value)
    return region


def test_a_push_without_hello(victim: Api) -> None:
    request = replication_pb2.PushRequest(report=report({}), blocks=[stranger().block(0)])
    with nothing_changes(victim):
        found = refusal(lambda: list(victim.replication.Push(iter([request]), timeout=CALL_S)))
        assert found.info.reason == Reason.BAD_REQUEST


def test_a_peer_that_claims_more_than_can_be_counted_does_not_silence_the_status(
    start: Start,
) -> None:
    """What it has beyond this node adds up to more than a field holds."""
    _, api = start()
    region = Impostor(next(ORIGINS))
    region.push(api, has=dict.fromkeys(range(1, 4), SEQ_MAX))
    (peer,) = (peer for peer in api.status().peers if peer.name == region.hello.name)
    assert peer.ahead_ops == 2**64 - 1


def test_a_push_that_ends_at_once(victim: Api) -> None:
    with nothing_changes(victim):
        assert list(victim.replication.Push(iter([]), timeout=CALL_S)) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"cluster": "elsewhere"},
        {"cluster": ""},
        {"cluster": "c" * 20_000},
        {"protocol": 0},
        {"protocol": PROTOCOL + 1},
        {"incarnation": 0},
    ],
    ids=["other cluster", "no cluster", "long cluster", "protocol 0", "next protocol", "no start"],
)
def test_a_hello_of_something_else(victim: Api, changes: dict[str, Any]) -> None:
    region = stranger(**changes)
    blocks = [region.block([4, b"evil", b"v", []])]
    pull = replication_pb2.PullRequest(hello=region.hello, report=report({}))
    with nothing_changes(victim):
        found = refusal(lambda: region.push(victim, *blocks))
        assert found.info.reason == Reason.WRONG_CLUSTER
        found = refusal(lambda: list(victim.replication.Pull(pull, timeout=CALL_S)))
        assert found.info.reason == Reason.WRONG_CLUSTER


def test_a_hello_with_the_node_s_own_origin(victim: Api) -> None:
    region = Impostor(victim.status().origin)
    with nothing_changes(victim):
        found = refusal(lambda: region.push(victim, region.block([4, b"evil", b"v", []])))
        assert found.info.reason == Reason.ALREADY_RUNNING
        assert victim.status().state == "serving"


def test_a_hello_of_another_cluster_of_the_same_name(victim: Api) -> None:
    """Foreign nodes are fenced by the cluster's id, whatever they call it."""
    region = stranger()
    foreign = founding_roster(region.origin, "impostor", CLUSTER, ["other"], join=False)
    region.hello.roster = encode_roster(foreign)
    with nothing_changes(victim):
        found = refusal(lambda: region.push(victim, region.block([4, b"evil", b"v", []])))
        assert found.info.reason == Reason.WRONG_CLUSTER


@pytest.mark.parametrize("raw", [b"x", b"\x01", b"\x01\x93\x01\x02\x03", b"\x02" * 100])
def test_a_hello_with_something_else_than_a_roster(victim: Api, raw: bytes) -> None:
    region = stranger(roster=raw)
    with nothing_changes(victim):
        found = refusal(lambda: region.push(victim, region.block([4, b"evil", b"v", []])))
        assert found.info.reason == Reason.BAD_REQUEST


def test_a_pull_without_hello(victim: Api) -> None:
    with nothing_changes(victim):
        pull = replication_pb2.PullRequest()
        found = refusal(lambda: list(victim.replication.Pull(pull, timeout=CALL_S)))
        assert found.info.reason == Reason.WRONG_CLUSTER


def test_a_pull_gets_what_it_lacks(victim: Api) -> None:
    """The counterpart: well-behaved peers are served."""
    region = stranger()
    region.acquaint(victim)
    for have, expected in (({}, True), (victim.everything().vector, False)):
        request = replication_pb2.PullRequest(
            hello=region.hello, report=report({}), have=report(have).vector
        )
        replies = list(victim.replication.Pull(request, timeout=CALL_S))
        assert replies[0].hello.cluster == CLUSTER
        assert replies[-1].complete
        assert bool([block for reply in replies for block in reply.blocks]) == expected


def test_a_pull_by_who_claims_to_have_more_than_there_can_be(start: Start) -> None:
    """Also when the blocks have left the log's tail, as they have after a stop."""
    process, api = start("claimed")
    api.put(b"k", b"v")
    process.stop()
    process, api = start("claimed")
    region = Impostor(next(ORIGINS))
    region.acquaint(api)
    have = dict.fromkeys(api.everything().vector, 2**64 - 1)
    request = replication_pb2.PullRequest(
        hello=region.hello, report=report({}), have=report(have).vector
    )
    assert list(api.replication.Pull(request, timeout=CALL_S))[-1].complete
    process.stop()


def test_long_names_are_not_passed_on(victim: Api) -> None:
    """Whoever hears of a name tells it in each first report, for good: with 32 MiB of them no
    message would be taken by anybody any more, also after all had been started again.
    """
    region = stranger()
    region.acquaint(victim)
    told = report({}, region.hello.roster)
    for origin, size in ((1, 64), (2, 1 << 20)):
        told.members.add(origin=origin, name="x" * size)
    request = replication_pb2.PushRequest(hello=region.hello, report=told)
    (reply,) = victim.replication.Push(iter([request]), timeout=CALL_S)
    names = {member.origin: member.name for member in reply.report.members}
    assert names[1] == "x" * 64
    assert 2 not in names


def test_a_member_has_one_name(victim: Api) -> None:
    """Under others it would be as many peers as it likes, or take the place of another member."""
    region = stranger()
    region.push(victim)
    before = [peer.name for peer in victim.status().peers]
    for name in ("another", "x" * 100_000):
        hello = replication_pb2.Hello()
        hello.CopyFrom(region.hello)
        hello.name = name
        request = replication_pb2.PullRequest(hello=hello, report=report({}))
        found = refusal(lambda r=request: list(victim.replication.Pull(r, timeout=CALL_S)))  # type: ignore[misc]
        assert found.info.reason == Reason.NAME_TAKEN
    assert [peer.name for peer in victim.status().peers] == before


@pytest.mark.parametrize("entry", [
    {1: {}},
    {2: {(5, 1): (1, 0, 0, 0, HLC_MAX + 1, (0, 0), (0, 0))}},
    {3: (2**64 - 1, 5, 1, b"v")},
    {4: ({(5, 1): (HLC_MAX + 1, b"v")}, frozenset())},
])  # fmt: skip
def test_a_repair_with_what_no_node_holds_is_refused(victim: Api, entry: dict[int, Any]) -> None:
    """It may neither keep the loop of rounds from going on, nor take the clock where no write can
    come after it.
    """
    region = stranger()
    region.push(victim)
    request = verify_pb2.HealRequest(hello=region.hello, key=b"healed", entry=encode_entry(entry))
    service: Any = verify_pb2_grpc.VerificationStub(victim.channel)  # type: ignore[no-untyped-call]
    with nothing_changes(victim):
        found = refusal(lambda: service.Heal(request, timeout=CALL_S))
        assert found.info.reason == Reason.BAD_REQUEST
    victim.put(b"after", b"v", blind=True)


@pytest.mark.parametrize("method", ["Push", "Pull"])
def test_noise_instead_of_messages(victim: Api, method: str) -> None:
    noise = random.Random(method)
    path = f"/kvnode.v1.Replication/{method}"
    with nothing_changes(victim):
        for size in (1, 10, 1000):
            raw = b"\x07" + noise.randbytes(size)
            streams = method == "Push"
            channel = victim.channel
            call: Any = (channel.stream_stream if streams else channel.unary_stream)(path)
            replies = call(iter([raw]) if streams else raw, timeout=CALL_S)
            found = refusal(lambda replies=replies: list(replies))  # type: ignore[misc]
            assert found.info.reason == Reason.MALFORMED_MESSAGE


def valid() -> bytes:
    """A block that would be taken."""
    return stranger().block([4, b"evil", b"v", []], [2, b"evil n", 2, 5, 0])


BYTES: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "a byte": lambda: b"\x01",
    "noise": lambda: b"\x01" + random.Random(1).randbytes(200),
    "another version": lambda: b"\x02" + valid()[1:],
    "half": lambda: valid()[: len(valid()) // 2],
    "a byte too few": lambda: valid()[:-1],
    "a byte too many": lambda: valid() + b"\x00",
    "another chain": lambda: sealed(valid()[: -CHAIN_BYTES - CHECKSUM_BYTES] + bytes(CHAIN_BYTES)),
    "another checksum": lambda: valid()[:-CHECKSUM_BYTES] + bytes(CHECKSUM_BYTES),
    "deep nesting": lambda: sealed(b"\x01" + b"\x91" * 100_000 + bytes(16)),
    "a long list that is not there": lambda: sealed(b"\x01\xdd\xff\xff\xff\xff" + bytes(16)),
}


@pytest.mark.parametrize("name", BYTES)
def test_bytes_that_are_no_block(victim: Api, name: str) -> None:
    with nothing_changes(victim):
        stranger().push(victim, BYTES[name]())


BIG = 2**64 - 1
OPERATIONS: dict[str, Any] = {
    "unknown type": [9, b"evil", b"v"],
    "negative type": [-1, b"evil", b"v"],
    "type true": [True, b"evil", 1, 1, 0],
    "type 2.0": [2.0, b"evil", 1, 1, 0],
    "type a map": [{}, b"evil", b"v"],
    "no key": [4],
    "empty key": [4, b"", b"v", []],
    "text key": [4, "evil", b"v", []],
    "list key": [4, [b"evil"], b"v", []],
    "key of 481 bytes": [4, b"e" * 481, b"v", []],
    "key of 600 bytes": [3, b"e" * 600, b"v"],
    "text value": [4, b"evil", "v", []],
    "odd dots": [4, b"evil", b"v", [1]],
    "negative dots": [4, b"evil", b"v", [-1, -1]],
    "text dots": [4, b"evil", b"v", ["1", "2"]],
    "nested dots": [4, b"evil", b"v", [[1], [2]]],
    "register with a number": [3, b"evil", 5],
    "register too long": [3, b"evil", b"v", b"v"],
    "slot of the future": [2, b"evil", 2, 5, 0],
    "slot 0": [2, b"evil", 0, 5, 0],
    "negative total": [2, b"evil", 1, -5, 0],
    "half a total": [2, b"evil", 1, 0.5, 0],
    "G counter that takes away": [1, b"evil", 1, 0, 5],
    "odd baseline": [2, b"evil", [1, 2, 3]],
    "negative baseline": [2, b"evil", [1, 2, 3, -4]],
    "baseline of a G counter that takes away": [1, b"evil", [1, 1, 0, 5]],
    "a number": 1,
    "a text": "evil",
    "nothing": None,
    "a map": {"evil": 1},
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_well_formed_blocks_with_bad_operations(victim: Api, name: str) -> None:
    """Refused whole, before they are logged: what is logged is replayed for ever."""
    region = stranger()
    with nothing_changes(victim):
        region.push(victim, region.block(OPERATIONS[name]))
        region.push(victim, stranger().block([4, b"evil", b"v", []], OPERATIONS[name])[:-1])


@pytest.mark.parametrize(
    "operation",
    [
        [1, b"huge g", 1, BIG, 0],
        [2, b"huge pn", 1, BIG, BIG],
        [2, b"huge base", [BIG, BIG, BIG, BIG]],
        [4, b"huge dots", b"v", [BIG, BIG]],
        [4, b"long" + b"\xff" * 476, bytes(1 << 20), []],
        0,
    ],
    ids=["G", "PN", "baseline", "dots", "long", "void"],
)
def test_extreme_but_valid_operations_are_kept(victim: Api, operation: Any) -> None:
    """And shown, and survive the checkpoint that the fixture's stop makes."""
    region = stranger()
    has = vector(region.push(victim, region.block(operation)).vector)
    assert has[region.origin] == 1
    if operation:
        assert victim.inspect(operation[1]).cells
    victim.scan()
    victim.delete(b"long" + b"\xff" * 476)


def test_two_histories_under_one_origin_are_a_fork(start: Start) -> None:
    """The origin is fenced, and named in the status; all others go on."""
    process, api = start()
    left, right, other = Impostor(50), Impostor(50), Impostor(51)
    left.push(api, left.block([4, b"k", b"left", []]))
    right.push(api, right.block([4, b"k", b"right", []]))
    left.push(api, left.block([4, b"k", b"left again", []]))
    other.push(api, other.block([4, b"other", b"v", []]))
    assert api.values(b"k") == [b"left"]
    assert api.values(b"other") == [b"v"]
    (fork,) = api.status().forks
    assert (fork.origin, fork.node, bool(fork.reason)) == (50, "impostor", True)
    assert api.put(b"k2", b"v").result.dot.seq == 1
    process.stop(trouble=COMPLAINTS)
    _, api = start()
    assert [fork.origin for fork in api.status().forks] == [50]


def test_a_peer_with_more_of_our_writes_than_we_have_takes_our_identity_away(
    start: Start,
) -> None:
    """Trap 1: an old copy of the directory was put back: its next writes would fork our history.

    It starts again under a new identity and takes no call until a member has answered.
    """
    process, api = start()
    api.put(b"k", b"v")
    old = api.status().origin
    region = Impostor(50)
    region.push(api, has={old: 9})

    def under_a_new_identity() -> bool:
        try:
            return api.status().origin != old
        except grpc.RpcError:  # it is starting again
            return False

    until(under_a_new_identity, "a new identity")
    assert api.status().state == "returning"
    found = refusal(lambda: api.put(b"k", b"w"))
    assert found.info.reason == Reason.JOINING
    assert found.code is grpc.StatusCode.UNAVAILABLE
    process.stop(trouble="no more calls are taken|" + COMPLAINTS)


def test_a_node_can_always_read_what_it_writes(start: Start) -> None:
    """Even after a block at the end of time, from which its own clock cannot go on."""
    process, api = start()
    region = Impostor(50)
    region.push(api, region.block([3, b"k", b"end of time"], hlc=HLC_MAX - 1))
    accepted = []
    for value in (b"1", b"2", b"3"):
        if failed(lambda: api.put(b"mine", value)) is None:  # noqa: B023 - called at once
            accepted = [value]
    process.kill()
    _, api = start()
    assert api.values(b"mine") == accepted
