"""What a real node gives rarely: lost replies, refusals, values that arrive in between."""

from __future__ import annotations

import pytest
from grpc import StatusCode

from kvnode.cli.commands import run
from kvnode.v1 import kv_pb2, types_pb2
from tests.client.scripted import (
    DOT,
    Answer,
    ScriptedNode,
    fail,
    hang,
    refuse,
    reply,
    scripted_node,
    succeed,
)


def state(*values: bytes, context: bytes = b"seen") -> Answer:
    """A key with these siblings."""
    siblings = [
        types_pb2.StoredValue(
            value=value, dot=types_pb2.Dot(origin=DOT.origin, seq=number), time_ms=number, node="X"
        )
        for number, value in enumerate(values, start=1)
    ]
    return reply(
        kv_pb2.GetResponse(
            state=types_pb2.KeyState(
                key=b"k", context=context, siblings=types_pb2.Siblings(values=siblings)
            )
        )
    )


@pytest.mark.parametrize(
    ("answer", "code", "advice"),
    [
        (refuse(StatusCode.FAILED_PRECONDITION, "CLOCK_OFF", "because"), 5, "because"),
        (refuse(StatusCode.INVALID_ARGUMENT, "BAD_VALUE", "because"), 6, "because"),
        (refuse(StatusCode.UNAVAILABLE, "STOPPING"), 7, "try again"),
        (refuse(StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL", retry_after_s=0.5), 9, "in 0.5 s"),
        (refuse(StatusCode.RESOURCE_EXHAUSTED, "DISK_FULL"), 9, "make room"),
        (refuse(StatusCode.DATA_LOSS, "STATE_DAMAGED"), 10, "--endpoint"),
        (fail(StatusCode.UNIMPLEMENTED), 1, "is no kvnode"),
        (fail(StatusCode.UNAVAILABLE), 8, "it may have happened or not"),
        (hang, 8, "read the key there before you repeat it"),
    ],
)
def test_writes_that_fail(
    capfd: pytest.CaptureFixture[str], answer: Answer, code: int, advice: str
) -> None:
    with scripted_node(*[answer] * 100) as node:
        assert run(["put", "k", "v", "--blind", "-e", node.address, "--timeout", "0.5"]) == code
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("Error: ")
    assert err.count("\n") == 1
    assert advice in err


@pytest.mark.parametrize(
    ("answer", "code"),
    [(hang, 7), (fail(StatusCode.UNAVAILABLE), 7), (fail(StatusCode.INTERNAL), 1)],
)
def test_reads_that_fail(capfd: pytest.CaptureFixture[str], answer: Answer, code: int) -> None:
    with scripted_node(*[answer] * 4) as node:
        assert run(["get", "k", "-e", node.address, "--timeout", "0.5"]) == code
    assert capfd.readouterr().err.count("\n") == 1


def test_a_message_of_several_lines_becomes_one(capfd: pytest.CaptureFixture[str]) -> None:
    with scripted_node(refuse(StatusCode.INVALID_ARGUMENT, "BAD_KEY", "a\nb\x1b[0m")) as node:
        assert run(["get", "k", "-e", node.address]) == 6
    assert capfd.readouterr().err == "Error: a b\\x1b[0m\n"


def test_resolve_replaces_what_it_read_and_tells_of_what_it_did_not(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A value arrives between its reading and its writing; it must not be lost silently."""
    with scripted_node(state(b"a", b"b"), succeed, state(b"b", b"new")) as node:
        assert run(["resolve", "k", "--keep", "2", "-e", node.address]) == 4
    (put,) = node.calls[1][1].operations
    assert (put.put.value, put.put.context) == (b"b", b"seen")
    err = capfd.readouterr().err
    assert "meanwhile and survives" in err
    assert " new " in err


def test_resolve_that_cannot_read_back_has_resolved(capfd: pytest.CaptureFixture[str]) -> None:
    broken = [fail(StatusCode.UNAVAILABLE)] * 4  # gRPC asks the only endpoint again
    with scripted_node(state(b"a", b"b"), succeed, *broken) as node:
        assert run(["resolve", "k", "--keep", "2", "-e", node.address]) == 0
    assert "could not be read back" in capfd.readouterr().err


TYPES = kv_pb2.GetResponse(
    state=types_pb2.KeyState(
        key=b"k",
        context=b"seen",
        g_counter=types_pb2.CounterValue(value=3),
        pn_counter=types_pb2.CounterValue(value=-3),
        lww_register=types_pb2.StoredValue(value=b"r", dot=DOT, node="JFK"),
        siblings=types_pb2.Siblings(values=[types_pb2.StoredValue(value=b"s", dot=DOT)]),
    )
)


def write_of(node: ScriptedNode) -> list[tuple[str, int, bytes]]:
    """The batch that was sent: kind, type and context of each operation."""
    found = []
    for operation in node.calls[1][1].operations:
        kind = operation.WhichOneof("kind")
        item = getattr(operation, kind)
        found.append((kind, int(item.type), item.context))
    return found


@pytest.mark.parametrize(
    ("keep", "deleted"), [("1", [2, 3, 4]), ("2", [1, 3, 4]), ("3", [1, 2, 4]), ("4", [1, 2, 3])]
)
def test_one_type_of_several_is_kept_by_deleting_the_others(keep: str, deleted: list[int]) -> None:
    """In one batch, so that no replica sees the key without any."""
    results = [kv_pb2.WriteResult(dot=DOT)] * 3
    with scripted_node(
        reply(TYPES), reply(kv_pb2.WriteResponse(results=results)), state(b"v")
    ) as node:
        assert run(["resolve", "k", "--keep", keep, "-e", node.address]) == 0
    assert write_of(node) == [("delete", kind, b"seen") for kind in deleted]


def test_a_merged_value_takes_the_place_of_all_types() -> None:
    results = [kv_pb2.WriteResult(dot=DOT)] * 4
    with scripted_node(
        reply(TYPES), reply(kv_pb2.WriteResponse(results=results)), state(b"v")
    ) as node:
        assert run(["resolve", "k", "--value", "m", "-e", node.address]) == 0
    assert write_of(node) == [
        *(("delete", kind, b"seen") for kind in (1, 2, 3)),
        ("put", 4, b"seen"),
    ]


def test_a_key_of_several_types_shows_them_all(capfd: pytest.CaptureFixture[str]) -> None:
    with scripted_node(reply(TYPES), reply(TYPES)) as node:
        assert run(["siblings", "k", "-e", node.address]) == 0
        assert run(["get", "k", "-e", node.address]) == 4
    lines = capfd.readouterr().out.splitlines()
    assert [line.split()[1:4] for line in lines[2:6]] == [
        ["3", "g_counter"],
        ["-3", "pn_counter"],
        ["r", "lww_register", "JFK"],
        ["s", "siblings", "(unknown)"],
    ]
