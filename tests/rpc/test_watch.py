"""Watches over a real node: any gRPC client's view."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from kvnode.core.errors import Reason
from kvnode.v1 import kv_pb2, watch_pb2, watch_pb2_grpc
from tests.node.process import NodeProcess, until

from .api import CALL_S, LWW_REGISTER, Api, delete, failed, put, refusal_of

Start = Callable[..., tuple[NodeProcess, Api]]
KIB = 1 << 10
WATCH_S = 60.0
"""Deadline of a watch: a test does many calls beside it."""


class Reader:
    """One call."""

    def __init__(self, api: Api, prefix: bytes = b"", **fields: Any) -> None:
        stub: Any = watch_pb2_grpc.WatchesStub(api.channel)  # type: ignore[no-untyped-call]
        request = watch_pb2.WatchRequest(prefix=prefix, **({"heartbeat_ms": 100} | fields))
        self.call: Any = stub.Watch(request, timeout=WATCH_S)
        self.token = b""
        self.told: list[int] = []
        """Sequence numbers of the writes."""

    def __iter__(self) -> Iterator[watch_pb2.WatchResponse]:
        for response in self.call:
            self.token = response.token or self.token
            self.told += [write.dot.seq for each in response.changes for write in each.writes]
            yield response

    def changes(self, count: int) -> list[watch_pb2.Change]:
        """The next ones; a response is never left half read."""
        found: list[watch_pb2.Change] = []
        while len(found) < count:
            found += next(iter(self)).changes
        assert len(found) == count
        return found

    def reason(self) -> str:
        """How it ends; the token in the error is the last one."""
        error = failed(lambda: [*self])
        assert error is not None
        found = refusal_of(error)
        assert found is not None, error
        if self.token:
            assert found.info.metadata["token"] == self.token.hex()
        return str(found.info.reason)


def begun(api: Api, prefix: bytes = b"", **fields: Any) -> Reader:
    """A watch that the node has begun."""
    reader = Reader(api, prefix, **fields)
    assert not next(iter(reader)).changes
    return reader


def test_changes_of_a_prefix_arrive_with_states_and_what_was_done(api: Api, key: bytes) -> None:
    reader = begun(api, key)
    stored = api.put(key + b"/a", b"1").result
    api.put(b"another", b"x")
    api.write(put(key + b"/b", b"2", type=LWW_REGISTER), delete(key + b"/a"))
    found = reader.changes(1) + reader.changes(2)
    assert found[0].state.siblings.values[0].dot == stored.dot
    assert found[0].state.context == stored.context
    assert [
        (change.state.key[len(key) :], write.kind, write.type)
        for change in found
        for write in change.writes
    ] == [(b"/a", 1, 4), (b"/b", 1, 3), (b"/a", 3, 4)]
    assert found[0].writes[0].dot == stored.dot
    assert api.batch_get(key + b"/b").states[0] == found[1].state
    reader.call.cancel()


def test_a_quiet_watch_gives_signs_of_life_with_its_token(api: Api, key: bytes) -> None:
    reader = begun(api, key)
    for response in [next(iter(reader)) for _ in range(3)]:
        assert response.token
        assert not response.changes
    reader.call.cancel()


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"heartbeat_ms": 99}, Reason.BAD_REQUEST),
        ({"heartbeat_ms": 60_001}, Reason.BAD_REQUEST),
        ({"since": b"x", "existing": True}, Reason.BAD_REQUEST),
        ({"since": b"x"}, Reason.BAD_TOKEN),
        ({"prefix": bytes(481)}, Reason.BAD_KEY),
    ],
)
def test_what_makes_no_sense_is_refused(api: Api, fields: dict[str, Any], reason: Reason) -> None:
    assert Reader(api, **fields).reason() == reason


def test_a_restarted_node_goes_on_behind_the_token(start: Start) -> None:
    """kill -9 in the middle: each write is told once, whichever process tells of it."""
    process, api = start()
    reader = begun(api)
    api.put(b"k1", b"v")
    reader.changes(1)
    api.put(b"k2", b"v")
    process.kill()
    assert failed(lambda: [*reader]) is not None
    _, api = start()
    api.put(b"k3", b"v")
    again = Reader(api, since=reader.token)
    while 3 not in again.told:
        next(iter(again))
    assert reader.told + again.told == [1, 2, 3]
    again.call.cancel()


def test_a_reader_that_stops_reading_holds_nothing_up_and_nothing_in_memory(start: Start) -> None:
    """gRPC's flow control ends where its windows do; the rest waits in the log."""
    process, api = start("own", "--name", "slow")
    apis = [Api(process.address) for _ in range(10)]
    readers = [begun(each) for each in apis]
    other = begun(api)
    before = resident(process)
    names = [b"key%03d" % number for number in range(160)]
    for name in names:
        api.put(name, bytes(256 * KIB), type=LWW_REGISTER)
        assert [change.state.key for change in other.changes(1)] == [name]
    grown = resident(process) - before
    assert grown < 5 * len(names) * 256 * KIB, "half of what it would be if it were queued"
    assert [change.state.key for change in readers[0].changes(len(names))] == names
    for each in apis:
        each.close()
    other.call.cancel()
    process.stop()


def resident(process: NodeProcess) -> int:
    """Private bytes of the process: not those of the files it maps."""
    with open(f"/proc/{process.process.pid}/status") as status:  # noqa: PTH123 - not a file
        line = next(line for line in status if line.startswith("RssAnon"))
    return int(line.split()[1]) * KIB


@pytest.mark.parametrize("reading", [True, False])
def test_a_node_that_stops_says_so_to_its_watches(start: Start, *, reading: bool) -> None:
    """Also to one that nobody reads, which gRPC holds in the middle of a message."""
    process, api = start("own", "--name", "stopping")
    reader = begun(api)
    if not reading:
        for number in range(24):
            api.put(b"key%d" % number, bytes(512 * KIB))
    process.stop()
    if reading:
        assert reader.reason() == Reason.STOPPING
    else:
        error = failed(lambda: [*reader])
        assert error is not None
        assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


def test_more_watches_than_a_node_takes_are_refused(start: Start, tmp_path: Any) -> None:
    settings = tmp_path / "kvnode.toml"
    settings.write_text("watches_max = 2\nwatch_heartbeat_ms = 100\n")
    _, api = start("own", "--config", str(settings))
    first, second = begun(api, heartbeat_ms=0), begun(api, heartbeat_ms=0)
    assert Reader(api).reason() == Reason.TOO_MANY_WATCHES
    assert api.status().watches == 2
    first.call.cancel()
    second.call.cancel()
    until(lambda: api.status().watches == 0, "no watch is open")
    status = kv_pb2.GetRequest(key=b"k")
    assert failed(lambda: api.kv.Get(status, timeout=CALL_S)) is not None  # it serves on
