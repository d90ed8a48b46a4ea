"""What a node does not keep in memory, above all when nobody writes any more."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kvnode.core.dots import Vector
from kvnode.core.operations import Increment
from kvnode.core.requests import RequestWindow
from kvnode.node import rest
from kvnode.node.retention import Retention
from tests.storage.faulty import until
from tests.storage.rig import Rig, checkpoint, rig, run
from tests.storage.stores import ORIGIN

IDS = [b"%16d" % number for number in range(20)]


async def written(ended: Callable[[], None]) -> Rig:
    """A node with requests, which a checkpoint has."""
    made = rig()
    made.engine.rest.on_end = ended
    for request_id in IDS:
        await made.submit(Increment(b"a", 1), request_id=request_id)
    await checkpoint(made.engine)
    return made


def objects(made: Rig) -> set[int]:
    return {id(known) for known, _ in made.engine.replica.durable.requests.all()}


def test_at_rest_request_ids_are_copied_and_known_as_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forgotten: list[bool] = []
    monkeypatch.setattr(rest, "forget_vectors", lambda: forgotten.append(True))

    async def test() -> None:
        ended: list[bool] = []
        made = await written(lambda: ended.append(True))
        window = made.engine.replica.durable.requests
        before, kept = window.all(), objects(made)
        made.engine.checkpoints.tidy()
        await until(lambda: bool(ended))
        assert not kept & objects(made)
        assert window.all() == before
        assert forgotten
        (again, _) = await made.submit(Increment(b"a", 1), request_id=IDS[3])
        assert again.repeated
        assert made.value(b"a") == len(IDS)
        await made.engine.close()

    run(test)


def test_it_is_done_once_for_each_time_somebody_wrote() -> None:
    async def test() -> None:
        ended: list[bool] = []
        made = await written(lambda: ended.append(True))
        for count in (1, 2):
            for _ in range(3):
                made.engine.checkpoints.tidy()
                await until(lambda count=count: len(ended) == count)  # type: ignore[misc]
            await made.submit(Increment(b"a", 1))
            await checkpoint(made.engine)
        await made.engine.close()

    run(test)


def test_who_writes_meanwhile_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process is not to look for garbage among what is written just now."""
    copying = RequestWindow.copying

    async def test() -> None:
        ended: list[bool] = []
        made = await written(lambda: ended.append(True))
        copies: list[bool] = []

        def and_one_more(window: RequestWindow) -> Callable[[], RequestWindow]:
            copies.append(True)
            copy = copying(window)
            made.engine.memtable.install({b"b": made.engine.memtable.read(b"a")}, 1)
            window.add(b"m" * 16, 1, 1, 1)
            return copy

        monkeypatch.setattr(RequestWindow, "copying", and_one_more)
        made.engine.checkpoints.tidy()
        for _ in range(3):  # each in the same thread, behind what is there
            await made.engine.checkpoints.run(lambda: None)
        assert not ended
        assert made.engine.replica.durable.requests.get(b"m" * 16)
        await made.engine.close()

    run(test)


@pytest.mark.parametrize(
    ("acknowledged", "kept"),
    [(None, 10), ({}, 10), ({ORIGIN: 3}, 7), ({ORIGIN: 10, 7: 99}, 0)],
    ids=["one was never met", "nothing", "some", "all"],
)
def test_what_every_member_has_is_not_kept_for_pushing(
    acknowledged: Vector | None, kept: int
) -> None:
    """16 MB in a node alone, which pushes to nobody."""

    async def test() -> None:
        made = rig()
        retention = Retention(
            made.engine, acknowledged=lambda: acknowledged, stable=dict, members=dict
        )
        for _ in range(10):
            await made.submit(Increment(b"a", 1))
        await retention.sweep()
        assert len(made.engine.push_buffer) == kept
        await made.engine.close()

    run(test)
