"""Watches for threads and for asyncio, against real nodes that stop, hang and cut their logs."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from kvnode import AsyncClient, Client, InvalidArgument, NodeFailure, NodeUnavailable
from kvnode.client.watching import BEGINNING, AsyncWatch, Change, Step, Watch, WriteKind
from kvnode.errors import WatchBehind
from tests.client.scripted import scripted_node
from tests.node.process import NodeProcess, until

NOBODY = "127.0.0.1:1"
FORGETFUL = """
log_retention_bytes = 1
log_bytes_max = 1
retention_interval_ms = 20
checkpoint_keys = 100
"""


@pytest.fixture
def client(process: NodeProcess) -> Iterator[Client]:
    with Client(process.address) as found:
        yield found


def begun(watch: Watch) -> Iterator[Step]:
    """The steps behind the first one, which says that the node has begun."""
    steps = watch.steps()
    assert not next(steps).changes
    return steps


def follow(watch: Watch | AsyncWatch, idle_s: float, see: Callable[[Step], None]) -> None:
    """Every step, until it ends."""

    async def follow_it(watch: AsyncWatch) -> None:
        async for step in watch.steps(idle_s=idle_s):
            see(step)

    if isinstance(watch, AsyncWatch):
        asyncio.run(follow_it(watch))
    else:
        for step in watch.steps(idle_s=idle_s):
            see(step)


def test_changes_follow_what_was_there(process: NodeProcess, client: Client) -> None:
    client.put("cart/a", "1")
    client.put("other", "x")
    with Watch(process.address, prefix="cart/", since=BEGINNING, heartbeat_s=0.1) as watch:
        changes = iter(watch)
        there = next(changes)
        assert (there.key, there.state, there.writes) == (b"cart/a", client.get("cart/a"), ())
        receipt = client.put("cart/a", "2")
        client.put("other", "y")
        gone = client.delete("cart/a")
        told: list[Change] = [next(changes)]
        if len(told[0].writes) < 2:
            told.append(next(changes))
        writes = [write for change in told for write in change.writes]
        assert [(each.dot, each.kind) for each in writes] == [
            (receipt.dot, WriteKind.PUT),
            (gone.dot, WriteKind.DELETE),
        ]
        assert not told[-1].state.visible
        assert watch.token == told[-1].token


def test_a_token_goes_on_in_another_process_and_flavour(
    process: NodeProcess, client: Client
) -> None:
    with Watch(process.address, heartbeat_s=0.1) as watch:
        begun(watch)
    client.put("k", "v")

    async def go_on() -> Change:
        async with (
            AsyncWatch(process.address, since=watch.token, heartbeat_s=0.1) as again,
            aclosing(again.steps()) as steps,
        ):
            async for step in steps:
                for change in step.changes:
                    return change
        raise AssertionError("it ended")

    assert asyncio.run(go_on()).key == b"k"


def test_the_next_endpoint_goes_on_when_the_first_is_not_there(
    process: NodeProcess, client: Client
) -> None:
    with Watch([NOBODY, process.address], heartbeat_s=0.1) as watch:
        steps = begun(watch)
        client.put("k", "v")
        assert next(steps).changes[0].key == b"k"


def test_a_node_that_hangs_is_left(process: NodeProcess) -> None:
    """It still holds the connection: only its silence shows (trap 28)."""
    with Watch([process.address, NOBODY], heartbeat_s=0.1, patience_s=0.5) as watch:
        steps = begun(watch)
        process.process.send_signal(signal.SIGSTOP)
        with pytest.raises(NodeUnavailable):
            next(steps)


def test_a_node_that_hangs_is_left_by_asyncio(process: NodeProcess) -> None:
    async def test() -> None:
        async with AsyncWatch(process.address, heartbeat_s=0.1, patience_s=0.5) as watch:
            steps = watch.steps()
            assert not (await anext(steps)).changes
            process.process.send_signal(signal.SIGSTOP)
            with pytest.raises(NodeUnavailable):
                await anext(steps)

    asyncio.run(test())


def test_what_is_no_kvnode_of_this_version_is_said() -> None:
    with (
        scripted_node() as old,
        Watch(old.address) as watch,
        pytest.raises(NodeFailure, match="no kvnode of this version"),
    ):
        next(iter(watch))


def test_a_restart_of_the_node_is_not_seen(start: Callable[..., NodeProcess]) -> None:
    node = start()
    with Client(node.address) as client, Watch(node.address, heartbeat_s=0.1) as watch:
        steps = begun(watch)
        client.put("k1", "v")
        told = [change.key for change in next(steps).changes]
        node.stop()
        start(listen=node.address)
        client.put("k2", "v")
        while b"k2" not in told:
            told += [change.key for change in next(steps).changes]
        assert told == [b"k1", b"k2"]


def test_a_slow_reader_is_told_that_it_is_behind_and_begins_anew(
    start: Callable[..., NodeProcess], tmp_path: Path
) -> None:
    settings = tmp_path / "kvnode.toml"
    settings.write_text(FORGETFUL)
    node = start("--config", str(settings))
    with Client(node.address) as client, Watch(node.address, heartbeat_s=0.1) as watch:
        steps = begun(watch)
        for number in range(300):  # more than fits between the node and a reader that waits
            client.put(f"k{number:03}", bytes(100_000))
        until(lambda: client.admin.status().log.first_arrival > 150, "the log is cut", 30)
        with pytest.raises(WatchBehind) as caught:
            list(steps)
        assert caught.value.token == watch.token
        with Watch(node.address, since=BEGINNING, heartbeat_s=0.1) as anew:
            found = [change.key for _, change in zip(range(300), anew, strict=False)]
        assert found == [b"k%03d" % number for number in range(300)]


def test_another_thread_ends_it(process: NodeProcess) -> None:
    watch = Watch(process.address)
    steps = begun(watch)
    thread = threading.Thread(target=watch.close)
    thread.start()
    assert list(steps) == []
    thread.join()


def test_another_task_ends_it(process: NodeProcess) -> None:
    async def test() -> None:
        watch = AsyncWatch(process.address)
        steps = watch.steps()
        await anext(steps)
        waiting = asyncio.ensure_future(anext(steps, None))
        await asyncio.sleep(0)
        watch.close()
        assert await waiting is None

    asyncio.run(test())


def test_who_waits_for_nobody_is_told() -> None:
    """After a second, in both kinds; the command line shows it for threads."""
    told: list[str] = []

    async def test() -> None:
        def tell(text: str) -> None:
            told.append(text)
            watch.close()

        watch = AsyncWatch(NOBODY, on_waiting=tell)
        assert await anext(watch.steps(), None) is None

    asyncio.run(test())
    assert told == [f"{NOBODY} (connection refused)"]


@pytest.mark.parametrize("made", [Client.watch, AsyncClient.watch])
def test_a_client_s_watch_takes_what_a_watch_takes(made: Any) -> None:
    """Of the endpoints it has the client's."""
    client = Client(NOBODY) if made is Client.watch else AsyncClient(NOBODY)
    told: list[str] = []

    def tell(text: str) -> None:
        told.append(text)
        watch.close()

    watch = made(client, prefix="p", since=b"t", patience_s=60, heartbeat_s=0.1, on_waiting=tell)
    assert watch.token == b"t"
    if isinstance(watch, Watch):
        assert list(watch) == []
    else:
        assert asyncio.run(anext(watch.steps(), "over")) == "over"
    assert told == [f"{NOBODY} (connection refused)"]


