"""Every question has an answer at its tiniest, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.command import QUESTIONS, main
from bench.processes import ROOT
from tests.bench.test_servers import running


@pytest.mark.cluster
@pytest.mark.slow
def test_every_question_is_answered_without_peers_and_leaves_nothing(tmp_path: Path) -> None:
    """Peers have tests of their own; here none is found, and that is said."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    command = [sys.executable, "-m", "bench", "--pace", "tiny"]
    done = subprocess.run(
        [*command, "--json", str(tmp_path / "run.json"), "--svg", str(tmp_path / "pictures")],
        cwd=ROOT,
        env={**os.environ, "PATH": "", "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    whole = json.loads((tmp_path / "run.json").read_text())
    assert set(whole["absent"]) == {"redis", "etcd"}
    assert not whole["failed"]
    assert {figure["subject"] for figure in whole["figures"]} == {"kvnode", "bare", "grpcio"}
    assert all(figure["values"] for figure in whole["figures"])
    for name in QUESTIONS:
        assert f"\n{name}: " in done.stdout
    assert "absent: redis" in done.stdout
    assert len(list((tmp_path / "pictures").iterdir())) >= 6
    assert not list(temporary.iterdir())
    assert not running(str(temporary))


def test_help_lists_the_questions() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    assert all(name in result.output for name in QUESTIONS)


def test_an_unknown_question_is_refused() -> None:
    result = CliRunner().invoke(main, ["how-fast"])
    assert result.exit_code == 2
