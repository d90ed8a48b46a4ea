"""Errors: what they become, which endpoint is next, and that no write is done twice."""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import traceback
from collections.abc import Callable

import grpc
import pytest
from google.protobuf.message import Message
from grpc import StatusCode

from kvnode import (
    Client,
    DataDamaged,
    DeadlineExceeded,
    KeyNotFound,
    KvnodeError,
    NodeFailure,
    NodeUnavailable,
    RequestRefused,
    ResourceExhausted,
)
from kvnode.client.channels import Endpoint
from kvnode.core.errors import Reason
from kvnode.errors import CAUSE_CHARACTERS_MAX, CODES, EXCEPTIONS, cause_of
from tests.client.scripted import (
    Answer,
    ScriptedNode,
    fail,
    free_port,
    hang,
    refuse,
    serving,
)

UNAVAILABLE = StatusCode.UNAVAILABLE
GRPC_ATTEMPTS = 4
DAMAGED = refuse(StatusCode.DATA_LOSS, "STATE_DAMAGED", "the copy is damaged")
STOPPING = refuse(StatusCode.UNAVAILABLE, "STOPPING", "the node is stopping")
LOST = fail(StatusCode.UNAVAILABLE, "Socket closed")


# ---- what errors become


@pytest.mark.parametrize(
    "reason",
    [
        each
        for each, code in CODES.items()
        if code in EXCEPTIONS and each not in ("STOPPING", "KEY_NOT_FOUND")
    ],
)
def test_a_refusal_arrives_whole(client: Client, node: ScriptedNode, reason: Reason) -> None:
    """Exception, reason, message, facts and hint, for reads and for writes.

    At the first try, but that gRPC asks the only endpoint again what is UNAVAILABLE, reads only.
    """
    code = CODES[reason]
    answer = refuse(code, reason, "because", retry_after_s=1.5, limit="9")
    calls: tuple[Callable[[], object], ...] = (
        lambda: client.get("k"),
        lambda: client.put("k", "v"),
    )
    for call, attempts in zip(calls, (GRPC_ATTEMPTS if code is UNAVAILABLE else 1, 1), strict=True):
        node.script, node.calls = [answer] * attempts, []
        with pytest.raises(EXCEPTIONS[code], match="because") as raised:
            call()
        error = raised.value
        assert type(error) is EXCEPTIONS[code]
        assert isinstance(error, RequestRefused)
        assert (error.reason, error.facts) == (reason, {"limit": "9"})
        assert error.retry_after_s == 1.5
        assert "RpcError" not in "".join(traceback.format_exception(error))
        assert len(node.calls) == attempts


def test_an_absent_key_has_a_context(client: Client, node: ScriptedNode) -> None:
    node.script = [refuse(StatusCode.NOT_FOUND, "KEY_NOT_FOUND", context="0aff")]
    with pytest.raises(KeyNotFound) as raised:
        client.get("k")
    assert raised.value.context == b"\x0a\xff"
    assert raised.value.retry_after_s is None


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (fail(StatusCode.UNAVAILABLE), NodeUnavailable),
        (fail(StatusCode.CANCELLED), NodeUnavailable),
        (fail(StatusCode.DEADLINE_EXCEEDED), DeadlineExceeded),
        (fail(StatusCode.RESOURCE_EXHAUSTED), ResourceExhausted),
        (fail(StatusCode.INTERNAL), NodeFailure),
        (fail(StatusCode.UNKNOWN), NodeFailure),
        (fail(StatusCode.NOT_FOUND), NodeFailure),
        (fail(StatusCode.UNIMPLEMENTED), NodeFailure),
        (fail(StatusCode.PERMISSION_DENIED), NodeFailure),
        (refuse(StatusCode.NOT_FOUND, "KEY_NOT_FOUND", domain="example.com"), NodeFailure),
        (refuse(StatusCode.ABORTED, "SOMETHING_NEW"), NodeFailure),
    ],
)
def test_a_read_that_failed_otherwise(
    client: Client, node: ScriptedNode, answer: Answer, kind: type[KvnodeError]
) -> None:
    node.script = [answer] * GRPC_ATTEMPTS
    with pytest.raises(kind) as raised:
        client.get("k")
    assert type(raised.value) is kind
    assert isinstance(raised.value.__cause__, grpc.RpcError)


def test_a_call_that_the_node_cancels_says_what_to_do(client: Client, node: ScriptedNode) -> None:
    """gRPC does, of calls that a node cannot take up, and says nothing (``rpc/server.py``)."""
    node.script = [fail(StatusCode.CANCELLED)] * GRPC_ATTEMPTS
    with pytest.raises(NodeUnavailable, match="more wait there than it can take up"):
        client.get("k")


def test_a_damaged_copy_is_the_nodes_own_word(client: Client, node: ScriptedNode) -> None:
    node.script = [DAMAGED]
    with pytest.raises(DataDamaged, match="the copy is damaged") as raised:
        client.get("k")
    assert raised.value.__cause__ is None


