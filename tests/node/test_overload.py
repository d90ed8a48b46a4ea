"""What a node's stream of calls refuses: writes that have waited too long behind its own work."""

from __future__ import annotations

from pathlib import Path

import grpc
import grpc.aio
import pytest

from kvnode.client.pipeline import PATH
from kvnode.node.node import Node
from kvnode.rpc import lateness
from kvnode.v1 import kv_pb2

from .nodes import Nodes, run

WAITED_MS = 1_200


GET = kv_pb2.BatchGetRequest(keys=[b"key"])
INVALID = kv_pb2.WriteRequest()
"""Refused in another way: one that is taken waits for the disk."""


async def refused(
    node: Node, *requests: kv_pb2.BatchGetRequest | kv_pb2.WriteRequest
) -> list[bool]:
    """Which of these, that have waited, are too much: one after the other."""
    found = []
    async with grpc.aio.insecure_channel(f"127.0.0.1:{node.port}") as channel:
        call = channel.stream_stream(PATH)()  # type: ignore[var-annotated]
        for number, request in enumerate(requests, 1):
            one = kv_pb2.PipelineRequest(
                number=number,
                method=request.DESCRIPTOR.name.removesuffix("Request"),
                request=request.SerializeToString(),
                waited_ms=WAITED_MS,
            )
            await call.write(kv_pb2.PipelineRequests(requests=[one]).SerializeToString())
            raw = await call.read()
            assert isinstance(raw, bytes)
            answer = kv_pb2.PipelineReplies.FromString(raw)
            code = answer.replies[0].error.code
            found.append(code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0])
        await call.done_writing()
        assert await call.read() == grpc.aio.EOF
    return found


def test_what_waits_behind_a_node_at_work_is_refused_and_behind_an_idle_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lateness, "STANDING_S", 0.0)

    nodes = Nodes(tmp_path, "a")

    async def test() -> None:
        await nodes.start("a")
        node = nodes["a"]
        asked = (INVALID, INVALID, GET, INVALID)
        assert await refused(node, *asked) == [False] * 4
        node.engine.idle.clear()
        assert await refused(node, *asked) == [False, True, False, True]
        node.engine.idle.set()
        assert await refused(node, *asked) == [False] * 4

    run(nodes, test)
