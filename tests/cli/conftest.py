"""The command line, run in this process or as one of its own, against a real node."""

from __future__ import annotations

import io
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import kvnode
from kvnode import Client
from kvnode.cli.commands import run
from tests.cli.commands import Cli, Done
from tests.node.process import NodeProcess

ROOT = Path(kvnode.__file__).parents[1]
COMMAND = (sys.executable, "-m", "kvnode")


@pytest.fixture(scope="session")
def node_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real node named EWR, alive until the end of the tests."""
    node = NodeProcess(tmp_path_factory.mktemp("cli") / "data", "--name", "EWR").ready()
    try:
        yield node.address
        node.stop()
    finally:
        if node.process.poll() is None:
            node.kill()


@pytest.fixture
def cli(
    node_endpoint: str,
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> Cli:
    """A command line run in this process: ``cli("get", "k", stdin=b"")``."""
    monkeypatch.setenv("KVNODE_ENDPOINTS", node_endpoint)

    def run_here(*arguments: str | bytes, stdin: bytes = b"") -> Done:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsysbinary.readouterr()
        code = run([os.fsdecode(argument) for argument in arguments])
        out, err = capsysbinary.readouterr()
        return Done(code, out, err.decode())

    return run_here


@pytest.fixture
def spawn(node_endpoint: str) -> Cli:
    """A command line run as a process, as a shell would."""

    def run_there(*arguments: str | bytes, stdin: bytes = b"") -> Done:
        done = subprocess.run(
            [*COMMAND, *arguments],
            input=stdin,
            capture_output=True,
            check=False,
            cwd=ROOT,
            env=os.environ | {"KVNODE_ENDPOINTS": node_endpoint},
            timeout=100,
        )
        return Done(done.returncode, done.stdout, done.stderr.decode())

    return run_there


@pytest.fixture
def client(node_endpoint: str) -> Iterator[Client]:
    """A client of the same node."""
    with Client(node_endpoint) as found:
        yield found


NUMBERS = itertools.count()


@pytest.fixture
def key() -> str:
    """A key of this test's own."""
    return f"key-{next(NUMBERS)}"