def test_a_broken_error_detail_is_no_refusal(client: Client, node: ScriptedNode) -> None:
    def garbled(_request: object, context: grpc.ServicerContext) -> None:
        context.set_trailing_metadata((("grpc-status-details-bin", b"\xff\xff"),))
        context.abort(StatusCode.NOT_FOUND, "x")

    node.script = [garbled]  # type: ignore[list-item]
    with pytest.raises(NodeFailure):
        client.get("k")


def test_a_server_without_the_service_is_no_kvnode_for_writes_too(
    client: Client, node: ScriptedNode
) -> None:
    """Nothing was done, so it is not an unknown outcome."""
    node.script = [fail(StatusCode.UNIMPLEMENTED)]
    with pytest.raises(NodeFailure, match="is no kvnode"):
        client.put("k", "v")


ALL_ADDRESSES = "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:7102: "


@pytest.mark.parametrize(
    ("details", "cause"),
    [
        (
            ALL_ADDRESSES + "Failed to connect to remote host: Connection refused",
            "connection refused",
        ),
        (ALL_ADDRESSES + "Failed to connect to remote host: No route to host", "No route to host"),
        (ALL_ADDRESSES + "recvmsg:Connection reset by peer", "connection reset"),
        (ALL_ADDRESSES + "Failed parsing HTTP/2 (Expected SETTINGS)", "not a gRPC server"),
        (
            ALL_ADDRESSES + "Socket closed",
            "closed at once: does it want TLS, or another certificate?",
        ),
        ("errors resolving a: [field:hostname lookup error: x: y]", "host name not found"),
        ("Socket closed", "Socket closed"),
        ("", ""),
        ("x" * 200, "x" * (CAUSE_CHARACTERS_MAX - 3) + "..."),
    ],
)
def test_the_cause_of_a_broken_connection_is_short(details: str, cause: str) -> None:
    assert cause_of(details) == cause


# ---- where a call goes


def test_the_first_endpoint_is_asked_first(
    both: Client, node: ScriptedNode, other: ScriptedNode
) -> None:
    for _ in range(3):
        both.get("k")
    assert (len(node.calls), len(other.calls)) == (3, 0)


@pytest.mark.parametrize("answer", [STOPPING, DAMAGED, LOST, fail(StatusCode.INTERNAL)])
def test_a_read_goes_on_and_stays_there(
    both: Client, node: ScriptedNode, other: ScriptedNode, answer: Answer
) -> None:
    node.script = [answer]
    assert both.get("k").one().value == b"v"
    assert both.get("k").one().value == b"v"
    assert (len(node.calls), len(other.calls)) == (1, 2)


def test_a_read_does_not_wait_for_a_hanging_node_until_its_deadline(
    node: ScriptedNode, other: ScriptedNode
) -> None:
    given_s: list[float] = []

    def hang_for_what_is_given(request: object, context: grpc.ServicerContext) -> Message:
        given_s.append(context.time_remaining() or math.inf)
        return hang(request, context)

    node.script = [hang_for_what_is_given]
    with Client([node.address, other.address], timeout_s=3) as both:
        assert both.get("k").one().value == b"v"
    assert given_s[0] < 1.6  # half of the 3 s, as gRPC rounds it


