"""Bad blocks over a real node: visible, harmless to others, and gone when a good copy comes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2

from kvnode.core.errors import Reason
from kvnode.v1 import quarantine_pb2 as pb
from tests.node.process import NodeProcess, until

from .api import CALL_S, Api, refusal, vector
from .impostor import Impostor

Start = Callable[..., tuple[NodeProcess, Api]]
COMPLAINTS = "quarantined block |the quarantine is full"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def health(api: Api, service: str) -> int:
    request = health_pb2.HealthCheckRequest(service=service)
    status: int = api.health.Check(request, timeout=CALL_S).status
    return status


def records(api: Api) -> list[pb.QuarantineRecord]:
    return list(api.quarantine.List(pb.ListQuarantineRequest(), timeout=CALL_S).records)


def flipped(raw: bytes, at: int = -30) -> bytes:
    changed = bytearray(raw)
    changed[at] ^= 1
    return bytes(changed)


def test_a_flipped_bit_is_no_fork_and_a_good_copy_makes_up_for_it(start: Start) -> None:
    """Nothing of the origin is lost, nothing of others waits, and clients notice nothing."""
    process, api = start()
    region, other = Impostor(50), Impostor(51)
    good = region.block([4, b"k", b"value", []])
    later = region.block([4, b"later", b"v", []])
    region.push(api, flipped(good), later, has={50: 2})
    other.push(api, other.block([4, b"other", b"v", []]))
    assert api.values(b"other") == [b"v"]
    assert api.put(b"mine", b"v").result.dot.seq == 1
    (record,) = records(api)
    assert (record.peer, record.origin, record.node) == ("impostor", 50, "impostor")
    assert (record.first_seq, record.last_seq, record.raw_bytes) == (1, 1, len(good))
    assert (record.reason, record.raw) == ("block fails its checksum", b"")
    assert vector(record.awaits) == {50: 2}, "all that the sender has: the number may be flipped"
    shown = api.quarantine.Show(pb.ShowQuarantineRequest(id=record.id), timeout=CALL_S)
    assert shown.raw == flipped(good)

    status = api.status()
    assert (status.state, status.quarantine.records, len(status.forks)) == ("degraded", 1, 0)
    assert "impostor 0000000000000032:1" in status.problem
    until(lambda: health(api, "kvnode.v1.Replication") == NOT_SERVING, "replication is not well")
    assert health(api, "") == SERVING, "clients are served"

    region.push(api, good)
    assert (api.values(b"k"), api.values(b"later")) == ([b"value"], [b"v"])
    assert records(api) == []
    assert (api.status().state, api.status().problem) == ("serving", "")
    until(lambda: health(api, "kvnode.v1.Replication") == SERVING, "replication is well again")
    process.stop(trouble=COMPLAINTS)


def test_records_survive_a_kill_and_the_origin_still_waits(start: Start) -> None:
    process, api = start()
    region = Impostor(50)
    malformed = region.block([99, b"k", b"v"])
    later = region.block([4, b"k", b"later", []])
    region.push(api, malformed, later, has={50: 2})
    before = records(api)
    assert ["unknown type" in record.reason for record in before] == [True]
    until(lambda: "degraded" in api.status().state, "it says so")
    # the write is synced apart from the answer; a stop or a checkpoint has nothing to do with it
    until(lambda: stored(process), "it is on disk")
    process.kill()
    process, api = start()
    (again,) = records(api)
    assert (again.id, again.reason, again.awaits) == (
        before[0].id, before[0].reason, before[0].awaits,
    )  # fmt: skip
    assert api.status().state == "degraded"
    assert health(api, "kvnode.v1.Replication") == NOT_SERVING
    assert not api.status().vector
    process.stop(trouble=COMPLAINTS)


def stored(process: NodeProcess) -> bool:
    """Whether the running node's quarantine has a row on disk: read by a process of its own."""
    code = (
        "import lmdb, sys;"
        "env = lmdb.open(sys.argv[1], max_dbs=9, readonly=True, lock=False);"
        "db = env.open_db(b'quarantine', create=False);"
        "print(env.begin().stat(db)['entries'])"
    )
    (state,) = process.data.glob("v1/state")
    found = subprocess.run(
        [sys.executable, "-c", code, str(state)], capture_output=True, check=True, timeout=100
    )
    return found.stdout.strip() == b"1"


def test_retry_and_drop(start: Start) -> None:
    process, api = start()
    region = Impostor(50)
    region.push(api, region.block([99, b"k", b"v"]), b"noise")
    noise, malformed = records(api)
    assert (noise.origin, noise.node, len(noise.awaits.entries)) == (0, "", 0)
    for record, reason in ((malformed, "unknown type"), (noise, "unknown version")):
        request = pb.RetryQuarantineRequest(id=record.id)
        reply = api.quarantine.Retry(request, timeout=CALL_S)
        assert (reply.settled, reason in reply.reason) == (False, True)
    for record in (malformed, noise):
        api.quarantine.Drop(pb.DropQuarantineRequest(id=record.id), timeout=CALL_S)
    assert records(api) == []
    assert api.status().state == "serving"
    until(lambda: health(api, "kvnode.v1.Replication") == SERVING, "nothing is in quarantine")
    process.stop(trouble=COMPLAINTS)


@pytest.mark.parametrize("method", ["Show", "Retry", "Drop"])
def test_a_record_that_is_not_there(api: Api, method: str) -> None:
    request = getattr(pb, f"{method}QuarantineRequest")(id=999)
    found = refusal(lambda: getattr(api.quarantine, method)(request, timeout=CALL_S))
    assert found.info.reason == Reason.NO_SUCH_RECORD


def test_the_same_bad_bytes_again_are_one_record(start: Start) -> None:
    _, api = start()
    region = Impostor(50)
    bad = flipped(region.block([4, b"k", b"v", []]))
    for _ in range(5):
        region.push(api, bad)
    assert [record.times for record in records(api)] == [5]


def test_the_quarantine_is_bounded_and_says_what_it_drops(start: Start, tmp_path: Path) -> None:
    process, api = start("own", "--config", config(tmp_path, "quarantine_rows_max = 3"))
    region = Impostor(50)
    region.push(api, *(b"noise %d" % number for number in range(10)))
    reply = api.quarantine.List(pb.ListQuarantineRequest(), timeout=CALL_S)
    assert (len(reply.records), reply.pushed_out) == (3, 7)
    assert process.stderr.count("the quarantine is full") == 7
    assert time.time() * 1000 - reply.records[0].first_ms < 60_000


def config(folder: Path, *lines: str) -> str:
    path = folder / "kvnode.toml"
    path.write_text("\n".join(lines))
    return str(path)
