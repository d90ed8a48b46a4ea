"""Status, Inspect, health checking and reflection."""

from __future__ import annotations

from collections.abc import Callable

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from kvnode.core.errors import Reason
from tests.node.process import NodeProcess

from .api import CALL_S, G_COUNTER, LWW_REGISTER, PN_COUNTER, SIBLINGS, Api, failed_with, refusal
from .impostor import Impostor

Start = Callable[..., tuple[NodeProcess, Api]]
SERVICES = (
    "kvnode.v1.KeyValue",
    "kvnode.v1.Admin",
    "kvnode.v1.Replication",
    "kvnode.v1.Collection",
    "kvnode.v1.Journal",
    "kvnode.v1.Quarantine",
    "kvnode.v1.Verification",
)
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def test_status_names_the_node(api: Api, node: NodeProcess) -> None:
    status = api.status()
    assert (status.cluster, status.name, status.state) == ("testing", "shared", "serving")
    assert status.origin > 0
    assert status.problem == ""
    assert status.version
    assert status.data_directory == str(node.data)
    assert [(peer.name, peer.state) for peer in status.peers] == [("impostor", "unreachable")]
    assert not status.forks
    assert api.status().uptime_ms >= status.uptime_ms


def test_status_counts(start: Start) -> None:
    _, api = start()
    assert (api.status().operations_accepted, api.status().log.last_arrival) == (0, 0)
    api.put(b"a", b"v")
    api.increment(b"n")
    refusal(lambda: api.increment(b"a"))
    status = api.status()
    assert (status.operations_accepted, status.operations_refused, status.commits) == (2, 1, 2)
    assert (status.log.first_arrival, status.log.last_arrival) == (1, 2)
    assert 0 < status.log.used_bytes <= status.log.map_bytes
    assert [(entry.origin, entry.node, entry.seq) for entry in status.vector] == [
        (status.origin, "node1", 2)
    ]
    checkpoint = status.checkpoint
    assert (checkpoint.arrival, checkpoint.behind_ops, checkpoint.memtable_keys) == (0, 2, 2)
    assert checkpoint.memtable_bytes > 0
    assert (status.queued_requests, status.queued_bytes) == (0, 0)


def test_a_clean_stop_leaves_nothing_to_replay(start: Start) -> None:
    process, api = start()
    api.put(b"a", b"v")
    origin = api.status().origin
    process.stop()
    _, api = start()
    status = api.status()
    assert status.origin == origin
    checkpoint = status.checkpoint
    assert (checkpoint.arrival, checkpoint.behind_ops, checkpoint.stored_keys) == (1, 0, 1)
    assert status.operations_accepted == 0


def test_status_shows_who_pushed_and_what_it_lacks(start: Start) -> None:
    process, api = start()
    api.put(b"a", b"v")
    region = Impostor(7)
    region.push(api, region.block([4, b"k", b"text", []], [4, b"k", b"more", []]), has={7: 5})
    status = api.status()
    (peer,) = status.peers
    assert (peer.name, peer.origin, peer.address) == ("impostor", 7, "127.0.0.1:9")
    assert (peer.behind_ops, peer.ahead_ops) == (1, 3)
    assert [(entry.node, entry.seq) for entry in peer.vector] == [("impostor", 5)]
    assert status.operations_received == 2
    process.stop()


def test_inspect_shows_every_sibling_with_its_dot(api: Api, key: bytes) -> None:
    dots = [api.put(key, value, blind=True).result.dot for value in (b"1", b"2")]
    response = api.inspect(key)
    assert response.key == key
    assert response.context == api.get(key).context
    (cell,) = response.cells
    assert (cell.type, cell.visible, cell.deleted) == (SIBLINGS, True, False)
    assert [item.dot for item in cell.siblings] == dots
    assert [item.value for item in cell.siblings] == [b"1", b"2"]
    assert {item.node for item in cell.siblings} == {"shared"}
    api.put(key, b"3", context=cell.context)
    assert api.values(key) == [b"3"]


