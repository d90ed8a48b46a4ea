"""Servers of a bench work, and are gone afterwards however it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import etcd_messages as etcd
from bench.processes import ROOT, ServerFailed, ServerProcess
from bench.servers import absence, etcds, kvnodes, redises

SLEEP = (sys.executable, "-c", "import time; time.sleep(600)")


def running(trace: str) -> list[int]:
    """Processes with that in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes()
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if trace.encode() in command and state != "Z":
                found.append(int(entry.name))
    return found


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Until it holds."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def test_a_process_ends_with_its_block(tmp_path: Path) -> None:
    with ServerProcess("sleeper", SLEEP, tmp_path / "s", lambda: True) as process:
        pid = process.pid
        wait_for(lambda: process.anonymous_bytes() > 0, "it has memory")
        assert process.cpu_s() >= 0
        (tmp_path / "s" / "kept").write_bytes(b"x" * 100_000)
        assert 100_000 <= process.disk_bytes() < 200_000
    assert not Path(f"/proc/{pid}").exists()


def test_a_process_that_ends_by_itself_is_told_with_its_last_words(tmp_path: Path) -> None:
    command = (sys.executable, "-c", "raise SystemExit('no such luck')")
    process = ServerProcess("doomed", command, tmp_path / "d", lambda: False)
    with pytest.raises(ServerFailed, match="no such luck"), process:
        pass


def test_a_process_that_will_not_end_is_killed_and_that_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """redis-server refuses to stop while it writes its first log."""
    monkeypatch.setattr("bench.processes.STOP_DEADLINE_S", 0.01)
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('deaf', flush=True); time.sleep(600)"
    )
    log = tmp_path / "deaf" / "log"
    command = (sys.executable, "-c", code)
    with ServerProcess("deaf", command, log.parent, lambda: b"deaf" in log.read_bytes()) as process:
        pid = process.pid
    assert not Path(f"/proc/{pid}").exists()


def test_a_process_can_be_killed_and_started_again(tmp_path: Path) -> None:
    with ServerProcess("sleeper", SLEEP, tmp_path / "s", lambda: True) as process:
        first = process.pid
        process.kill()
        assert not Path(f"/proc/{first}").exists()
        process.start()
        assert process.pid != first


def test_a_process_dies_with_a_killed_bench(tmp_path: Path) -> None:
    trace = f"trace={tmp_path}"
    code = (
        "import sys, time; from pathlib import Path; from bench.processes import ServerProcess\n"
        "command = (sys.executable, '-c', 'import time; time.sleep(600)', sys.argv[1])\n"
        "ServerProcess('s', command, Path(sys.argv[2]), lambda: True).start()\n"
        "print('started', flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, trace, str(tmp_path / "s")],
        stdout=subprocess.PIPE,
        cwd=ROOT,
    ) as bench:
        assert bench.stdout is not None
        assert bench.stdout.readline() == b"started\n"
        wait_for(lambda: len(running(trace)) == 2, "both run")
        bench.kill()
    wait_for(lambda: not running(trace), "the server outlived the bench")


@pytest.mark.cluster
def test_ctrl_c_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "bench", "one-node"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as bench:
        wait_for(lambda: running(str(tmp_path)), "a server runs")
        bench.send_signal(signal.SIGINT)
        _, errors = bench.communicate(timeout=30)
    assert bench.returncode == 130, errors
    assert b"Traceback" not in errors
    assert b"nothing is left running" in errors
    assert not running(str(tmp_path))
    assert not list(tmp_path.iterdir())


async def exercise(servers: Any) -> None:
    """What benches ask of any store, and that the others then have it."""
    store = servers.store
    await store.put(b"a", b"1")
    await store.write([(b"b", b"2"), (b"c", b"3")])
    assert await store.get(b"a") == b"1"
    assert await store.get(b"nothing") is None
    assert await store.get_many([b"c", b"nothing", b"b"]) == [b"3", None, b"2"]
    await servers.wait_converged()
    for other in servers.stores:
        assert await other.get(b"c") == b"3"


async def count(servers: Any) -> None:
    """And of one with counters."""
    await servers.store.increment(b"n")
    await servers.store.increment_many([b"n", b"m"])


@pytest.mark.cluster
def test_three_nodes_of_kvnode(tmp_path: Path) -> None:
    async def run() -> int | None:
        async with kvnodes(tmp_path, 3) as servers:
            await exercise(servers)
            await count(servers)
            (state,) = await servers.store.client.batch_get([b"n"])
            return state.pn_counter

    assert asyncio.run(run()) == 2


@pytest.mark.cluster
@pytest.mark.skipif(absence("redis") is not None, reason=str(absence("redis")))
def test_a_primary_and_two_replicas_of_redis(tmp_path: Path) -> None:
    async def run() -> bytes | None:
        async with redises(tmp_path, 3) as servers:
            assert len(servers.writers) == 1
            await exercise(servers)
            await count(servers)
            return await servers.store.get(b"n")

    assert asyncio.run(run()) == b"2"
    assert not running(str(tmp_path))


@pytest.mark.cluster
@pytest.mark.skipif(absence("etcd") is not None, reason=str(absence("etcd")))
def test_three_members_of_etcd(tmp_path: Path) -> None:
    async def run() -> None:
        async with etcds(tmp_path, 3) as servers:
            await exercise(servers)

    asyncio.run(run())
    assert not running(str(tmp_path))


def test_an_absent_peer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert "redis-server is not installed" in str(absence("redis"))
    assert "etcd is not installed" in str(absence("etcd"))
    assert absence("kvnode") is None


def test_messages_of_etcd_have_the_numbers_of_its_api() -> None:
    request = etcd.TxnRequest()
    put = request.success.add().request_put
    put.key, put.value = b"k", b"v"
    # success (2) { request_put (2) { key (1) "k", value (2) "v" } }
    assert request.SerializeToString() == b"\x12\x08\x12\x06\x0a\x01k\x12\x01v"
    asked = etcd.RangeRequest(key=b"k", serializable=True)
    assert asked.SerializeToString() == b"\x0a\x01k\x38\x01"
    # header (1) { revision (3) 7 }, kvs (2) { key (1), value (5) }, count (4): skipped
    reply = etcd.RangeResponse.FromString(b"\x0a\x02\x18\x07\x12\x06\x0a\x01k\x2a\x01v\x20\x01")
    assert (reply.header.revision, reply.kvs[0].value) == (7, b"v")
