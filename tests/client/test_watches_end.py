"""A watch ends with its client and with its process, wherever its reader is."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import time
from contextlib import aclosing
from weakref import ref

import pytest

from kvnode import BEGINNING, AsyncClient, Client
from kvnode.client.channels import CLOSED
from kvnode.client.dialling import PLAIN
from kvnode.client.listening import Line
from kvnode.v1 import watch_pb2
from tests.node.process import NodeProcess

HELD_AT_EXIT = """
import sys
from kvnode import BEGINNING, Client, Watch

with Client(sys.argv[1]) as db:
    db.put("k", "v")
    changes = iter({made}(since=BEGINNING))
    print(next(changes).key.decode())
"""

FORKED = """
import os, sys
from kvnode import BEGINNING, Watch

changes = iter(Watch(sys.argv[1], since=BEGINNING))
print(next(changes).key.decode(), flush=True)
child = os.fork()
if child:
    assert os.waitpid(child, 0) == (child, 0)
    print("parent", flush=True)
"""


def printed(program: str, address: str) -> list[str]:
    """What it says until it has ended by itself, without an error."""
    done = subprocess.run(
        [sys.executable, "-c", program, address],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.parametrize("made", ["db.watch", "Watch(sys.argv[1], ", "Client(sys.argv[1]).watch"])
def test_an_iterator_that_is_still_held_keeps_no_process_alive(
    made: str, process: NodeProcess
) -> None:
    """gRPC would wait, when the interpreter drops it, for a thread that has been stopped."""
    program = HELD_AT_EXIT.replace("{made}(", made if made.endswith(" ") else f"{made}(")
    assert printed(program, process.address) == ["k"]


def test_the_child_of_a_fork_ends_too(process: NodeProcess) -> None:
    """The parent's threads are not there to close anything."""
    with Client(process.address) as client:
        client.put("k", "v")
    assert printed(FORKED, process.address) == ["k", "parent"]


def test_a_client_that_is_closed_ends_its_watches(process: NodeProcess) -> None:
    """In another thread, between two steps, and before the first one."""
    with Client(process.address) as client:
        client.put("k", "v")
        read, between, unread = (client.watch(since=BEGINNING) for _ in range(3))
        begun = threading.Event()
        told: list[bytes] = []

        def follow() -> None:
            for change in read:
                told.append(change.key)
                begun.set()

        thread = threading.Thread(target=follow)
        thread.start()
        changes = iter(between)
        assert next(changes).key == b"k"
        assert begun.wait(60)
    thread.join(60)
    assert not thread.is_alive()
    assert told == [b"k"]
    assert list(changes) == []
    assert list(unread) == []


def test_who_asks_when_it_was_closed_is_answered(process: NodeProcess) -> None:
    """Another thread may close it at any moment, also before the wait has begun."""
    line = Line(process.address, PLAIN, watch_pb2.WatchRequest())
    line.close()
    line.ask()
    assert line.answered(time.monotonic() + 5)
    assert line.answer() is None


def test_an_asyncio_client_that_is_closed_ends_its_watches(process: NodeProcess) -> None:
    async def test() -> None:
        async with AsyncClient(process.address) as client:
            await client.put("k", "v")
            read, between, unread = (client.watch(since=BEGINNING) for _ in range(3))
            begun = asyncio.Event()
            told: list[bytes] = []

            async def follow() -> None:
                async for change in read:
                    told.append(change.key)
                    begun.set()

            task = asyncio.create_task(follow())
            changes = aiter(between)
            assert (await anext(changes)).key == b"k"
            await begun.wait()
        await task
        assert told == [b"k"]
        assert [each async for each in changes] == []
        assert [each async for each in unread] == []

    asyncio.run(test())


def test_a_session_s_watch_ends_with_the_client_it_shares_connections_with(
    process: NodeProcess,
) -> None:
    with Client(process.address) as client:
        session = client.session()
        watch = session.watch(since=BEGINNING)
        session.close()
        client.put("k", "v")
        changes = iter(watch)
        assert next(changes).key == b"k"
    assert list(changes) == []


def test_a_closed_client_makes_no_watch() -> None:
    client = Client()
    client.close()
    with pytest.raises(RuntimeError, match=CLOSED):
        client.watch()

    async def test() -> None:
        client = AsyncClient()
        await client.close()
        with pytest.raises(RuntimeError, match=CLOSED):
            client.watch()

    asyncio.run(test())


def test_a_client_keeps_no_watch_alive(process: NodeProcess) -> None:
    async def test() -> None:
        async with AsyncClient(process.address) as client:
            watch = client.watch(since=BEGINNING)
            async with aclosing(watch.steps()) as steps:
                await anext(steps)
            forgotten = ref(watch)
            del watch, steps
            gc.collect()
            assert forgotten() is None

    with Client(process.address) as client:
        watch = client.watch(since=BEGINNING)
        next(watch.steps())
        forgotten = ref(watch)
        del watch
        gc.collect()
        assert forgotten() is None
    asyncio.run(test())