@pytest.mark.parametrize(
    "answer",
    [
        refuse(StatusCode.INVALID_ARGUMENT, "BAD_KEY"),
        refuse(StatusCode.NOT_FOUND, "KEY_NOT_FOUND"),
        refuse(StatusCode.FAILED_PRECONDITION, "TYPE_CONFLICT"),
        refuse(StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL"),
    ],
)
def test_an_answer_is_an_answer(
    both: Client, node: ScriptedNode, other: ScriptedNode, answer: Answer
) -> None:
    """A refusal that does not speak of the node itself ends the call."""
    node.script = [answer, answer]
    with pytest.raises(RequestRefused):
        both.get("k")
    with pytest.raises(RequestRefused):
        both.increment("k")
    assert (len(node.calls), len(other.calls)) == (2, 0)


@pytest.mark.parametrize("answer", [STOPPING, DAMAGED])
def test_a_write_that_this_node_cannot_take_goes_on(
    both: Client, node: ScriptedNode, other: ScriptedNode, answer: Answer
) -> None:
    node.script = [answer]
    assert both.increment("k").endpoint == other.address
    assert both.increment("k").endpoint == other.address
    assert (len(node.calls), len(other.calls)) == (1, 2)


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Endpoints that were waited for in vain, and why; without a reason for the whole share."""
    found: list[tuple[str, str]] = []
    note = Endpoint.silent

    def noting(endpoint: Endpoint, now: float, why: str) -> None:
        found.append((endpoint.address, why))
        note(endpoint, now, why)

    monkeypatch.setattr(Endpoint, "silent", noting)
    return found


def test_endpoints_that_cannot_be_connected_are_skipped(
    node: ScriptedNode, silent: list[tuple[str, str]]
) -> None:
    """A refused connection is noticed at once, so it does not cost a share of the deadline."""
    dead = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    with Client([*dead, node.address], timeout_s=30) as client:
        assert client.increment("k").endpoint == node.address
        assert client.get("k").one().value == b"v"
    assert silent == [(address, "connection refused") for address in dead]
    assert node.methods == ["Write", "BatchGet"]


def test_an_endpoint_that_was_dead_is_asked_last(
    other: ScriptedNode, silent: list[tuple[str, str]]
) -> None:
    """Waiting for its next attempt to connect would cost seconds while another node is there."""
    middle = ScriptedNode(free_port())
    dead = f"127.0.0.1:{free_port()}"
    with Client([dead, middle.address, other.address], timeout_s=30) as client:
        with serving(middle):
            assert client.increment("k").endpoint == middle.address
        assert silent.pop() == (dead, "connection refused")
        assert client.get("k").one().value == b"v"
        assert [address for address, _ in silent] == [middle.address]
    assert other.methods == ["BatchGet"]


def test_with_no_node_at_all_reads_and_writes_are_certain_failures() -> None:
    dead = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    with Client(dead, timeout_s=1) as client:
        for call in (client.get, client.increment):
            with pytest.raises(NodeUnavailable) as raised:
                call("k")
            assert str(raised.value) == (
                f"no node can be reached at {dead[0]} (connection refused),"
                f" {dead[1]} (connection refused)"
            )


def test_why_no_node_can_be_reached_is_said() -> None:
    """Also the second time, when gRPC rests between two attempts and tells nothing itself."""
    with (
        socket.create_server(("127.0.0.1", 0)) as web,
        Client(["no-such-host.invalid:7080", address_of(web)], timeout_s=0.5) as client,
    ):
        threading.Thread(target=answer_as_web_server, args=(web,), daemon=True).start()
        for _ in range(2):
            with pytest.raises(NodeUnavailable) as raised:
                client.get("k")
            assert str(raised.value) == (
                "no node can be reached at no-such-host.invalid:7080 (host name not found),"
                f" {address_of(web)} (not a gRPC server)"
            )
        web.shutdown(socket.SHUT_RDWR)


def test_a_node_that_takes_connections_and_does_not_answer_is_said() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        Client(address_of(silent), timeout_s=0.3) as client,
        pytest.raises(NodeUnavailable, match="no answer in time"),
    ):
        client.get("k")


def address_of(server: socket.socket) -> str:
    """Where it listens."""
    return f"127.0.0.1:{server.getsockname()[1]}"


def answer_as_web_server(server: socket.socket) -> None:
    """HTTP/1.1 to whoever connects, until the listening socket is shut down."""
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection, contextlib.suppress(OSError):
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def test_when_every_endpoint_failed_all_are_named(
    both: Client, node: ScriptedNode, other: ScriptedNode
) -> None:
    node.script = [STOPPING]
    other.script = [fail(StatusCode.INTERNAL, "boom")]
    with pytest.raises(NodeFailure) as raised:
        both.get("k")
    assert str(raised.value) == (
        f"no endpoint answered: the node is stopping; {other.address} answered INTERNAL: boom"
    )
    node.script, other.script = [STOPPING], [STOPPING]
    with pytest.raises(NodeUnavailable) as stopped:
        both.put("k", "v")
    assert stopped.value.reason == "STOPPING"


def test_a_node_that_comes_back_is_found_again() -> None:
    node = ScriptedNode(free_port())
    with Client(node.address, timeout_s=5) as client:
        with serving(node):
            client.get("k")
        with pytest.raises(NodeUnavailable):
            client.get("k")
        with serving(node):
            assert client.increment("k").counter == 5
            assert client.get("k").one().value == b"v"


def test_a_write_after_a_pause_is_not_sent_to_a_node_that_went(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The node stops between two writes: nothing was sent, so the next one takes it."""
    monkeypatch.setattr("kvnode.client.failover.FRESH_S", 0)
    first, second = ScriptedNode(free_port()), ScriptedNode(free_port())
    with serving(second), Client([first.address, second.address]) as client:
        with serving(first):
            assert client.increment("k").endpoint == first.address
        assert client.increment("k").endpoint == second.address


def test_a_write_right_behind_another_goes_on_where_there_is_no_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The node counts as there, so it is not asked first; gRPC says that the write never left."""
    monkeypatch.setattr("kvnode.client.failover.FRESH_S", 60)
    first, second = ScriptedNode(free_port()), ScriptedNode(free_port())
    with serving(second), Client([first.address, second.address]) as client:
        with serving(first):
            assert client.increment("k").endpoint == first.address
        assert client.increment("k").endpoint == second.address
        assert client.get("k").one().value == b"v"


def test_a_write_is_not_sent_to_a_node_that_is_connected_but_hangs(other: ScriptedNode) -> None:
    """The kernel takes the connection of a stopped process; only an answer shows that it runs."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with Client([address, other.address], timeout_s=2) as client:
            assert client.increment("k").endpoint == other.address
            assert client.increment("k").endpoint == other.address
