"""What becomes of watches: waiting, falling behind, being turned away, ending."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from kvnode.core.errors import Reason, Refused
from kvnode.core.operations import Delete, Increment, Put
from kvnode.core.types import LWW_REGISTER
from kvnode.core.watch import decode_cursor
from kvnode.node.watching import STEP_BYTES
from tests.storage.faulty import GatedLog, until

from . import nodes as real
from .watchers import Node, keys, news, refused, run, small_steps, step


def test_what_is_logged_is_not_told_before_it_is_visible() -> None:
    """Nothing leaves a node before the commit that caused it."""

    async def test() -> None:
        log = GatedLog()
        node = Node(1, log)
        watch = node.watch()
        assert not (await step(watch)).changes
        await node.write(Put(b"before", b"v"))
        log.stored.clear()
        log.after.clear()
        writing = asyncio.ensure_future(node.write(Put(b"k", b"v")))
        await until(log.stored.is_set)
        assert log.last_arrival == 2
        assert keys(await step(watch)) == [b"before"]
        for _ in range(3):
            assert not (await step(watch)).changes
        log.after.set()
        assert keys(await news(watch)) == [b"k"]
        await writing
        await watch.aclose()

    run(test)


def test_who_waits_is_woken_by_the_commit() -> None:
    """The heartbeat is an hour away: nothing but the commit can end the wait."""

    async def test() -> None:
        node = Node(1)
        node.service._heartbeat_ms = 3_600_000  # noqa: SLF001 - what the configuration says
        watch = node.watch()
        await step(watch)
        waiting = asyncio.ensure_future(step(watch))
        await until(lambda: bool(node.watching._news._waiters))  # noqa: SLF001
        await node.write(Put(b"k", b"v"))
        assert keys(await waiting) == [b"k"]
        await watch.aclose()

    run(test)


def test_without_a_token_it_begins_now() -> None:
    async def test() -> None:
        node = Node(1)
        await node.write(Put(b"old", b"v"))
        watch = node.watch()
        first = await step(watch)
        assert (list(first.changes), first.current) == ([], True)
        await node.write(Put(b"new", b"v"))
        found = await news(watch)
        assert keys(found) == [b"new"]
        assert found.current
        await watch.aclose()

    run(test)


def test_the_token_moves_on_over_what_others_wrote() -> None:
    """A quiet prefix in a busy cluster would fall below the log's floor."""

    async def test() -> None:
        node = Node(1)
        watch = node.watch(b"quiet/")
        await step(watch)
        for _ in range(5):
            vector = await node.write(Put(b"busy", b"v"))
        while True:
            found = await step(watch)
            assert not found.changes
            if decode_cursor(found.token, b"quiet/", b"default").shown == vector:
                break
        await watch.aclose()

    run(test)


def test_a_batch_larger_than_a_step_is_whole_and_comes_in_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The node holds a part at a time; only the last one has a token to go on from."""
    small_steps(monkeypatch)

    async def test() -> None:
        node = Node(1)
        watch = node.watch()
        await step(watch)
        names = [b"key%03d" % number for number in range(50)]
        await node.write(*(Put(name, bytes(50)) for name in names))
        parts = [await anext(watch)]
        while not parts[-1].token:
            parts.append(await anext(watch))
        assert len(parts) > 20
        assert [name for part in parts for name in keys(part)] == names
        await watch.aclose()

    run(test)


def test_what_is_written_between_two_parts_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first part's key changes while the second one is on its way: not one moment's state."""
    small_steps(monkeypatch)

    async def test() -> None:
        node = Node(1)
        watch = node.watch()
        await step(watch)
        await node.write(*(Put(b"key%d" % number, bytes(200), LWW_REGISTER) for number in range(3)))
        first = await anext(watch)
        assert (keys(first), first.token) == ([b"key0"], b"")
        await node.write(Put(b"key0", b"later", LWW_REGISTER))
        rest = await step(watch)
        assert not rest.current
        again = await news(watch)
        assert keys(again) == [b"key0"]
        assert again.changes[0].state.lww_register.value == b"later"
        assert again.current
        await watch.aclose()

    run(test)


