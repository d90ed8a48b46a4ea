"""A write whose reply was lost is never done twice, and never called certain when it is not."""

from __future__ import annotations

import inspect
import re
import textwrap
import threading
import time
from collections.abc import Callable

import grpc
import pytest
from grpc import StatusCode

from kvnode import Client, Increment, InvalidArgument, KvnodeError, OutcomeUnknown
from tests.client.scripted import (
    Answer,
    ScriptedNode,
    fail,
    free_port,
    hang,
    refuse,
    serving,
    succeed,
)

LOST = fail(StatusCode.UNAVAILABLE, "Socket closed")
STOPPING = refuse(StatusCode.UNAVAILABLE, "STOPPING", "the node is stopping")


@pytest.mark.parametrize(
    "code",
    [
        StatusCode.UNAVAILABLE,
        StatusCode.DEADLINE_EXCEEDED,
        StatusCode.CANCELLED,
        StatusCode.INTERNAL,
        StatusCode.UNKNOWN,
        StatusCode.RESOURCE_EXHAUSTED,
    ],
)
def test_a_write_whose_reply_was_lost_is_asked_again_there(
    both: Client, node: ScriptedNode, other: ScriptedNode, code: StatusCode
) -> None:
    """With the same id, so that it is done once; another node does not know the id."""
    node.script = [fail(code), fail(code), succeed]
    assert both.increment("k").endpoint == node.address
    assert len(node.calls) == 3
    assert len(set(node.request_ids)) == 1
    assert node.calls[0] == node.calls[2]
    assert other.calls == []


def test_a_write_without_any_reply_is_of_unknown_outcome(
    node: ScriptedNode, other: ScriptedNode
) -> None:
    node.script = [LOST] * 1000
    with Client([node.address, other.address], timeout_s=1) as client:
        began = time.monotonic()
        with pytest.raises(OutcomeUnknown, match="increment of key 'k'") as raised:
            client.increment("k")
        assert time.monotonic() - began > 0.9
    assert raised.value.endpoint == node.address
    assert set(node.request_ids) == {raised.value.request_id}
    assert len(node.calls) < 10  # the pauses grow, and the deadline ends them
    assert isinstance(raised.value.__cause__, grpc.RpcError)
    assert other.calls == []


def test_a_write_to_a_hanging_node_is_of_unknown_outcome(
    node: ScriptedNode, other: ScriptedNode
) -> None:
    node.script = [hang]
    with (
        Client([node.address, other.address], timeout_s=0.5) as client,
        pytest.raises(OutcomeUnknown),
    ):
        client.put("k", "v")
    assert other.calls == []


@pytest.mark.parametrize(
    "answer",
    [
        STOPPING,
        refuse(StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL", retry_after_s=0.01),
    ],
)
def test_a_busy_node_is_asked_on_after_a_lost_reply(
    both: Client, node: ScriptedNode, other: ScriptedNode, answer: Answer
) -> None:
    """A refusal of the second request says nothing of the first one."""
    node.script = [LOST, answer, answer, succeed]
    assert both.increment("k").endpoint == node.address
    assert len(set(node.request_ids)) == 1
    assert other.calls == []


@pytest.mark.parametrize(
    "answer",
    [
        refuse(StatusCode.FAILED_PRECONDITION, "COUNTER_OVERFLOW"),
        fail(StatusCode.UNIMPLEMENTED),
    ],
)
def test_a_refusal_after_a_lost_reply_leaves_the_outcome_unknown(
    both: Client, node: ScriptedNode, answer: Answer
) -> None:
    node.script = [LOST, answer]
    with pytest.raises(OutcomeUnknown):
        both.increment("k")
    assert len(node.calls) == 2


def test_a_wrong_request_was_wrong_the_first_time_too(client: Client, node: ScriptedNode) -> None:
    node.script = [LOST, refuse(StatusCode.INVALID_ARGUMENT, "BAD_CONTEXT")]
    with pytest.raises(InvalidArgument):
        client.put("k", "v", context=b"forged")


@pytest.mark.parametrize("place", [OutcomeUnknown, Client])
def test_the_recipe_of_the_documentation_works(node: ScriptedNode, place: type) -> None:
    """Its code, run as it stands there."""
    text = inspect.cleandoc(place.__doc__ or "").partition("::\n\n")[2]
    code = textwrap.dedent(re.split(r"\n\n(?=\S)", text)[0])
    node.script = [LOST, fail(StatusCode.UNIMPLEMENTED)]
    with Client(node.address) as client:
        names = {"client": client, "Client": Client, "OutcomeUnknown": OutcomeUnknown}
        exec(code, names)
    assert names["receipt"].endpoint == node.address  # type: ignore[attr-defined]
    assert len(node.calls) == 3
    assert node.calls[0] == node.calls[1] == node.calls[2]


def test_advice_on_an_unknown_outcome_names_what_is_safe(node: ScriptedNode) -> None:
    again = f"ask {node.address} again with the same request_id"
    calls: tuple[tuple[Callable[[Client], object], str], ...] = (
        (lambda client: client.increment("k"), again),
        (lambda client: client.put("k", "v"), again),
        (lambda client: client.write([Increment("k")]), again),
        (
            lambda client: client.put("k", "v", context=b"c"),
            again + ", or repeat it with the same context",
        ),
        (
            lambda client: client.delete("k", context=b"c"),
            again + ", or repeat it with the same context",
        ),
    )
    with Client(node.address) as client:
        for call, advice in calls:
            node.script = [LOST, fail(StatusCode.UNIMPLEMENTED)]
            with pytest.raises(OutcomeUnknown, match=f"{advice}$"):
                call(client)


def test_an_unknown_outcome_can_be_asked_for(node: ScriptedNode) -> None:
    node.script = [LOST] * 1000
    with Client(node.address, timeout_s=0.3) as client:
        with pytest.raises(OutcomeUnknown) as raised:
            client.increment("k", 7)
        node.script.clear()
        unknown = raised.value
    with Client(unknown.endpoint) as same:
        same.increment("k", 7, request_id=unknown.request_id)
    assert node.calls[-1] == node.calls[0]


def test_a_node_that_restarts_with_the_write_in_its_hands_is_asked_again() -> None:
    """The connection really breaks here."""
    node = ScriptedNode(free_port())
    arrived, broken = threading.Event(), threading.Event()

    def crash(_request: object, context: grpc.ServicerContext) -> None:
        context.add_callback(broken.set)
        arrived.set()
        broken.wait(100)
        context.abort(StatusCode.CANCELLED, "")

    node.script = [crash]  # type: ignore[list-item]
    replies: list[object] = []
    with Client(node.address, timeout_s=10) as client:
        worker = threading.Thread(target=lambda: replies.append(client.increment("k").counter))
        with serving(node):
            worker.start()
            assert arrived.wait(100)
        with serving(node):
            worker.join(60)
    assert replies == [5]
    assert len(node.calls) == 2
    assert node.calls[0] == node.calls[1]


def test_closing_ends_a_call_of_another_thread(node: ScriptedNode) -> None:
    arrived = threading.Event()

    def note_and_hang(request: object, context: grpc.ServicerContext) -> None:
        arrived.set()
        hang(request, context)

    node.script = [note_and_hang]  # type: ignore[list-item]
    failures: list[BaseException] = []
    client = Client(node.address, timeout_s=30)

    def work() -> None:
        try:
            client.increment("k")
        except KvnodeError as error:
            failures.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    assert arrived.wait(100)
    client.close()
    worker.join(60)
    assert not worker.is_alive()
    assert [type(error) for error in failures] == [OutcomeUnknown]
