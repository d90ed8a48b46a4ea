"""``./cluster/local`` as a user types it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.control import Contact, NotRunning
from cluster.local import DIRECTORY
from cluster.local_view import program_name
from cluster.processes import ROOT
from kvnode import Client
from tests.cluster.convergence import wait_for
from tests.cluster.leftovers import running_in

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for processes in /proc"),
]


def local(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run ./cluster/local."""
    return subprocess.run(
        [ROOT / "cluster" / "local", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def said(*arguments: str) -> str:
    """What it prints on standard output; it has to succeed and to have nothing to add."""
    done = local(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def refused(*arguments: str) -> str:
    """What it prints on standard error; it has to fail."""
    done = local(*arguments)
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stderr


@pytest.fixture
def free() -> Iterator[None]:
    """Nobody uses the directory; whatever the test leaves there is removed."""
    if DIRECTORY.exists():
        pytest.skip("a local cluster is up: ./cluster/local down")
    yield
    assert local("down").returncode == 0
    assert not DIRECTORY.exists()
    assert running_in(DIRECTORY) == []


@pytest.fixture
def clients(free: None) -> Iterator[dict[str, Client]]:  # noqa: ARG001
    """Three nodes are up, a client for each."""
    done = local("up")
    assert done.returncode == 0, done.stderr
    nodes = [line.split() for line in done.stdout.splitlines() if "--endpoint" in line]
    found = {name.removesuffix(":"): Client(address) for name, _, _, address, _ in nodes}
    assert found.keys() == {"n1", "n2", "n3"}
    yield found
    for client in found.values():
        client.close()


def test_commands_without_a_cluster_say_what_to_do(free: None) -> None:  # noqa: ARG001
    assert "./cluster/local up" in refused("cut", "n1", "n2")


def test_up_twice_is_refused_and_down_cleans_up(free: None) -> None:  # noqa: ARG001
    assert local("up", "--nodes", "1").returncode == 0
    assert "down" in refused("up")
    assert said("down") == "The cluster is down.\n"
    assert said("down") == "No cluster is running.\n"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A directory with modules called like ours, and like one of Python's."""
    for name in ("bench/__init__.py", "cluster/__init__.py", "kvnode.py", "random.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"raise SystemExit('{name} of another project')")
    return tmp_path


@pytest.mark.parametrize("script", ["cluster/chaos", "cluster/demo", "cluster/local", "bench/run"])
def test_scripts_run_their_own_modules_wherever_one_stands(script: str, elsewhere: Path) -> None:
    done = subprocess.run(
        [ROOT / script, "--help"],
        cwd=elsewhere,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"Usage: ./{script}" in done.stdout


def test_so_do_the_processes_they_start(free: None, elsewhere: Path) -> None:  # noqa: ARG001
    done = local("up", "--nodes", "1", cwd=elsewhere)
    assert done.returncode == 0, done.stderr
    assert DIRECTORY.exists()
    assert "ready" in local("status", cwd=elsewhere).stdout
    assert local("down", cwd=elsewhere).stdout == "The cluster is down.\n"


def test_the_program_is_named_so_that_a_shell_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "our shop" / "bin" / "kvnode"
    monkeypatch.setattr(sys, "executable", str(installed.with_name("python")))
    monkeypatch.setenv("PATH", "")
    monkeypatch.chdir(tmp_path)
    assert program_name() == "'our shop/bin/kvnode'"


def test_a_delay_that_is_no_number_is_told_as_such() -> None:
    done = local("delay", "n1", "n2", "80ms")
    assert done.returncode == 2
    assert "'80ms' is not a valid number of milliseconds." in done.stderr


def test_after_up_heal_start_and_resume_the_nodes_have_caught_up(
    clients: dict[str, Client],
) -> None:
    """No read is repeated: what a tour shows next is there when the command returns."""
    clients["n1"].put("greeting", "hello")
    clients["n2"].increment("likes", 1)
    said("isolate", "n3")
    clients["n1"].increment("likes", 10)
    clients["n3"].increment("likes", 100)
    assert said("heal") == "All links pass.\n"
    assert [client.get("likes").one().value for client in clients.values()] == [111] * 3

    said("kill", "n2")
    assert "n2 is not running: it is killed" in refused("kill", "n2")
    clients["n3"].increment("likes", 1000)
    assert said("start", "n2") == "n2 is up.\n"
    assert clients["n2"].get("likes").one().value == 1111

    said("pause", "n2")
    assert "resume n2" in refused("start", "n2")
    clients["n3"].increment("likes", 10_000)
    assert said("resume", "n2") == "n2 runs on.\n"
    assert clients["n2"].get("likes").one().value == 11_111


def test_a_link_that_is_cut_is_not_waited_for(clients: dict[str, Client]) -> None:
    said("isolate", "n1")
    said("kill", "n1")
    clients["n2"].increment("likes", 1)
    assert said("start", "n1") == "n1 is up.\n"
    assert not clients["n1"].batch_get(["likes"])[0].visible


@pytest.mark.slow
def test_what_does_not_catch_up_in_time_is_told(clients: dict[str, Client]) -> None:
    """A delay above the nodes' patience: they connect and never hear of each other."""
    said("delay", "n1", "n2", "8000")
    said("kill", "n1")
    clients["n2"].increment("likes", 1)
    done = local("start", "n1")
    assert (done.returncode, done.stdout) == (0, "n1 is up.\n")
    (line,) = done.stderr.splitlines()
    assert line.startswith("After 5 s they have not caught up: ")
    assert "n1 -> n2 is unreachable" in line


def test_a_wrong_configuration_is_told_once(free: None, tmp_path: Path) -> None:  # noqa: ARG001
    config = tmp_path / "bad.toml"
    config.write_text("nonsense = 1\n")
    assert (
        refused("up", "--config", str(config)) == f"Error: {config}: unknown setting 'nonsense'\n"
    )
    assert not DIRECTORY.exists()


def test_a_directory_with_other_things_in_it_is_refused_and_left(free: None) -> None:  # noqa: ARG001
    DIRECTORY.mkdir()
    mine = DIRECTORY / "mine.txt"
    mine.write_text("dear to me")
    try:
        assert "holds mine.txt, which no cluster put there" in refused("up")
        assert "left as it is" in local("down").stderr
        assert mine.read_text() == "dear to me"
    finally:
        mine.unlink()
        DIRECTORY.rmdir()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_nothing_is_left_of_an_up_that_is_interrupted(
    number: signal.Signals,
    free: None,  # noqa: ARG001
) -> None:
    with subprocess.Popen(
        ["./cluster/local", "up"], cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as process:
        wait_for(supervised, "the supervisor is up")
        process.send_signal(number)
        assert process.stderr is not None
        assert process.stderr.read() == "\nInterrupted; nothing is left running.\n"
        assert process.wait() == 130
    assert not DIRECTORY.exists()
    assert running_in(DIRECTORY) == []


def supervised() -> bool:
    try:
        Contact.read(DIRECTORY)
    except NotRunning:
        return False
    return True
