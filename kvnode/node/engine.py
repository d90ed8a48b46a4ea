"""The commit loop: one owner of the replica, one fsync per round.

Requests and received blocks queue up, in bounds, while the round before them is on its way to
disk. Then the whole queue becomes the next round (``core/replica.py``): the batch is whatever has
arrived, and nobody waits for company. The event loop plans the round; a thread appends it to the
log and syncs (or the loop itself, see ``worker.py``), during which the loop merges what was
received; then, and only then, the round becomes visible, is answered and is pushed: ``_finish``.

What can go wrong with the append: the disk is full (the round is refused, nothing is changed, the
node goes on), or anything else. Then what is on disk is unknown: the node stops, and the round's
callers are told just that. A refusal would be a lie: they would write again, and count twice.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import TypeVar

from kvnode.config import Config
from kvnode.core.block import Block
from kvnode.core.dots import Dot, Vector
from kvnode.core.errors import OutcomeUnclear, Reason, Refused
from kvnode.core.progress import PushBuffer
from kvnode.core.receive import Judgement, Verdict
from kvnode.core.replica import Durable, Replica, Request, Round
from kvnode.core.requests import RequestWindow
from kvnode.core.stability import Stability
from kvnode.node.adjustments import Adjustments, Change
from kvnode.node.ambient import MACHINE, Ambient
from kvnode.node.checkpoints import Checkpoints
from kvnode.node.journal import Journal
from kvnode.node.quarantine import NodeQuarantine
from kvnode.node.queues import (
    Arrival,
    Arrivals,
    Counts,
    Idle,
    Outcome,
    Pending,
    Queue,
    reject,
    room,
    stopping,
)
from kvnode.node.recovery import recover
from kvnode.node.rest import Rest
from kvnode.node.worker import QUICK_BYTES
from kvnode.storage.interfaces import DiskFullError, Log, StateStore, StorageError
from kvnode.storage.memtable import Memtable

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Engine:
    """Replica, log and memtable behind one queue. All methods run on the event loop."""

    def __init__(
        self,
        config: Config,
        origin: int,
        log: Log,
        state: StateStore,
        ambient: Ambient = MACHINE,
    ) -> None:
        """Recover: load the checkpoint and replay the log behind it.

        Raises:
            StorageError: log and state do not belong together, or are damaged.
        """
        self.config = config
        self.ambient = ambient
        self.log = log
        self.counts = Counts()
        self.queue = Queue()
        self.on_commit: Callable[[Round], None] = lambda _: None
        self.on_failure: Callable[[BaseException], None] = lambda _: None
        self.lww_refusal: Callable[[], str] = lambda: ""
        self.memtable = Memtable(state)
        saved = state.load(config.requests_remembered)
        self.names: dict[int, str] = saved.names if saved else {}
        durable = saved.durable if saved else Durable(RequestWindow(config.requests_remembered))
        covered = saved.arrival if saved else 0
        if covered > log.last_arrival:
            raise StorageError(
                f"the state covers {covered} blocks and the log has {log.last_arrival}: one of "
                "them was replaced. Restore both, or start with an empty data directory"
            )
        self.replica = Replica(
            origin,
            durable,
            read=self.memtable.read,
            read_many=self.memtable.held_many,
            chain_at=log.chain_at,
            pruned=lambda dot: dot[1] < log.pruned.get(dot[0], 0),
            hold_bytes_max=config.hold_bytes_max,
            siblings_max=config.siblings_max,
        )
        self.journal = Journal(
            state, rows_max=config.journal_rows_max, bytes_max=config.journal_bytes_max
        )
        self.replayed = recover(log, covered, self.replica, self.names, self._install)
        self.applied_arrival = log.last_arrival
        """Up to here the log is applied; while a round is being logged, the log is ahead."""
        self.stability = Stability(durable.reports)
        self.collected: list[Dot] = []
        """Garbage rows looked at since the last checkpoint was cut."""
        self.checkpoints = Checkpoints(self, state, covered=covered, behind=self.replayed)
        self.rest = Rest(self)
        self.checkpoints.on_tidied = self.rest.begin
        enqueue = self.checkpoints.enqueue
        self.quarantine = NodeQuarantine(config, state, enqueue, self._fail, ambient.wall_ms)
        self.push_buffer = PushBuffer(
            config.push_buffer_bytes, self.replica.durable.vector.get(origin, 0) + 1
        )
        self.asked_at = -math.inf
        """When the last request came, whatever became of it; the event loop's time."""
        self._incoming = Arrivals()
        self._adjustments = Adjustments()
        self._worker = ambient.worker("kvnode-log")
        self._running: Round | None = None
        self._passers: list[asyncio.Future[None]] = []
        self._scheduled = False
        self.paused: asyncio.TimerHandle | None = None  # the next round waits for a checkpoint
        self._closing = False
        self.pausing: Refused | None = None
        """What everybody is told while nothing is taken; None: all is taken."""
        self._failure: BaseException | None = None
        self.idle = Idle()

    @property
    def vector(self) -> Vector:
        """What this node has, synced and applied. Never changed in place."""
        return self.replica.durable.vector

    async def submit(self, request: Request, size: int) -> Outcome:
        """Commit a client's request; returns what became of it and the session vector.

        Raises:
            Refused: nothing was changed.
        """
        return await self.enqueue(request, size)

    def enqueue(self, request: Request, size: int) -> asyncio.Future[Outcome]:
        """Queue a request behind those before it; Refused if there is no room for it."""
        config, queue = self.config, self.queue
        loop = asyncio.get_running_loop()
        self.asked_at = loop.time()
        count = len(request.operations)
        self.check_open()
        if queue.waiting and (  # a larger one would be told for ever to try again
            queue.operations + count > config.queue_operations_max
            or queue.bytes + size > config.queue_bytes_max
        ):
            self.counts.refused += count
            raise Refused(
                Reason.QUEUE_FULL,
                f"{queue.operations} operations wait for the disk: try again",
                limit=str(config.queue_operations_max),
            )
        if self.checkpoints.overdue:
            self.counts.refused += count
            raise Refused(Reason.QUEUE_FULL, "the checkpoint cannot keep up: try again")
        future: asyncio.Future[Outcome] = loop.create_future()
        queue.waiting.append((request, size, future))
        queue.operations += count
        queue.bytes += size
        self._schedule()
        return future

    async def receive(self, blocks: Sequence[Block], sender: str = "") -> list[Verdict]:
        """Commit blocks a peer sent; returns their verdicts when those applied are synced."""
        return await self.take(blocks, sender)

    def take(self, blocks: Sequence[Block], sender: str) -> asyncio.Future[list[Verdict]]:
        """``receive``, of which the queueing is done when it returns."""
        self.check_open()
        verdicts = self._incoming.add(blocks, sender)
        self._schedule()
        return verdicts

    async def between_rounds(self) -> None:
        """Return at a moment when no round is on its way to disk."""
        while self._running is not None:
            passed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._passers.append(passed)
            await passed

    async def all_answered(self) -> None:
        """Return when no client's request waits or is on its way to disk."""
        await self.between_rounds()
        while self.queue.waiting:
            await room(self)

    async def in_log(self, job: Callable[[Log], T]) -> T:
        """Run ``job`` in the log's thread, between two appends; commits wait for it meanwhile."""
        return await self._worker.result(lambda: job(self.log))

    async def adjust(self, change: Change) -> None:
        """Install entries between rounds (``adjustments.py``); Refused if the node is stopping."""
        self.check_open()
        done = self._adjustments.add(change)
        self._schedule()
        await done

    def fence(self, reason: str) -> None:
        """Take no more writes under this origin: somebody else has written under it."""
        durable = self.replica.durable
        if not durable.fence:
            logger.error("writes are refused from now on: %s", reason)
            durable.fence = reason
            self.checkpoints.start()

    async def pause(self, refusal: Refused) -> None:
        """Refuse what comes from now on; return when all that came before is committed."""
        assert self.pausing is None, "paused already"
        self.pausing = refusal
        await self._drain()

    def check_open(self) -> None:
        """Refused if nothing is taken any more, or for a while."""
        if self._closing or self._failure:
            raise Refused(Reason.STOPPING, "the node is stopping: use another one")
        if self.pausing is not None:
            raise Refused(self.pausing.reason, self.pausing.message)

    async def _drain(self) -> None:
        """Return when nothing waits and no round runs."""
        self.resume()
        await self.idle.wait()
        while self.queue.waiting or self._incoming or self._adjustments:
            self._schedule()
            await asyncio.sleep(0)
            await self.idle.wait()

    async def close(self) -> None:
        """Finish what runs, write a last checkpoint, stop the threads."""
        self._closing = True
        await self._drain()
        if not self._failure:
            await self.checkpoints.finish()
        self.checkpoints.close()
        self._worker.close()

    def _schedule(self) -> None:
        if not self._scheduled and self._running is None:
            self._scheduled = True
            self.idle.clear()
            pause_s = 0.0 if self._closing or self.pausing else self.checkpoints.pause_s
            if pause_s:
                self.paused = asyncio.get_running_loop().call_later(pause_s, self._start)
            else:
                asyncio.get_running_loop().call_soon(self._start)

    def resume(self) -> None:
        """What a round waited for is done, or must not be waited for."""
        if self.paused is not None:
            self.paused.cancel()
            self.paused = None
            asyncio.get_running_loop().call_soon(self._start)

    def _start(self) -> None:
        """Turn the queue into a round and send it to disk."""
        self._scheduled, self.paused = False, None
        if self._failure:
            self._abandon(self._failure)
            return
        self._adjustments.make(self.memtable, self.replica.durable)
        requests, request_futures = self.queue.take(self.config)
        arrivals = self._incoming.take(self.config)
        wall_ms = self.ambient.wall_ms()
        try:
            blocks = [arrival.block for arrival in arrivals]
            round_ = self.replica.plan(requests, blocks, wall_ms, self.lww_refusal())
        except Exception as error:  # a bug; without the round's answers the node is of no use
            reject(stopping(error), [*request_futures, *(each.future for each in arrivals)])
            self._fail(error)
            return
        self._running = round_
        futures = (request_futures, arrivals)
        if round_.records:
            self._worker.run(
                lambda: self.log.append(round_.records),
                lambda error: self._finish(round_, futures, error),
                alone=len(requests) + len(arrivals) == 1
                and len(round_.records[0].raw) <= QUICK_BYTES,
            )
            try:
                self.replica.absorb(round_)
            except Exception as error:
                self._failure = error
        else:
            self._finish(round_, futures, None)

    def _finish(
        self,
        round_: Round,
        futures: tuple[list[asyncio.Future[Outcome]], list[Arrival]],
        error: BaseException | None,
    ) -> None:
        """The append has returned: make the round visible, answer, push. Nothing before."""
        self._running = None
        passers, self._passers = self._passers, []
        for passed in passers:
            if not passed.done():
                passed.set_result(None)
        everybody: list[Pending] = [*futures[0], *(arrival.future for arrival in futures[1])]
        if isinstance(error, DiskFullError) and not self._failure:
            refusal = Refused(Reason.DISK_FULL, f"{error}: make room, or use another node")
            reject(refusal, everybody)
        elif error or self._failure:
            self._lose(error or self._failure or AssertionError(), everybody)
            return
        else:
            try:
                self._adopt(round_)
                self._answer(round_, *futures)
            except Exception as bug:
                self._lose(bug, everybody)
                return
        if self.queue.waiting or self._incoming or self._adjustments:
            self._schedule()
        else:
            self.idle.set()

    def _adopt(self, round_: Round) -> None:
        contested = len(self.replica.durable.forks), self.replica.durable.fence
        self.replica.commit(round_)
        self._install(round_)
        self.applied_arrival += len(round_.records)
        if round_.own:
            self.push_buffer.add(round_.own)
        self.counts.add(round_)
        if contested != (len(self.replica.durable.forks), self.replica.durable.fence):
            self.checkpoints.start()  # a restart must not forget it
        self.checkpoints.consider(round_)
        self.on_commit(round_)

    def _install(self, round_: Round) -> None:
        size = sum(len(block.raw) for block in round_.records)
        if round_.losers:
            self.journal.add(round_.losers)
            size += sum(loser.size for loser in round_.losers)  # the checkpoint carries them too
        self.memtable.install(round_.overlay, size)

    def _lose(self, error: BaseException, futures: Sequence[Pending]) -> None:
        """The round's records may be on disk: a restart will tell, its callers cannot be told."""
        reject(OutcomeUnclear(f"the log failed: {error}"), futures)
        self._fail(error)

    def _answer(
        self,
        round_: Round,
        requests: list[asyncio.Future[Outcome]],
        arrivals: list[Arrival],
    ) -> None:
        vector = self.vector
        for future, outcome in zip(requests, round_.outcomes, strict=True):
            if future.done():
                continue
            if isinstance(outcome, Refused):
                future.set_exception(outcome)
            else:
                future.set_result((outcome, vector))
        senders = [arrival.sender for arrival in arrivals]
        for sender, judgement in zip_longest(senders, round_.judgements, fillvalue=""):
            assert isinstance(judgement, Judgement), "a block without a verdict"
            self._report(judgement, sender)
        for arrival, judgement in zip(arrivals, round_.judgements, strict=False):
            if not arrival.future.done():
                arrival.future.set_result(judgement.verdict)
        self.quarantine.settle(vector)

    def _report(self, judgement: Judgement, sender: str) -> None:
        block = judgement.block
        if judgement.verdict is Verdict.MALFORMED:
            identity = (block.origin, block.first_seq, block.last_seq)
            self.quarantine.received(block.raw, judgement.reason, peer=sender, identity=identity)
        elif judgement.reason:
            logger.error("block refused: %s", judgement.reason)

    def _fail(self, error: BaseException) -> None:
        logger.critical("the node stops: %s", error, exc_info=error)
        self._failure = error
        self._abandon(error)
        self.on_failure(error)

    def _abandon(self, error: BaseException) -> None:
        refusal = stopping(error)
        reject(refusal, [future for _, _, future in self.queue.waiting])
        reject(refusal, [arrival.future for arrival in self._incoming.waiting])
        self._adjustments.refuse(refusal)
        self.queue = Queue()
        self._incoming = Arrivals()
        self.idle.set()