@pytest.mark.parametrize("kind", [Watch, AsyncWatch])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"since": "beginning"}, "since='beginning' .* since=kvnode.BEGINNING"),
        ({"since": bytearray(b"t")}, "is not a token"),
        ({"heartbeat_s": 0.01}, "heartbeat_s 0.01 is not in 0.1 to 60"),
        ({"heartbeat_s": "5"}, "heartbeat_s '5' is not a number"),
        ({"patience_s": 0}, "patience_s 0 is not positive"),
    ],
)
def test_a_watch_that_cannot_be_is_refused_where_it_is_made(
    kind: Any, given: dict[str, Any], said: str
) -> None:
    """``since`` of the command line is another's word; a node's own heartbeat would be silence."""
    with pytest.raises(InvalidArgument, match=said):
        kind(NOBODY, **given)


@pytest.mark.parametrize("kind", [Watch, AsyncWatch])
def test_who_waits_at_most_so_long_loses_nothing(
    kind: type[Watch | AsyncWatch], process: NodeProcess, client: Client
) -> None:
    """Each key is written while the iteration stands in a step that says that nothing came."""
    wanted = [b"%d" % number for number in range(20)]
    unwritten = iter(wanted)
    told: list[bytes] = []

    def see(step: Step) -> None:
        told.extend(change.key for change in step.changes)
        if not step.changes and step.token:
            client.put(next(unwritten, b"last"), "v")
        if len(told) == len(wanted):
            watch.close()

    watch = kind(process.address, heartbeat_s=0.1)
    follow(watch, 0.01, see)
    assert told == wanted


@pytest.mark.parametrize("kind", [Watch, AsyncWatch])
def test_nobody_there_is_no_reason_to_wait_longer(kind: type[Watch | AsyncWatch]) -> None:
    """In the pauses between attempts, which get longer than that, there are steps too."""
    watch = kind(NOBODY, since=b"t", patience_s=3)
    gaps: list[float] = []
    seen_s = time.monotonic()

    def see(step: Step) -> None:
        nonlocal seen_s
        assert step == Step((), b"t", current=False)
        gaps.append(time.monotonic() - seen_s)
        seen_s += gaps[-1]

    with pytest.raises(NodeUnavailable):
        follow(watch, 0.1, see)
    assert len(gaps) > 10
    assert sorted(gaps)[len(gaps) // 2] < 0.3


def test_a_node_that_hangs_is_left_by_who_does_not_wait_for_it(process: NodeProcess) -> None:
    """Its silence counts through all the steps that say that nothing came."""
    with Watch([process.address, NOBODY], heartbeat_s=0.1, patience_s=0.5) as watch:
        steps = watch.steps(idle_s=0.02)
        while not next(steps).token:
            pass
        process.process.send_signal(signal.SIGSTOP)
        since_s = time.monotonic()
        with pytest.raises(NodeUnavailable):
            list(steps)
        assert time.monotonic() - since_s < 20


@pytest.mark.parametrize("kind", [Watch, AsyncWatch])
def test_a_time_that_is_none_is_refused_at_the_call(kind: type[Watch | AsyncWatch]) -> None:
    for wrong in (0, -1.0, True):
        with pytest.raises(InvalidArgument, match="idle_s"):
            kind(NOBODY).steps(idle_s=wrong)


def test_a_cancelled_task_stays_cancelled(process: NodeProcess) -> None:
    async def test() -> None:
        watch = AsyncWatch(process.address)
        steps = watch.steps()
        await anext(steps)
        waiting = asyncio.ensure_future(anext(steps))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(test())
