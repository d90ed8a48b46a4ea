"""Three real processes under every fault for most of a minute, and what the judge makes of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from cluster.processes import ROOT
from tests.checkers.history import Call, Final, History, Seen
from tests.checkers.judge import clean, judge, table
from tests.checkers.record import read, write
from tests.cluster.leftovers import running_in
from tests.nemesis import disk
from tests.nemesis.command import PREFIX
from tests.nemesis.report import happened, own_verdict
from tests.nemesis.run import Ran, Settings, run
from tests.nemesis.schedule import CUTS, DISKS, PROCESSES, Kind
from tests.nemesis.workloads import WORKLOADS

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(240)]

COMMAND = (sys.executable, "-m", "tests.nemesis")
SECONDS = 45.0
SEED = 4
POSSIBLE = tuple(kind for kind in Kind if not (kind in DISKS and disk.missing()))


@dataclass
class Kept:
    """The run that all tests look at."""

    ran: Ran
    directory: Path
    file: Path


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    directory = tmp_path_factory.mktemp("nemesis")
    settings = Settings(3, SECONDS, SEED, POSSIBLE, tuple(WORKLOADS), clients=8)
    ran = run(settings, directory, lambda _: None)
    file = directory / "history.jsonl"
    write(file, ran.history)
    return Kept(ran, directory, file)


def test_nothing_is_found(kept: Kept) -> None:
    verdicts = [own_verdict(kept.ran), *judge(kept.ran.history)]
    assert clean(verdicts), f"{table(verdicts)}\nevidence: {kept.directory}"


def test_every_fault_was_there_and_faults_of_each_sort_hit_something(kept: Kept) -> None:
    """A single cut may meet two nodes that are both down; all of them together do not."""
    assert kept.ran.times.keys() == {kind for kind in POSSIBLE if kind is not Kind.RING}
    for sort in (CUTS, PROCESSES, (Kind.SLOW_LINK,), (Kind.CLOCK,), (Kind.LOST_REPLIES,)):
        assert any(kept.ran.hits[kind] for kind in sort), sort
    for kind in set(DISKS) & set(POSSIBLE):
        assert kept.ran.hits[kind], kind


def test_calls_had_every_outcome_and_nodes_recovered_in_every_way(kept: Kept) -> None:
    """A run in which all was well all the time would prove nothing."""
    assert {call.outcome for call in kept.ran.history.calls} == {"ok", "refused", "unknown"}
    logs = [kept.directory / final.node / "log" for final in kept.ran.history.finals]
    said = happened(kept.ran, logs)
    for path in ("starts of a node", "links that broke", "logs cut past a member"):
        assert path in said, said


def test_every_node_shows_its_end_and_all_are_equal(kept: Kept) -> None:
    one, *others = kept.ran.history.finals
    assert len(others) == 2
    assert one.digest
    for other in others:
        assert (other.vector, other.digest, other.keys) == (one.vector, one.digest, one.keys)


def test_a_stored_history_is_judged_as_it_was(kept: Kept) -> None:
    assert judge(read(kept.file)) == judge(kept.ran.history)


# ---- the judge must be able to find something in such a history


def last_put(history: History) -> tuple[Call, bytes, tuple[int, int]]:
    """An acknowledged sibling that is still there in the end."""
    shown = {(key, dot) for key, seen in history.finals[0].keys.items() for dot in seen.siblings}
    return next(
        (call, written.key, dot)
        for call in history.calls
        if call.outcome == "ok"
        for written, dot in zip(call.writes, call.dots, strict=False)
        if (written.key, dot) in shown
    )


def without(final: Final, key: bytes, dot: tuple[int, int]) -> Final:
    """The node's end, had it lost one value."""
    seen = final.keys[key]
    siblings = {other: value for other, value in seen.siblings.items() if other != dot}
    return replace(final, keys={**final.keys, key: replace(seen, siblings=siblings)})


def tampered(kept: Kept) -> History:
    """The history of a cluster that lost one acknowledged write on all nodes."""
    history = read(kept.file)
    _, key, dot = last_put(history)
    history.finals = [without(final, key, dot) for final in history.finals]
    return history


def test_a_lost_write_is_found(kept: Kept) -> None:
    history = tampered(kept)
    call, key, _ = last_put(kept.ran.history)
    (found,) = [verdict for verdict in judge(history) if verdict.lost]
    assert found.checker == "siblings"
    assert any(f"call {call.number} " in each.text for each in found.findings)
    assert any(repr(key) in each.text for each in found.findings)


def test_one_count_too_many_is_found(kept: Kept) -> None:
    """One more than all that was sent, so that no unknown increment explains it."""
    history = read(kept.file)
    key = b"count/both/0"
    sent = sum(
        max(0, written.amount)
        for call in history.calls
        for written in call.writes
        if written.key == key
    )

    def too_many(final: Final) -> Final:
        counters = dict.fromkeys(final.keys[key].counters, sent + 1)
        return replace(final, keys={**final.keys, key: Seen(key, counters=counters)})

    history.finals = [too_many(final) for final in history.finals]
    assert not clean(judge(history))


def test_the_command_judges_a_stored_history_again(kept: Kept, tmp_path: Path) -> None:
    whole = subprocess.run(
        [*COMMAND, "--check", str(kept.file)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert whole.returncode == 0, whole.stdout + whole.stderr
    file = tmp_path / "tampered.jsonl"
    write(file, tampered(kept))
    found = subprocess.run(
        [*COMMAND, "--check", str(file)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert found.returncode == 1
    assert "is not shown by" in found.stdout
    assert f"--check {file}" in found.stderr


# ---- the command itself


def test_an_interrupted_run_leaves_nothing() -> None:
    with subprocess.Popen(
        [*COMMAND, "--minutes", "5", "--faults", "disk,cut"],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "calls:" in line:
                break
        (directory,) = ROOT.glob(f"{PREFIX}{process.pid}-*")
        process.send_signal(signal.SIGINT)
        said = process.stdout.read()
        assert process.wait() == 130, said
    assert "nothing is left running" in said
    assert "Traceback" not in said
    assert not directory.exists()
    assert not running_in(directory)


@pytest.mark.parametrize(
    "words", [("--faults", "earthquake"), ("--workload", "idle"), ("--nodes", "4")]
)
def test_what_there_is_not_is_refused_with_what_there_is(words: tuple[str, str]) -> None:
    done = subprocess.run([*COMMAND, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert words[1] in done.stderr
    assert any(each in done.stderr for each in ("flapping", "counter", "3"))
