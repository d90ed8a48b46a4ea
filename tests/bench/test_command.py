"""Every question has an answer at its tiniest, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner

from bench.command import QUESTIONS, Question, ask, main, question
from bench.pace import TINY
from bench.pictures import drawn
from bench.processes import ROOT
from bench.room import Room
from bench.targets import TARGETS, Target
from tests.bench.test_servers import running

OWN: Final[dict[str, str | tuple[str, ...]]] = {
    "one-node": "one node/",
    "reads": "reads/",
    "counters": "counters/",
    "three-nodes": "three nodes/",
    "lag": "lag/",
    "catch-up": "catch-up/",
    "service": ("service/", "overload/"),
    "growth": ("growth/", "curve/writes by keys"),
    "start": "start/",
}
"""Question -> how the names of its figures begin that are in the table at the end."""

BY_CHANCE: Final = "overload/told"
"""Only where something was refused."""


def belongs(target: Target, question_: str) -> bool:
    name = target.kvnode[0]
    return name.startswith(OWN.get(question_, ("none",))) and name != BY_CHANCE


def shape(name: str) -> str:
    """A name without its numbers of keys and restarts, which are others here."""
    return re.sub(r"\d[\d,]*(?= log|$)|\d+(?= restarts)", "#", name)


def test_every_row_of_the_table_is_some_question_s() -> None:
    for target in TARGETS:
        owners = [name for name in QUESTIONS if belongs(target, name)]
        assert len(owners) == (target.kvnode[0] != BY_CHANCE), target


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
    assert not room.figures.untaken
    wanted = {shape(target.kvnode[0]) for target in TARGETS if belongs(target, name)}
    assert wanted <= {shape(figure.name) for figure in figures}
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
    assert whole["circumstances"]["pace"] == "tiny"
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


def test_an_interruption_in_a_task_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def interrupted(_room: Room) -> None:
        async def task() -> None:
            raise KeyboardInterrupt

        forgotten = asyncio.create_task(task())
        await asyncio.sleep(60)
        await forgotten

    room = Room(TINY, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        ask(room, Question("interrupted", "Is it?", interrupted))
    gc.collect()
    assert not caplog.records
    assert not room.figures.failed


def test_a_question_leaves_no_directory_also_when_it_fails(tmp_path: Path) -> None:
    async def fail(room: Room) -> None:
        (room.new_directory() / "file").write_bytes(b"x")
        raise OSError("no disk")

    ask(Room(TINY, tmp_path), Question("doomed", "Does it?", fail))
    assert not list(tmp_path.iterdir())


def test_help_lists_the_questions() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    assert all(name in result.output for name in QUESTIONS)


def test_an_unknown_question_is_refused() -> None:
    result = CliRunner().invoke(main, ["how-fast"])
    assert result.exit_code == 2
