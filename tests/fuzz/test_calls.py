"""Every RPC of every service with changed bytes and hostile fields: documented answers only.

``tests/rpc/test_noise.py`` does clients' unary calls in depth; here every method that the services
describe takes a slice, streams and peers' calls too. Afterwards the node serves as before, has
logged no bug, and has not grown.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo

from kvnode.core.errors import Reason
from kvnode.errors import CODES, DOMAIN
from kvnode.rpc.server import REQUEST_BYTES_MAX
from kvnode.v1 import kv_pb2
from tests.node.process import NodeProcess
from tests.rpc.api import Api, failed, refusal_of
from tests.rpc.conftest import CLUSTER, PEERS
from tests.rpc.impostor import Impostor

from .calls import Requests, methods

pytestmark = pytest.mark.cluster

METHODS = methods()
INPUTS = 15
"""Per method and kind of change."""
CALL_S = 60.0
WAITS = dict.fromkeys(
    (
        *("Verify", "Repair", "Join", "Replace", "Forget", "Leave"),
        *("Get", "BatchGet", "Scan", "ListConflicts", "Watch"),
        *("Put", "Delete", "Increment", "Write", "WriteMany", "WriteStream", "Pipeline"),
    ),
    0.3,
)
"""Methods that may wait for others, as long as their caller: these callers are impatient. Reads and
writes wait for a session or a level that never comes."""
WELL = ("serving", "degraded")
"""The latter because hostile blocks are in quarantine."""
GROWTH_BYTES_MAX = 100 << 20
ORDERS = ("Leave", "Forget")
"""What a changed message may order, the node does: these get no changed bytes."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[NodeProcess, Api]]:
    """A node of its own: others' tests must not find what was written here."""
    folder = tmp_path_factory.mktemp("fuzzed") / "data"
    process = NodeProcess(folder, "--cluster", CLUSTER, "--name", "fuzzed", *PEERS)
    try:
        api = Api(process.ready().address)
        warm_up(api)
        before = resident_bytes(process)
        yield process, api
        assert api.status().state in WELL
        api.put(b"after all", b"v", blind=True)
        grown = resident_bytes(process) - before
        api.close()
        assert grown < GROWTH_BYTES_MAX, f"grown by {grown >> 20} MiB"
        assert "Traceback" not in process.stderr
        assert "bug in" not in process.stderr
    finally:
        process.kill()


def warm_up(api: Api) -> None:
    """Values of a MiB are copied on their way in: that memory is kept for the next."""
    for _ in range(5):
        api.put(b"warm", bytes(1 << 20))


def resident_bytes(process: NodeProcess) -> int:
    """Memory the process has now."""
    status = Path(f"/proc/{process.process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def answered(api: Api, path: str, raw: bytes) -> None:
    """A reply, or a refusal as documented, within the call's deadline."""
    method = METHODS[path]
    patience_s = WAITS.get(method.name, CALL_S)
    kind = "_".join(
        "stream" if streams else "unary"
        for streams in (method.client_streaming, method.server_streaming)
    )
    call: Any = getattr(api.channel, kind)(path, None, None)

    def run() -> None:
        request = iter([raw, raw]) if method.client_streaming else raw
        reply = call(request, timeout=patience_s)
        if method.server_streaming:
            for _ in reply:
                pass

    error = failed(run)
    if error is None:
        return
    large = error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and len(raw) > REQUEST_BYTES_MAX
    late = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED and method.name in WAITS
    assert late or large or refusal_of(error), (
        f"{error.code()} {error.details()}: {raw.hex()[:500]}"
    )


@pytest.mark.parametrize("path", METHODS)
def test_hostile_requests(served: tuple[NodeProcess, Api], path: str) -> None:
    _, api = served
    region = Impostor(77, "impostor")
    region.acquaint(api)
    requests = Requests(METHODS[path], path, lambda: region.hello)
    for raw in requests.hostile(INPUTS):
        answered(api, path, raw)
    if METHODS[path].name not in ORDERS:
        for raw in requests.changed(INPUTS):
            answered(api, path, raw)
    assert api.status().state in WELL


def test_hostile_requests_on_a_stream(served: tuple[NodeProcess, Api]) -> None:
    """Each is answered by its number, and the others go on."""
    _, api = served
    service = "/kvnode.v1.KeyValue/"
    paths = [
        path
        for path, method in METHODS.items()
        if path.startswith(service) and not method.client_streaming and not method.server_streaming
    ]
    assert len(paths) > 5
    asked: list[kv_pb2.PipelineRequest] = []
    for path in paths:
        requests = Requests(METHODS[path], path, None)
        for raw in (*requests.hostile(INPUTS), *requests.changed(INPUTS)):
            number, name = len(asked) + 1, path.removeprefix(service)
            asked.append(
                kv_pb2.PipelineRequest(number=number, method=name, request=raw, timeout_ms=300)
            )
    small = [each for each in asked if each.ByteSize() < REQUEST_BYTES_MAX]
    messages = (kv_pb2.PipelineRequests(requests=[each]) for each in small)
    numbers = []
    for replies in api.kv.Pipeline(messages, timeout=CALL_S):
        for reply in replies.replies:
            numbers.append(reply.number)
            if reply.HasField("error"):
                code, details = reply.error.code, reply.error.details
                late = code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
                info = ErrorInfo()
                told = bool(details) and details[0].Unpack(info) and info.domain == DOMAIN
                assert late or told, asked[reply.number - 1]
                assert late or CODES[Reason(info.reason)].value[0] == code
    assert sorted(numbers) == [each.number for each in small]
    assert api.status().state in WELL
