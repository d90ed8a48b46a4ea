"""``./cluster/setup`` with a Python that installs nothing: usage, and an end in the middle."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from cluster.processes import ROOT

SLOW_PYTHON = """\
#!/usr/bin/env bash
# Its "python -m venv DIR" gets half-way and then takes its time.
if [[ "$1" == -m ]]; then
  mkdir -p "$3/bin"
  echo half-way >&2
  sleep 60
fi
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project that was never set up."""
    (tmp_path / "cluster").mkdir()
    shutil.copy(ROOT / "cluster" / "setup", tmp_path / "cluster")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def setup(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [root / "cluster" / "setup", *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_is_usage_and_no_error(root: Path, flag: str) -> None:
    done = setup(root, flag)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: ./cluster/setup [EXTRA]...")


def test_what_is_no_extra_is_refused(root: Path) -> None:
    done = setup(root, "--fast")
    assert done.returncode == 1
    assert "'--fast' is no extra; see ./cluster/setup --help" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_set_up_leaves_nothing_half_made(root: Path, number: signal.Signals) -> None:
    python = root / "slow-python"
    python.write_text(SLOW_PYTHON)
    python.chmod(0o755)
    with subprocess.Popen(
        [root / "cluster" / "setup", "demo"],
        env={**os.environ, "PYTHON": str(python)},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        while line := process.stderr.readline():
            if line == "half-way\n":
                break
        process.send_signal(number)
        assert process.stderr.read() == "\ncluster/setup: interrupted; run it again\n"
        assert process.wait() == 130
    assert not (root / ".venv").exists()
