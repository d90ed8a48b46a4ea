"""What a node's stream of calls refuses: what has waited too long behind its own work."""

from __future__ import annotations

from pathlib import Path

import grpc.aio
import pytest

from kvnode.client.pipeline import PATH
from kvnode.node.node import Node
from kvnode.rpc import lateness
from kvnode.v1 import kv_pb2

from .nodes import Nodes, run

WAITED_MS = 1_200


async def refused(node: Node, requests: int) -> list[bool]:
    """Of so many that have waited, one after the other."""
    found = []
    async with grpc.aio.insecure_channel(f"127.0.0.1:{node.port}") as channel:
        call = channel.stream_stream(PATH)()  # type: ignore[var-annotated]
        for number in range(1, requests + 1):
            get = kv_pb2.PipelineRequest(
                number=number,
                method="BatchGet",
                request=kv_pb2.BatchGetRequest(keys=[b"key"]).SerializeToString(),
                waited_ms=WAITED_MS,
            )
            await call.write(kv_pb2.PipelineRequests(requests=[get]).SerializeToString())
            raw = await call.read()
            assert isinstance(raw, bytes)
            answer = kv_pb2.PipelineReplies.FromString(raw)
            found.append(answer.replies[0].HasField("error"))
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
        assert await refused(node, 3) == [False, False, False]
        node.engine.idle.clear()
        assert await refused(node, 3) == [False, True, True]
        node.engine.idle.set()
        assert await refused(node, 3) == [False, False, False]

    run(nodes, test)
