"""What a question is given: parts that fail alone, loops with their figures, words on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar

import pytest

from bench.figures import Figures
from bench.pace import FULL, TINY
from bench.progress import Progress
from bench.room import REASON_LENGTH_MAX, Room, counting, reason_of
from bench.servers import Servers
from bench.stores import Pair


class Remembered:
    """A store without a server."""

    name: ClassVar[str] = "remembered"

    def __init__(self) -> None:
        self.pairs: dict[bytes, bytes] = {}
        self.batches: list[int] = []
        self.counted: list[int] = []
        self.left = 2
        """How often it says that it is still at something."""

    async def put(self, key: bytes, value: bytes) -> None:
        await self.write([(key, value)])

    async def get(self, key: bytes) -> bytes | None:
        return self.pairs.get(key)

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return [self.pairs.get(key) for key in keys]

    async def position(self) -> object:
        return len(self.batches)

    async def is_at_rest(self) -> bool:
        assert not self.batches, "asked when the load had begun"
        self.left -= 1
        return self.left < 0

    async def write(self, pairs: Sequence[Pair]) -> None:
        self.batches.append(len(pairs))
        self.pairs |= dict(pairs)
        await asyncio.sleep(0)

    async def increment(self, key: bytes) -> None:
        await self.increment_many([key])

    async def increment_many(self, keys: Sequence[bytes]) -> None:
        self.counted.append(len(keys))


def servers_of(store: Any) -> Servers[Any]:
    return Servers([], [store], [store], lambda: nullcontext(store))


def room_in(path: Path) -> tuple[Room, list[str]]:
    told: list[str] = []
    return Room(TINY, path, tell=told.append), told


def values(figures: Figures) -> dict[tuple[str, str], float]:
    return {(figure.name, figure.subject): figure.value for figure in figures}


def test_a_part_that_fails_is_named_with_its_reason_and_the_rest_goes_on(tmp_path: Path) -> None:
    room, told = room_in(tmp_path)
    with room.part("doomed"):
        raise OSError("no\n  disk")
    with room.part("fine"):
        room.figures.add("fine", "kvnode", 1.0, "units")
    assert room.figures.untaken == {"doomed": "OSError: no disk"}
    assert values(room.figures) == {("fine", "kvnode"): 1.0}
    assert told == ["not taken: doomed: OSError: no disk"]


def test_an_interruption_is_no_failure_of_a_part(tmp_path: Path) -> None:
    room, _ = room_in(tmp_path)
    with pytest.raises(KeyboardInterrupt), room.part("interrupted"):
        raise KeyboardInterrupt
    assert not room.figures.untaken


def test_a_reason_is_cut_where_it_gets_long() -> None:
    reason = reason_of(ValueError("x" * 5_000))
    assert reason.startswith("ValueError: xxx")
    assert len(reason) < REASON_LENGTH_MAX + 10


def test_a_loop_is_taken_with_rate_percentiles_and_cpu(tmp_path: Path) -> None:
    room, _ = room_in(tmp_path)
    store = Remembered()
    asyncio.run(room.take("loop", servers_of(store), [room.writing(store, 7)] * 2))
    found = values(room.figures)
    assert {name for name, _ in found} == {"loop", "loop/p50", "loop/p99", "loop/cpu"}
    assert found["loop", "remembered"] > 0
    assert found["loop/cpu", "remembered"] == 0, "there is no process"
    assert set(store.batches) == {7}
    assert store.left < 0, "it began while the server was still at something else"


def test_a_loop_that_fails_costs_its_own_figures_only(tmp_path: Path) -> None:
    room, _ = room_in(tmp_path)

    async def fail() -> int:
        raise TimeoutError("no answer")

    async def run() -> None:
        await room.take("bad", servers_of(Remembered()), [fail])
        await room.take("good", servers_of(store), [room.writing(store, 1)])

    store = Remembered()
    asyncio.run(run())
    assert room.figures.untaken == {"bad of remembered": "TimeoutError: no answer"}
    assert room.figures.value("bad", "remembered") is None
    assert room.figures.value("good", "remembered")


def test_points_of_a_loop_are_of_three_curves(tmp_path: Path) -> None:
    room, _ = room_in(tmp_path)
    run = asyncio.run(room.loop([room.writing(Remembered(), 2)]))
    room.add_points("size", "writes", 1_000, "kvnode", run)
    assert {name for name, _ in values(room.figures)} == {
        "curve/size/writes at 1,000",
        "curve/size/writes, p50 at 1,000",
        "curve/size/writes, p99 at 1,000",
    }


def test_a_load_writes_every_key_once_and_says_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.room.LOAD_TOLD", 2_000)
    room, told = room_in(tmp_path)
    store = Remembered()
    keys = [b"%d" % number for number in range(4_500)]
    asyncio.run(room.write_all(store, keys))
    assert sorted(store.pairs) == sorted(keys)
    assert sorted(store.batches) == [500, 1_000, 1_000, 1_000, 1_000]
    assert told == [
        "remembered: 2,000 of 4,500 keys loaded",
        "remembered: 4,000 of 4,500 keys loaded",
    ]


def test_random_keys_are_of_the_first_so_many(tmp_path: Path) -> None:
    room, _ = room_in(tmp_path)
    for _ in range(50):
        assert set(room.some_keys(3, 5)) <= set(room.keys[:5])
    assert len(set(room.keys)) == TINY.keys


def test_counting_makes_one_call_for_one_key_or_many() -> None:
    store = Remembered()

    async def run() -> int:
        return await counting(store, [b"a"])() + await counting(store, [b"a", b"b"])()

    assert asyncio.run(run()) == 3
    assert store.counted == [1, 2]


def test_rounds_are_told_and_directories_go(tmp_path: Path) -> None:
    told: list[str] = []
    room = Room(FULL, tmp_path, tell=told.append)
    assert list(room.rounds()) == [0, 1, 2]
    assert told == ["round 1 of 3", "round 2 of 3", "round 3 of 3"]
    (room.new_directory() / "file").write_bytes(b"x")
    room.clear()
    assert not list(tmp_path.iterdir())
    assert room.new_directory().is_dir()


def test_progress_is_a_line_each_where_no_terminal_is(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress("growth")
    progress.tell("1 of 2")
    progress.tell("2 of 2")
    progress.end()
    captured = capsys.readouterr()
    assert not captured.out
    lines = captured.err.splitlines()
    assert [line.rpartition("] ")[2] for line in lines] == ["growth: 1 of 2", "growth: 2 of 2"]