def test_several_writes_of_a_key_are_one_change_with_all_their_dots() -> None:
    async def test() -> None:
        node = Node(1)
        watch = node.watch()
        await step(watch)
        await node.write(Increment(b"n", 1), Put(b"k", b"v"), Increment(b"n", 2), Delete(b"k"))
        found = await news(watch)
        assert [
            (change.state.key, [write.dot.seq for write in change.writes])
            for change in found.changes
        ] == [(b"n", [1, 3]), (b"k", [2, 4])]
        assert found.changes[0].state.pn_counter.value == 3
        assert not found.changes[1].state.HasField("siblings")
        await watch.aclose()

    run(test)


def test_a_reader_that_does_not_read_costs_a_vector(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory does not depend on what was written since: the log is read when it asks, a step."""
    reads: list[int] = []

    async def test() -> None:
        node = Node(1)
        watch = node.watch()
        await step(watch)
        lacking = node.log.lacking

        def counted(vector: dict[int, int], bytes_max: int) -> tuple[list[bytes], bool]:
            found = lacking(vector, bytes_max)
            reads.append(sum(map(len, found[0])))
            return found

        monkeypatch.setattr(node.log, "lacking", counted)
        for number in range(40):
            await node.write(Put(b"k%d" % number, bytes(STEP_BYTES // 4)))
        assert not reads
        seen: list[bytes] = []
        while len(seen) < 40:
            seen += keys(await news(watch))
        assert seen == [b"k%d" % number for number in range(40)]
        assert max(reads) < 2 * STEP_BYTES
        assert len(reads) >= 10
        await watch.aclose()

    run(test)


def test_watches_that_keep_up_share_one_look_at_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each commit would be read and decoded for each of them, on the loop that commits."""
    reads: list[int] = []

    async def test() -> None:
        node = Node(1)
        watches = [node.watch(prefix) for prefix in (b"", b"a", b"b", b"a")]
        for watch in watches:
            await step(watch)
        lacking = node.log.lacking

        def counted(vector: dict[int, int], bytes_max: int) -> tuple[list[bytes], bool]:
            reads.append(bytes_max)
            return lacking(vector, bytes_max)

        monkeypatch.setattr(node.log, "lacking", counted)
        for expected in (1, 2):
            await node.write(Put(b"a", b"v"), Put(b"b", b"v"))
            found = [keys(await news(watch)) for watch in watches]
            assert found == [[b"a", b"b"], [b"a"], [b"b"], [b"a"]]
            assert len(reads) == expected
        for watch in watches:
            await watch.aclose()

    run(test)


def test_a_slow_reader_below_the_floor_is_told_and_has_its_token() -> None:
    async def test() -> None:
        node = Node(1)
        watch = node.watch()
        begun = (await step(watch)).token
        await node.write(Put(b"k", b"v"))
        node.log.cut(node.log.last_arrival)
        refusal = await refused(watch)
        assert refusal.reason is Reason.WATCH_BEHIND
        assert refusal.facts["token"] == begun.hex()
        again = await refused(node.watch(since=begun))
        assert again.reason is Reason.WATCH_BEHIND
        anew = node.watch(existing=True)
        assert keys(await news(anew)) == [b"k"]
        await anew.aclose()

    run(test)


def test_a_watch_that_is_further_than_the_node_waits_for_it() -> None:
    """It would leave out, or show older, what comes here later."""

    async def test() -> None:
        here, there = Node(1), Node(2, watch_wait_ms=10_000)
        await here.write(Put(b"k", b"v"))
        watch = here.watch(existing=True)
        while not (found := await step(watch)).current:
            pass
        await watch.aclose()
        await there.write(Put(b"other", b"v"))
        later = there.watch(since=found.token)
        waiting = await step(later)
        assert (waiting.waiting, waiting.current, waiting.token) == (True, False, found.token)
        await there.pull(here)
        told = await news(later)
        assert keys(told) == [b"other"]
        assert not told.waiting
        await later.aclose()

    run(test)


def test_a_node_that_stays_behind_sends_the_watch_away() -> None:
    async def test() -> None:
        here, there = Node(1), Node(2)
        await here.write(Put(b"k", b"v"))
        watch = here.watch()
        token = (await step(watch)).token
        await watch.aclose()
        refusal = await refused(there.watch(since=token))
        assert refusal.reason is Reason.WATCH_AHEAD
        assert refusal.facts["token"] == token.hex()

    run(test)


def test_writes_that_went_with_a_forgotten_node_are_never_waited_for() -> None:
    """No node will ever have them, and what they changed was shown."""

    async def test() -> None:
        here, there = Node(1), Node(2)
        await here.write(Put(b"k", b"v"))
        await there.pull(here)
        await here.write(Put(b"k", b"lost"))
        watch = here.watch()
        token = (await step(watch)).token
        await watch.aclose()
        there.engine.replica.limits = {1: 1}
        refusal = await refused(there.watch(since=token))
        assert refusal.reason is Reason.WATCH_BEHIND

    run(test)


def test_there_is_a_bound_and_a_closed_watch_makes_room() -> None:
    async def test() -> None:
        node = Node(1, watches_max=2)
        first, second = node.watch(), node.watch()
        await step(first)
        await step(second)
        assert (await refused(node.watch())).reason is Reason.TOO_MANY_WATCHES
        await first.aclose()
        third = node.watch()
        await step(third)
        await second.aclose()
        await third.aclose()
        assert node.watching.count == 0

    run(test)


def test_they_end_with_the_node_and_with_its_place() -> None:
    async def test() -> None:
        node = Node(1)
        node.service._heartbeat_ms = 3_600_000  # noqa: SLF001 - what the configuration says
        watch = node.watch()
        token = (await step(watch)).token
        waiting = asyncio.ensure_future(refused(watch))
        await until(lambda: bool(node.watching._news._waiters))  # noqa: SLF001
        node.watching.close()
        refusal = await waiting
        assert refusal.reason is Reason.STOPPING
        assert refusal.facts["token"] == token.hex()
        assert (await refused(node.watch())).reason is Reason.STOPPING
        other = Node(2)
        other.refusal = Refused(Reason.FORGOTTEN, "it was forgotten")
        assert (await refused(other.watch())).reason is Reason.FORGOTTEN

    run(test)


def test_a_damaged_block_sends_the_watch_to_another_node() -> None:
    async def test() -> None:
        node = Node(1)
        watch = node.watch()
        await step(watch)
        await node.write(Put(b"k", b"v"))
        node.log.rotten.add((1, 1))  # type: ignore[attr-defined]
        assert (await refused(watch)).reason is Reason.STATE_DAMAGED

    run(test)


def test_existing_keys_come_in_key_order_while_writes_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small_steps(monkeypatch)

    async def test() -> None:
        node = Node(1)
        names = [b"p/%02d" % number for number in range(9)]
        await node.write(*(Put(name, b"v") for name in [b"a", *names, b"z", b"p0", b"p"]))
        await node.write(Delete(b"p/04"))
        watch = node.watch(b"p/", existing=True)
        seen: list[bytes] = []
        while len(seen) < 4:
            found = await step(watch)
            seen += keys(found)
            assert not [write for change in found.changes for write in change.writes]
        await node.write(Put(b"p/00", b"again"), Put(b"p/99", b"new"))
        await watch.aclose()
        watch = node.watch(b"p/", since=found.token)  # in the middle
        told: list[bytes] = []
        while not found.current:
            found = await step(watch)
            told += [change.state.key for change in found.changes if change.writes]
            seen += [change.state.key for change in found.changes if not change.writes]
        assert seen == [name for name in [*names, b"p/99"] if name != b"p/04"]
        assert told == [b"p/00", b"p/99"]
        await watch.aclose()

    run(test)


def test_a_merged_snapshot_leaves_watches_behind(tmp_path: Path) -> None:
    """What came with it is in no block of this node's log: nothing may go on as if it were."""
    nodes = real.Nodes(tmp_path, watch_heartbeat_ms=100)

    async def test() -> None:
        await nodes.start("a", "b")
        await nodes.write("a", Put(b"k", b"1"))
        await nodes.settle("a", "b")
        old = nodes["b"].watching.now()
        await nodes.stop("b")
        for number in range(5):
            await nodes.write("a", Put(b"k%d" % number, b"2"))
        await nodes.forget_log("a")
        await nodes.stop("a")
        await nodes.start("a", "b")
        reason = Reason.RESYNCING
        while reason is Reason.RESYNCING:  # in the middle of the merge
            await asyncio.sleep(0.001)  # a refusal comes at once, and the merge needs the loop
            steps = nodes["b"].watching.follow(old, b"", 0.1)
            reason = (await refused(steps)).reason
        assert reason is Reason.WATCH_BEHIND
        await nodes.settle("a", "b")

    real.run(nodes, test)
