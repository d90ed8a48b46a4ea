"""Every question has an answer at its tiniest, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.command import QUESTIONS, Question, ask, main, question
from bench.pace import TINY
from bench.pictures import drawn
from bench.processes import ROOT
from bench.room import Room
from tests.bench.test_servers import running


@pytest.mark.cluster
@pytest.mark.parametrize("name", QUESTIONS)
def test_every_question_is_answered(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without peers: those have tests of their own."""
    monkeypatch.setenv("PATH", "")
    room = Room(TINY, tmp_path)
    asyncio.run(question(name).measure(room))
    figures = list(room.figures)
    assert figures
    assert {figure.subject for figure in figures} <= {"kvnode", "bare", "grpcio"}
    assert all(figure.values for figure in figures)
    assert set(room.figures.absent) <= {"redis", "etcd"}
    assert bool(drawn(room.figures)) is (name in ("curves", "growth"))
    assert not running(str(tmp_path))


@pytest.mark.cluster
def test_a_run_writes_its_files_names_absent_peers_and_leaves_nothing(tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    command = [sys.executable, "-m", "bench", "--pace", "tiny", "counters"]
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
    assert set(whole["absent"]) == {"redis"}
    assert not whole["failed"]
    assert "absent: redis" in done.stdout
    assert not list((tmp_path / "pictures").iterdir()), "no curve is in these"
    assert not list(temporary.iterdir())
    assert not running(str(temporary))


def test_a_question_that_fails_is_named_and_the_others_are_asked(tmp_path: Path) -> None:
    async def fail(_room: Room) -> None:
        raise OSError("no disk")

    room = Room(TINY, tmp_path)
    ask(room, Question("doomed", "Does it?", fail))
    assert room.figures.failed == {"doomed": "OSError: no disk"}


def test_help_lists_the_questions() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    assert all(name in result.output for name in QUESTIONS)


def test_an_unknown_question_is_refused() -> None:
    result = CliRunner().invoke(main, ["how-fast"])
    assert result.exit_code == 2
