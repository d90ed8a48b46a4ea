"""``./cluster/setup`` with a Python that installs nothing: usage, and an end in the middle."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.processes import ROOT

SLOW_PYTHON = """\
#!/usr/bin/env bash
# Its "python -m venv DIR" gets half-way and then takes its time.
if [[ "$1" == -m ]]; then
  mkdir -p "$3/bin"
  mktemp -d >/dev/null
  echo half-way >&2
  sleep 60
fi
"""

OLD_PYTHON = """\
#!/usr/bin/env bash
if [[ "$1" == -V ]]; then echo Python 3.10.12; else exit 1; fi
"""

WHOLE_PYTHON = """\
#!/usr/bin/env bash
# All is installed already.
exit 0
"""

IMPORTING_PYTHON = """\
#!/usr/bin/env bash
# As any Python program its "python -m venv DIR" imports modules. It never gets further.
if [[ "$1" == -m ]]; then "$REAL_PYTHON" -c "import random"; exit 1; fi
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project that was never set up."""
    (tmp_path / "cluster").mkdir()
    for script in ("setup", "demo"):
        shutil.copy(ROOT / "cluster" / script, tmp_path / "cluster")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_help_of_the_tests_installs_nothing(root: Path) -> None:
    (root / "tests").mkdir()
    shutil.copy(ROOT / "tests" / "run", root / "tests")
    done = subprocess.run([root / "tests" / "run", "--help"], capture_output=True, check=True)
    assert b'./tests/run -m "not slow"      the quick tests only\n' in done.stdout
    assert done.stderr == b""
    assert not (root / ".venv").exists()


def program(path: Path, text: str) -> str:
    """Write it; how to call it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def setup(
    root: Path, *arguments: str, script: str = "setup", **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [f"./cluster/{script}", *arguments],
        cwd=root,
        env={**os.environ, **environment},
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
    python = program(root / "slow-python", SLOW_PYTHON)
    temporary = root / "temporary"
    temporary.mkdir()
    with subprocess.Popen(
        [root / "cluster" / "setup", "demo"],
        env={**os.environ, "PYTHON": python, "TMPDIR": str(temporary)},
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
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("script", ["setup", "demo"])
def test_a_python_that_is_too_old_is_told_with_the_command_that_was_given(
    root: Path, script: str
) -> None:
    done = setup(root, script=script, PYTHON=program(root / "old-python", OLD_PYTHON))
    assert done.returncode == 1
    assert "is Python 3.10.12; name another" in done.stderr
    assert done.stderr.endswith(f"PYTHON=python3.12 ./cluster/{script}\n")


def test_an_environment_that_is_there_needs_no_other_python(root: Path) -> None:
    """An extra is missing: the environment's own Python installs it."""
    program(root / ".venv" / "bin" / "python", WHOLE_PYTHON)
    done = setup(root, "demo", PYTHON=program(root / "old-python", OLD_PYTHON))
    assert done.returncode == 0, done.stderr
    assert (root / ".venv" / ".kvnode-setup").read_text().endswith("\ndemo\n")


def test_modules_of_the_directory_one_stands_in_are_left_alone(root: Path) -> None:
    (root / "random.py").write_text("raise SystemExit('the random of another project')")
    python = program(root / "importing-python", IMPORTING_PYTHON)
    done = setup(root, PYTHON=python, REAL_PYTHON=sys.executable)
    assert "python -m venv failed" in done.stderr
    assert "another project" not in done.stderr
