"""``./cluster/local`` removes what it made, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.local_directory import clear, foreign_in
from cluster.local_view import note_other_ports, ranges

OURS = (
    "lock",
    "cluster.json",
    "supervisor.log",
    "n1/log",
    "n1/data/LOCK",
    "n1/data/v1/log/data.mdb",
    "n2/log",
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """As a cluster of two leaves it, the second killed before it made its data directory."""
    return made(tmp_path / "cluster", OURS)


def made(directory: Path, files: tuple[str, ...]) -> Path:
    for name in files:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).touch()
    return directory


def files_in(directory: Path) -> set[str]:
    return {str(file.relative_to(directory)) for file in directory.rglob("*") if file.is_file()}


def test_all_of_a_cluster_is_ours_and_removed(directory: Path) -> None:
    assert foreign_in(directory) == []
    assert clear(directory, keep_data=False) == []
    assert not directory.exists()


def test_data_can_be_kept(directory: Path) -> None:
    assert clear(directory, keep_data=True) == []
    assert files_in(directory) == {"n1/data/LOCK", "n1/data/v1/log/data.mdb"}
    assert foreign_in(directory) == []


def test_a_directory_that_is_not_there_is_clear(tmp_path: Path) -> None:
    assert foreign_in(tmp_path / "none") == []
    assert clear(tmp_path / "none", keep_data=False) == []


@pytest.mark.parametrize(
    ("file", "named"),
    [
        ("notes.txt", "notes.txt"),
        ("n1/notes.txt", "n1/notes.txt"),
        ("n1/data/notes.txt", "n1/data"),
        ("photos/data/1.jpg", "photos/data"),
        ("photos/log/1.jpg", "photos/log"),
        ("photos/2026/1.jpg", "photos/2026"),
    ],
)
def test_what_is_not_ours_is_found_and_left(directory: Path, file: str, named: str) -> None:
    made(directory, (file,))
    assert foreign_in(directory) == [directory / named]
    assert clear(directory, keep_data=False) == [directory / named]
    assert file in files_in(directory)
    assert "n2/log" not in files_in(directory)


def test_a_link_to_elsewhere_is_not_followed(directory: Path, tmp_path: Path) -> None:
    elsewhere = made(tmp_path / "elsewhere", ("data/LOCK",))
    (directory / "n3").symlink_to(elsewhere)
    assert clear(directory, keep_data=False) == [directory / "n3"]
    assert files_in(elsewhere) == {"data/LOCK"}


@pytest.mark.parametrize(
    ("ports", "said"),
    [
        ([7101, 7102, 7103], ""),
        ([7104, 7105, 7106], "ports 7101-7103 are in use; using 7104-7106\n"),
        ([7101, 7103, 7104], "port 7102 is in use; using 7101, 7103-7104\n"),
    ],
)
def test_other_ports_than_the_usual_are_told(
    ports: list[int], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    note_other_ports(ports, 7101)
    assert capsys.readouterr() == ("", said)


def test_ranges_are_short() -> None:
    assert ranges([7101]) == "7101"
    assert ranges([7101, 7102, 7104, 7106, 7107]) == "7101-7102, 7104, 7106-7107"
