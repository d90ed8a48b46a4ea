"""One thread or task reads a watch: another is refused, and a left one is succeeded."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing

import pytest

from kvnode import BEGINNING, AsyncWatch, Client, Watch
from kvnode.client.changes import SECOND_READER, Readers, Step
from tests.node.process import NodeProcess

NOBODY = "127.0.0.1:1"


@pytest.fixture
def client(process: NodeProcess) -> Iterator[Client]:
    """With a key."""
    with Client(process.address) as found:
        found.put("there", "v")
        yield found


def told(steps: Iterator[Step]) -> list[bytes]:
    """The keys of the next step that has any."""
    return next([change.key for change in step.changes] for step in steps if step.changes)


async def told_by(steps: AsyncIterator[Step]) -> list[bytes]:
    """Likewise."""
    while not (step := await anext(steps)).changes:
        pass
    return [change.key for change in step.changes]


def test_another_thread_is_refused_while_one_waits() -> None:
    waits, refused = threading.Event(), threading.Event()

    def waiting(_whom: str) -> None:
        waits.set()
        assert refused.wait(60)

    watch = Watch(NOBODY, on_waiting=waiting)
    told: list[object] = []
    thread = threading.Thread(target=lambda: told.extend(watch))
    thread.start()
    assert waits.wait(60)
    with pytest.raises(RuntimeError, match=SECOND_READER):
        next(iter(watch))
    refused.set()
    watch.close()
    thread.join(60)
    assert not thread.is_alive()
    assert list(watch) == told == []


def test_another_task_is_refused_while_one_waits() -> None:
    async def test() -> None:
        waits = asyncio.Event()
        watch = AsyncWatch(NOBODY, on_waiting=lambda _whom: waits.set())
        first = asyncio.ensure_future(anext(watch.steps(), None))
        await waits.wait()
        with pytest.raises(RuntimeError, match=SECOND_READER):
            await anext(aiter(watch))
        watch.close()
        assert await first is None

    asyncio.run(test())


def test_an_iterator_that_was_left_is_succeeded_and_refused(
    process: NodeProcess, client: Client
) -> None:
    with Watch(process.address, since=BEGINNING, heartbeat_s=0.1) as watch:
        left = watch.steps()
        assert told(left) == [b"there"]
        client.put("new", "v")
        steps = watch.steps()
        assert told(steps) == [b"new"]
        with pytest.raises(RuntimeError, match=SECOND_READER):
            next(left)
        client.put("newer", "v")
        assert told(steps) == [b"newer"]


def test_a_task_goes_on_after_break(process: NodeProcess, client: Client) -> None:
    """What it left is closed by the loop, some turns later."""

    async def test() -> None:
        async with AsyncWatch(process.address, since=BEGINNING, heartbeat_s=0.1) as watch:
            async for change in watch:
                assert change.key == b"there"
                break
            client.put("new", "v")
            async for change in watch:
                assert change.key == b"new"
                break
            left = watch.steps()
            client.put("newer", "v")
            assert await told_by(left) == [b"newer"]
            client.put("newest", "v")
            async for change in watch:
                assert change.key == b"newest"
                break
            with pytest.raises(RuntimeError, match=SECOND_READER):
                await anext(left)

    asyncio.run(test())


def test_who_is_refused_takes_nobody_s_place() -> None:
    readers = Readers()
    first = readers.begin()
    with pytest.raises(RuntimeError):
        readers.begin()
    readers.leave(first)
    second = readers.begin()
    with pytest.raises(RuntimeError):
        readers.enter(first)
    readers.leave(first)
    with pytest.raises(RuntimeError):
        readers.begin()
    readers.leave(second)
    readers.enter(second)


def test_a_loop_goes_on_in_the_middle_of_what_came_together(
    process: NodeProcess, client: Client
) -> None:
    client.put_many({"pair/a": "1", "pair/b": "2"})
    with Watch(process.address, prefix="pair/", since=BEGINNING) as watch:
        for wanted in (b"pair/a", b"pair/b"):
            assert next(iter(watch)).key == wanted

    async def test() -> None:
        async with AsyncWatch(process.address, prefix="pair/", since=BEGINNING) as watch:
            for wanted in (b"pair/a", b"pair/b"):
                async with aclosing(watch.__aiter__()) as changes:
                    assert (await anext(changes)).key == wanted

    asyncio.run(test())