@pytest.mark.parametrize(("kind", "amounts"), [(G_COUNTER, (3, 4)), (PN_COUNTER, (9, -2))])
def test_inspect_shows_every_counter_slot(
    api: Api, key: bytes, kind: int, amounts: tuple[int, int]
) -> None:
    birth = api.increment(key, amounts[0], type=kind).result.dot
    api.delete(key)
    gone = api.inspect(key)
    assert not gone.cells[0].visible
    again = api.increment(key, amounts[0], type=kind).result.dot
    api.increment(key, amounts[1])
    (cell,) = api.inspect(key).cells
    assert (cell.type, cell.visible) == (kind, True)
    first, second = cell.slots
    assert (first.birth, second.birth) == (birth, again)
    assert (first.incremented, first.deleted_incremented) == (amounts[0], amounts[0])
    added = sum(amount for amount in amounts if amount > 0)
    taken = -sum(amount for amount in amounts if amount < 0)
    assert (second.incremented, second.decremented) == (added, taken)
    assert (second.deleted_incremented, second.deleted_decremented) == (0, 0)
    assert (second.node, second.time_ms > 0) == ("shared", True)


def test_inspect_shows_a_register_and_its_tombstone(api: Api, key: bytes) -> None:
    written = api.put(key, b"v", type=LWW_REGISTER).result.dot
    (cell,) = api.inspect(key).cells
    assert (cell.type, cell.visible, cell.deleted) == (LWW_REGISTER, True, False)
    assert (cell.register.value, cell.register.dot) == (b"v", written)
    deleted = api.delete(key).result.dot
    (cell,) = api.inspect(key).cells
    assert (cell.visible, cell.deleted) == (False, True)
    assert (cell.register.value, cell.register.dot) == (b"", deleted)


def test_inspect_of_a_key_that_never_was(api: Api, key: bytes) -> None:
    assert refusal(lambda: api.inspect(key)).info.reason == Reason.KEY_NOT_FOUND


@pytest.mark.parametrize("service", ["", *SERVICES])
def test_health_checks_answer_serving(api: Api, service: str) -> None:
    request = health_pb2.HealthCheckRequest(service=service)
    assert api.health.Check(request, timeout=CALL_S).status == SERVING


def test_health_of_an_unknown_service_is_not_found(api: Api) -> None:
    request = health_pb2.HealthCheckRequest(service="kvnode.v2.KeyValue")
    code = failed_with(lambda: api.health.Check(request, timeout=CALL_S))
    assert code is grpc.StatusCode.NOT_FOUND


def test_a_stopping_node_says_so(start: Start) -> None:
    """Its watchers see NOT_SERVING or the end of the stream, and do not make it complain."""
    process, api = start()
    watch = api.health.Watch(health_pb2.HealthCheckRequest(service=""), timeout=CALL_S)
    seen = [next(watch).status]
    process.process.terminate()
    code = failed_with(lambda: seen.extend(response.status for response in watch))
    assert code in (None, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    assert seen in ([SERVING], [SERVING, NOT_SERVING])
    process.stop()
    request = health_pb2.HealthCheckRequest(service="")
    code = failed_with(lambda: api.health.Check(request, timeout=CALL_S))
    assert code is grpc.StatusCode.UNAVAILABLE


def test_reflection_lists_the_services_and_their_messages(api: Api) -> None:
    reflection = ProtoReflectionDescriptorDatabase(api.channel)
    assert {*SERVICES, "grpc.health.v1.Health"} <= set(reflection.get_services())
    described = reflection.FindFileContainingSymbol("kvnode.v1.KeyValue")
    assert described.name == "kvnode/v1/kv.proto"
    (service,) = described.service
    assert [method.name for method in service.method] == [
        "Get",
        "BatchGet",
        "Put",
        "Delete",
        "Increment",
        "Write",
        "WriteMany",
        "WriteStream",
        "Pipeline",
        "Outcome",
        "Scan",
        "ListConflicts",
    ]
