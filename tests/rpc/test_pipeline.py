"""The Pipeline RPC of a real node: the same calls on one stream."""

from __future__ import annotations

import os
import queue
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from kvnode.core.errors import Reason
from kvnode.v1 import kv_pb2
from tests.node.process import NodeProcess

from .api import CALL_S, METHODS, Api, failed, put, refusal

REQUESTS = 300
SERVICE = "/kvnode.v1.KeyValue/"


class Talk:
    """A stream of which the test is the caller."""

    def __init__(self, api: Api) -> None:
        self._messages: queue.SimpleQueue[kv_pb2.PipelineRequests | None] = queue.SimpleQueue()
        self.replies: Any = api.kv.Pipeline(iter(self._messages.get, None), timeout=CALL_S)

    def ask(self, *requests: kv_pb2.PipelineRequest) -> None:
        """In one message."""
        self._messages.put(kv_pb2.PipelineRequests(requests=requests))

    def half_close(self) -> None:
        """No more."""
        self._messages.put(None)

    def heard(self, count: int) -> dict[int, kv_pb2.PipelineReply]:
        """So many replies, by number."""
        found: dict[int, kv_pb2.PipelineReply] = {}
        while len(found) < count:
            found.update((reply.number, reply) for reply in next(self.replies).replies)
        return found


def asked(number: int, request: Any, timeout_ms: int = 0) -> kv_pb2.PipelineRequest:
    return kv_pb2.PipelineRequest(
        number=number,
        method=METHODS[type(request)].removeprefix(SERVICE),
        request=request.SerializeToString(),
        timeout_ms=timeout_ms,
    )


@pytest.fixture
def talk(api: Api) -> Iterator[Talk]:
    found = Talk(api)
    yield found
    found.half_close()
    assert list(found.replies) == []


def test_every_call_of_one_request_and_one_reply_can_go_on_a_stream(
    talk: Talk, api: Api, key: bytes
) -> None:
    own = os.urandom(16)
    requests: list[Any] = [
        kv_pb2.PutRequest(put=kv_pb2.Put(key=key, value=b"v"), request_id=own),
        kv_pb2.IncrementRequest(increment=kv_pb2.Increment(key=key + b"n", amount=2)),
        kv_pb2.WriteRequest(operations=[put(key + b"w", b"w")]),
        kv_pb2.WriteManyRequest(requests=[kv_pb2.WriteRequest(operations=[put(key, b"2")])]),
        kv_pb2.GetRequest(key=key),
        kv_pb2.BatchGetRequest(keys=[key]),
        kv_pb2.OutcomeRequest(request_id=own),
        kv_pb2.ScanRequest(prefix=key, limit=1),
        kv_pb2.ListConflictsRequest(prefix=key),
        kv_pb2.DeleteRequest(delete=kv_pb2.Delete(key=key + b"w")),
    ]
    unary = {type(each) for each in requests}
    assert unary == {kind for kind, path in METHODS.items() if path.startswith(SERVICE)}
    replies = {}
    for number, request in enumerate(requests, 1):
        talk.ask(asked(number, request))
        replies.update(talk.heard(1))
    assert [reply.WhichOneof("kind") for reply in replies.values()] == ["reply"] * len(requests)
    assert kv_pb2.GetResponse.FromString(replies[5].reply).state == api.get(key)
    assert kv_pb2.OutcomeResponse.FromString(replies[7].reply).known


def test_a_refusal_is_that_of_a_call(talk: Talk, api: Api, key: bytes) -> None:
    request = kv_pb2.GetRequest(key=key)
    talk.ask(asked(1, request), asked(2, kv_pb2.BatchGetRequest(keys=[key])))
    replies = talk.heard(2)
    error = failed(lambda: api.get(key))
    assert error is not None
    assert replies[1].error == rpc_status.from_call(error)
    assert replies[2].HasField("reply")


def test_what_is_too_much_is_refused_in_words_and_the_rest_is_done(
    start: Callable[..., tuple[NodeProcess, Api]], tmp_path: Path
) -> None:
    """Of calls, gRPC would cancel some, and nobody would know what became of them."""
    settings = tmp_path / "small.toml"
    settings.write_text("queue_operations_max = 1000\nround_operations_max = 500\n")
    _, api = start("own", "--config", str(settings))
    talk = Talk(api)
    requests = []
    for number in range(1, REQUESTS + 1):
        puts = [put(b"%d/%d" % (number, n), b"v") for n in range(100)]
        requests.append(asked(number, kv_pb2.WriteRequest(operations=puts)))
    talk.ask(*requests)
    replies = talk.heard(REQUESTS)
    refused = {number for number, reply in replies.items() if reply.HasField("error")}
    assert 0 < len(refused) < REQUESTS
    for number in refused:
        told = ErrorInfo()
        assert replies[number].error.details[0].Unpack(told)
        assert told.reason == Reason.QUEUE_FULL
    done = {int(name.partition(b"/")[0]) for name in api.names()}
    assert done == replies.keys() - refused
    talk.half_close()


def test_a_stopping_node_says_so_and_ends_the_stream_behind_its_answers(
    start: Callable[..., tuple[NodeProcess, Api]], key: bytes
) -> None:
    process, api = start()
    silent, polite = Talk(api), Talk(api)
    for talk in (silent, polite):
        talk.ask(asked(1, kv_pb2.WriteRequest(operations=[put(key, b"v", blind=True)])))
        assert talk.heard(1)[1].HasField("reply")
    process.process.send_signal(signal.SIGTERM)
    for talk in (silent, polite):
        assert next(talk.replies).closing
    polite.half_close()
    assert list(polite.replies) == []
    assert refusal(lambda: list(silent.replies)).info.reason == Reason.STOPPING
    silent.half_close()
    process.stop()


def test_a_caller_that_goes_is_no_error_in_the_log(
    start: Callable[..., tuple[NodeProcess, Api]], key: bytes
) -> None:
    process, api = start()
    talk = Talk(api)
    talk.ask(asked(1, kv_pb2.WriteRequest(operations=[put(key, b"v")])))
    assert talk.heard(1)[1].HasField("reply")
    after = kv_pb2.ReadOptions(after={"entries": [{"origin": 77, "seq": 1}]})
    talk.ask(asked(2, kv_pb2.GetRequest(key=key, options=after)))  # waits for what never comes
    talk.ask(asked(3, kv_pb2.GetRequest(key=key)))
    assert 3 in talk.heard(1)
    talk.replies.cancel()
    talk.half_close()
    assert api.values(key) == [b"v"]
    process.stop()
    assert "Traceback" not in process.stderr
    assert "ERROR" not in process.stderr
