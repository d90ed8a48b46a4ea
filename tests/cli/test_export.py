"""``kvnode export``: a directory's own writes as JSON lines, if it is not in use."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from kvnode.cli.commands import run
from kvnode.core.operations import Delete, Increment, Operation, Put
from kvnode.core.roster import Forget, Held, Member, Roster, encode_roster
from kvnode.core.types import LWW_REGISTER
from kvnode.storage.directory import DataDirectory
from kvnode.storage.interfaces import StorageError
from kvnode.storage.own_log import OwnLog
from tests.core.memory_node import WALL_MS, MemoryNode

OTHER = 77


def opened(path: Path) -> DataDirectory:
    return DataDirectory(path, cluster="c", name="n", now_ms=1)


def made(path: Path, *operations: Operation) -> int:
    """A closed directory with these writes, one block each, and one from elsewhere; the origin."""
    directory = opened(path)
    node, other = MemoryNode(directory.identity.origin_id), MemoryNode(OTHER)
    for operation in operations:
        node.write(operation)
        directory.log.append([node.last_block])
    other.write(Put(b"received", b"v"))
    directory.log.append([other.last_block])
    directory.close()
    return node.origin


def lines(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[list[Any], str]:
    """What it prints, and what it says beside."""
    assert run(["export", *arguments]) == 0
    out, err = capfd.readouterr()
    return [json.loads(line) for line in out.splitlines()], err


ALL = (
    Put(b"k", b"v"),
    Increment(b"n", 5),
    Increment(b"n", -2),
    Put(b"r", b"\xff", LWW_REGISTER),
    Delete(b"k"),
    Delete(b"n"),
)


def test_every_own_write_is_a_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    origin = made(tmp_path, *ALL)
    found, said = lines(capfd, str(tmp_path))
    assert [(line["dot"], line["key"]["utf8"]) for line in found] == [
        (f"{origin:016x}:{seq}", key) for seq, key in enumerate("knnrkn", start=1)
    ]
    put, plus, minus, register, deleted, spent = found
    assert (put["type"], put["value"]) == ("SIBLINGS", {"utf8": "v"})
    assert put["time_ms"] == WALL_MS
    assert (plus["slot"], plus["incremented"], plus["decremented"]) == (2, 5, 0)
    assert (minus["slot"], minus["incremented"], minus["decremented"]) == (2, 5, 2)
    assert register["value"] == {"base64": "/w=="}
    assert deleted["deleted"] is True
    assert spent["deleted"] is True
    assert said == f"6 operations of {origin:016x} after 0\n"


def test_after_leaves_out_what_is_known(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    made(tmp_path, *ALL)
    found, _ = lines(capfd, str(tmp_path / "v1"), "--after", "5")
    assert [line["dot"].rpartition(":")[2] for line in found] == ["6"]


def test_of_a_forgotten_node_only_what_the_cluster_lacks(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As far as its directory knows: the acknowledgements say up to where its writes are there."""
    origin = made(tmp_path, *ALL)
    directory = opened(tmp_path)
    roster = Roster(
        bytes(16), members={one: Member(1, "n", "", joining=False) for one in (origin, OTHER)}
    )
    roster = roster.with_forget(origin, Forget(1, OTHER, 0))
    roster = roster.with_acknowledgement(OTHER, {origin: Held(4, bytes(16))})
    directory.log.put_record(b"roster", encode_roster(roster))
    directory.close()
    found, said = lines(capfd, str(tmp_path))
    assert [line["dot"].rpartition(":")[2] for line in found] == ["5", "6"]
    assert "after 4" in said


def test_of_a_directory_that_was_set_aside(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    origin = made(tmp_path, *ALL)
    directory = opened(tmp_path)
    directory.mint_anew(forked=True)
    aside = directory.set_aside()
    os.close(directory._lock)  # noqa: SLF001 - log and state are closed already
    found, _ = lines(capfd, str(aside))
    assert len(found) == 6
    assert found[0]["dot"].startswith(f"{origin:016x}:")
    assert lines(capfd, str(tmp_path))[0] == [], "the new one is empty"


@pytest.mark.parametrize("part", [".", "v1", "v1/../v1/log/.."])
def test_a_directory_in_use_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], part: str
) -> None:
    """Also where it is named by its part that is in use: to read that is to open the node's log,
    and where half of a large one is free that exchanges its file for another. The node would go on
    with the one that is no more, and lose what it acknowledges from then on.
    """
    directory = opened(tmp_path)
    assert run(["export", str(tmp_path / part)]) == 1
    assert "is in use: stop its node first" in capfd.readouterr().err
    directory.close()


def test_no_node_starts_while_its_directory_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path, *ALL)
    read = OwnLog.__init__

    def start_and_read(log: OwnLog, folder: Path) -> None:
        with pytest.raises(StorageError, match="is in use"):
            opened(tmp_path)
        read(log, folder)

    monkeypatch.setattr(OwnLog, "__init__", start_and_read)
    assert run(["export", str(tmp_path)]) == 0
    monkeypatch.undo()
    opened(tmp_path).close()


def test_what_is_no_data_directory_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["export", str(tmp_path)]) == 1
    said = capfd.readouterr().err
    assert "is no part of a data directory" in said
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []
