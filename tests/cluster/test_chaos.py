"""``./cluster/chaos`` as a user runs it, and the parts of it that nothing else uses."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cluster.chaos import PREFIX
from cluster.processes import ROOT, LocalCluster
from cluster.skewed_clock import SkewedClock
from kvnode import Client, KvnodeError
from tests.cluster.convergence import wait_for
from tests.cluster.leftovers import running_in

pytestmark = pytest.mark.cluster

CHAOS = (sys.executable, "-m", "cluster", "chaos")
DEADLINE_S = 280
PHASES = (
    "d joins under load",
    "e joins under load",
    "kill -9 a",
    "wipe b, replace",
    "old copy of c put back",
    "second process on a copy of d",
    "forget e, then join anew",
    "a cut off",
    "clock of d",
)


@pytest.mark.slow
@pytest.mark.timeout(DEADLINE_S + 20)
def test_everything_holds_after_everything() -> None:
    done = subprocess.run(
        [*CHAOS, "--seconds-per-phase", "1"],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    said = done.stdout
    assert done.returncode == 0, said
    rows = re.findall(r"(?m)^│ +\d+ │ (.*?) +│", said)
    assert len(rows) == len(PHASES), said
    for row, phase in zip(rows, PHASES, strict=True):
        assert row.startswith(phase[: len(row)]), said
    assert re.search(r"(?m)^lost +[1-9][\d,]* acknowledged operations", said), said
    assert re.search(r"(?m)^counters +\d+ with exact sums on 5 nodes", said), said
    assert re.search(r"(?m)^verify +All members are equal", said), said
    assert re.search(r"(?m)^problems +0 *$", said), said
    assert not list(ROOT.glob(f"{PREFIX}*"))


def test_nothing_is_left_after_an_interruption() -> None:
    with subprocess.Popen(
        CHAOS, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        assert "a, b, c are up" in process.stdout.readline()
        (directory,) = ROOT.glob(f"{PREFIX}{process.pid}-*")
        process.send_signal(signal.SIGINT)
        said = process.stdout.read()
        assert process.wait() == 130, said
    assert "nothing is left running" in said
    assert "Traceback" not in said
    assert not directory.exists()
    assert not running_in(directory)


def test_help_has_an_example() -> None:
    done = subprocess.run(
        [*CHAOS, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert "Usage: ./cluster/chaos" in done.stdout
    assert "./cluster/chaos --keep" in done.stdout


def test_a_clock_is_stepped_for_one_process_while_it_runs(tmp_path: Path) -> None:
    clock = SkewedClock(tmp_path / "clock")
    program = "import time\nwhile input(): print(time.time_ns(), time.time(), flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, **clock.environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for offset_s in (0, 600, -600, 0):
            clock.step(offset_s * 1000)
            process.stdin.write("go on\n")
            process.stdin.flush()
            in_ns, in_s = process.stdout.readline().split()
            now_s = time.time() + offset_s
            assert abs(int(in_ns) / 1e9 - now_s) < 30
            assert abs(float(in_s) - now_s) < 30
        process.stdin.write("\n")


def test_a_newcomer_waits_and_founders_do_not_wait_for_it(tmp_path: Path) -> None:
    """A founder that was never met would keep everything from being collected, for ever."""
    with LocalCluster(
        names=["n1", "n2"],
        newcomers=["n2"],
        directory=tmp_path,
        environments={"n2": {"KVNODE_TEST_MARK": "here"}},
    ) as cluster:
        alone = cluster.node("n1")
        assert cluster.node("n2").pid is None
        with Client(cluster.endpoint("n1")) as client:
            assert client.increment("c", 1).counter == 1
        cluster.stop("n1")
        cluster.start("n1")
        assert f"n2={cluster.endpoints['n2']}" not in " ".join(alone.command), "not over a link"
        assert [word for word in alone.command if word.startswith("n2=")]
        cluster.start("n2", serving=False)
        with Client(cluster.endpoint("n2")) as client:
            wait_for(lambda: state_of(client) == "joining", "n2 waits")
        pid = cluster.node("n2").pid
        assert b"KVNODE_TEST_MARK=here" in Path(f"/proc/{pid}/environ").read_bytes()
        assert (
            b"KVNODE_TEST_MARK" not in Path(f"/proc/{cluster.node('n1').pid}/environ").read_bytes()
        )


def state_of(client: Client) -> str:
    try:
        return client.admin.status().state
    except KvnodeError:  # it is starting
        return ""
