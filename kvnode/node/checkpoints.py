"""When a checkpoint is made, and what it carries.

A checkpoint covers only synced and applied log: it is cut on the event loop, from the state as of
the last committed round (the log itself may be one round ahead), and written by a thread while
rounds go on. If it fails for lack of room, what it should have written waits
for the next one; if it fails otherwise, the node stops.

What collection (``collector.py``) has looked at, ``engine.collected``, goes with the checkpoint
that carries the entries as they were when it looked, or newer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from operator import add
from typing import TYPE_CHECKING, TypeVar

from kvnode.core.entry import Held
from kvnode.core.errors import Reason, Refused
from kvnode.core.replica import Durable, Round
from kvnode.node.backlog import OVERDUE, Backlog, pause_s
from kvnode.node.worker import Done, Job
from kvnode.storage.interfaces import (
    Checkpoint,
    DiskFullError,
    StateStore,
    StorageError,
    WriteFailed,
)

if TYPE_CHECKING:
    from kvnode.node.engine import Engine

logger = logging.getLogger(__name__)
RETRY_AFTER_S = 5.0
DISPOSED_AT_ONCE = 500
SPREAD_SHARE = 0.5
"""Of the time that the changes took to come, for writing them: at the same rate the next are half
there then. PostgreSQL has the same idea, and takes more (checkpoint_completion_target)."""
SPREAD_S_MAX = 5.0
"""A checkpoint that took longer would only hold memory, and leave more of the log to replay."""
T = TypeVar("T")


class Checkpoints:
    """The checkpoints of one engine."""

    def __init__(self, engine: Engine, state: StateStore, *, covered: int, behind: int) -> None:
        """Go on from the last checkpoint.

        Args:
            covered: arrival number it covers.
            behind: operations since.
        """
        self.state = state
        self.covered = covered
        self._operations = behind
        """Since the last one was cut."""
        self._frozen = Backlog()
        """In the one that is being written."""
        self.last_ms = 0
        self.made = 0
        """Since start."""
        self._engine = engine
        self._worker = engine.ambient.worker("kvnode-checkpoint")
        self._running: asyncio.Future[None] | None = None
        self._closed = False
        self._monotonic = engine.ambient.monotonic
        self._last = self._monotonic()
        self._not_before = 0.0
        self._wanted = False
        self._held = False
        self.on_tidied: Callable[[], None] = lambda: None
        """Nobody has written since the last checkpoint, and the state takes no more room."""
        self._tidied = 0
        """How many were made when the state was last tidied."""
        self._hurry = False
        """Somebody waits for the end of tidying."""
        self._spread = False
        """The one that is being written takes its time, and nobody waits for it."""
        self._recount: set[bytes] = set()
        self._horizon = 0
        """The next checkpoint moves the horizon there, if it is behind."""
        self._cuts = self._written = 0
        """Checkpoints begun since the start, and the last one of them that was written."""

    @property
    def running(self) -> bool:
        """Whether one is being written."""
        return self._running is not None

    @property
    def _waiting(self) -> Backlog:
        """For the next one."""
        memtable = self._engine.memtable
        return Backlog(memtable.active_keys, memtable.bytes_held, self._operations)

    @property
    def _full(self) -> float:
        """How much of a checkpoint's worth waits for the next one."""
        return self._waiting.worth(self._engine.config)

    @property
    def behind(self) -> Backlog:
        """What a start would replay."""
        return Backlog(*map(add, self._waiting, self._frozen))

    @property
    def overdue(self) -> bool:
        """Whether so much is not on disk, or waits to be, that no more may be accepted."""
        queue = self._engine.queue
        queued = Backlog(queue.operations, queue.bytes, queue.operations)
        return Backlog(*map(add, self.behind, queued)).worth(self._engine.config) > OVERDUE

    @property
    def pause_s(self) -> float:
        """How long a round is to wait before it begins (``backlog.py``)."""
        if self._running is None and not self._not_before:
            return 0.0
        return pause_s(self._full, self._frozen.worth(self._engine.config))

    def begin(self) -> None:
        """The node starts: if a checkpoint's worth was replayed, write it at once.

        A node that is killed soon after its start, again and again, has to replay it until then.
        """
        if self._full >= 1:
            self.start()

    def consider(self, round_: Round) -> None:
        """A round was committed: start a checkpoint if it is time, and end one if that is."""
        self._operations += sum(block.count for block in round_.records)
        self.start_if_due()
        if self._spread and self._full > SPREAD_SHARE:
            self._end_spread()

    def start_if_due(self) -> None:
        """Start a checkpoint if there is something for it and it is time."""
        if not self._something:
            return
        now = self._monotonic()
        if now < self._not_before:
            return
        interval_ms = self._engine.config.checkpoint_interval_ms
        if self._full >= 1 or (now - self._last) * 1000 >= interval_ms:
            self.start(spread_s=min(SPREAD_SHARE * (now - self._last), SPREAD_S_MAX))

    @property
    def _something(self) -> bool:
        return bool(self._operations or self._engine.collected or self._to_sweep)

    @property
    def _to_sweep(self) -> bool:
        return self._horizon > self._engine.replica.durable.horizon

    def sweep_to(self, horizon: int) -> None:
        """Let the next checkpoint move the horizon (``storage/deadlines.py``)."""
        self._horizon = max(self._horizon, horizon)

    def start(self, *, spread_s: float = 0.0) -> None:
        """Cut a checkpoint now, or as soon as the running one is done; none once closed.

        Args:
            spread_s: nobody waits for it, so writing it may take so long.
        """
        if self._running is not None or self._held or self._closed:
            self._wanted = True
            self._end_spread()
            return
        self._spread = spread_s > 0
        self._wanted = False
        engine = self._engine
        durable = engine.replica.durable
        self._frozen = frozen = self._waiting
        checkpoint = Checkpoint(
            arrival=engine.applied_arrival,
            durable=Durable(
                durable.requests,
                durable.vector,
                durable.chains,
                durable.hlc,
                dict(durable.forks),
                durable.fence,
                dict(durable.reports),
                max(durable.horizon, self._horizon),
            ),
            names=dict(engine.names),
            entries=engine.memtable.freeze(),
            requests=durable.requests.unsaved,
            requests_forgotten=durable.requests.forgotten,
            collected=engine.collected,
            journal=engine.journal.unsaved(),
            journal_floor=engine.journal.floor,
            recount=frozenset(self._recount),
            entries_bytes=frozen.size,
            spread_s=spread_s,
        )
        engine.collected = []
        self._recount.clear()
        self._cuts = cut = self._cuts + 1
        running: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._running = running
        self._last = started = self._monotonic()
        self._operations = 0

        def done(error: BaseException | None) -> None:
            self._running, self._spread, self._frozen = None, False, Backlog()
            self.last_ms = round((self._monotonic() - started) * 1000)
            self._not_before = 0.0
            if error is None:
                self._dispose(engine.memtable.drop_frozen())
                self.covered = checkpoint.arrival
                durable.requests.drop_unsaved(checkpoint.requests)
                durable.requests.drop_forgotten(len(checkpoint.requests_forgotten))
                self.made += 1
                engine.journal.saved(checkpoint.journal)
                engine.replica.durable.horizon = checkpoint.durable.horizon
                self._written = cut
            else:
                self._recount.update(checkpoint.recount)
                engine.memtable.restore_frozen(frozen.size)
                self._operations += frozen.operations
                engine.collected = checkpoint.collected + engine.collected
                self._not_before = self._monotonic() + RETRY_AFTER_S
                if isinstance(error, DiskFullError):
                    logger.error("checkpoint put off: %s", error)
                else:
                    engine.on_failure(error)
            running.set_result(None)
            if self._wanted and error is None:
                self.start()
            engine.resume()

        self._worker.run(lambda: self.state.save(checkpoint), done)

    def tidy(self) -> None:
        """If nobody has written since the last checkpoint, let the state take less room.

        The next checkpoint waits for the end of that, which is soon once it is wanted.
        """
        busy = self._running is not None or self._held or self._something
        if busy or len(self._engine.memtable) or self._tidied == self.made:
            return
        made, self._hurry = self.made, False
        running: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._running = running

        def goes_on() -> bool:
            return not (self._wanted or self._hurry)

        def done(error: BaseException | None) -> None:
            self._running = None
            if goes_on():
                self._tidied = made
            if isinstance(error, StorageError) and not isinstance(error, WriteFailed):
                logger.error("the state cannot be repacked: %s", error)
            elif error is not None:
                self._engine.on_failure(error)
            running.set_result(None)
            self._engine.resume()
            if self._wanted and error is None:
                self.start()
            elif self._tidied == made:
                self.on_tidied()

        self._worker.run(lambda: self.state.tidy(goes_on), done)

    def _dispose(self, entries: dict[bytes, Held]) -> None:
        """Free them in the thread, a few at a time: at once, the loop would stand still for it."""

        def free() -> None:
            while entries:
                for _ in range(min(len(entries), DISPOSED_AT_ONCE)):
                    entries.popitem()

        if not self._closed:  # else all goes with the process
            self._worker.run(free, lambda _: None)

    def _hurry_up(self) -> None:
        """Somebody waits for what is running, be it tidying."""
        self._hurry = True
        self._end_spread()

    def _end_spread(self) -> None:
        """Somebody waits for what is running, if it is a checkpoint."""
        if self._spread:
            self._spread = False
            self.state.hurry()

    def enqueue(self, job: Job, done: Done) -> None:
        """Run a job in the thread that writes the state, after what it has to do before.

        Refused (STOPPING) once that has ended: nobody would ever hear of the job.
        """
        self._check_open()
        self._end_spread()
        self._worker.run(job, done)

    async def current(self, recount: Iterable[bytes] = ()) -> None:
        """Return when a checkpoint has all that is applied now, and is as far as it shall be.

        Args:
            recount: keys whose segments' digests are to be counted anew with it.

        Raises:
            Refused: DISK_FULL, RESYNCING, or the node is stopping.
        """
        if self._held:
            raise Refused(Reason.RESYNCING, "this node is merging a snapshot: ask again later")
        self._recount.update(recount)
        while self._running is not None and (
            self._recount or self._to_sweep or len(self._engine.memtable)
        ):
            self._hurry_up()
            await asyncio.shield(self._running)  # it was cut before
        if not (self._recount or self._to_sweep or self._engine.memtable.active_keys):
            return
        if not self._running:
            self._check_open()
            self.start()
        cut, running = self._cuts, self._running
        assert running is not None
        await asyncio.shield(running)
        if self._written < cut:
            raise Refused(Reason.DISK_FULL, "a checkpoint failed: make room, or try again")

    async def flush(self) -> None:
        """Write what is in memory now, unless the disk is full. Not for ever: once."""
        self._hurry_up()
        while self._running is not None:
            await self._running
        if self._something or len(self._engine.memtable):
            self.start()
        while self._running is not None:
            await self._running

    async def run(self, job: Callable[[], T]) -> T:
        """The result of ``job``, run in the thread that writes the state, between checkpoints."""
        self._end_spread()
        return await self._worker.result(job)

    def hold(self) -> None:
        """Cut none until ``release``: the state on disk is being rewritten under them."""
        assert self._running is None, "hold over a checkpoint"
        self._held = True

    def release(self) -> None:
        """Go on, with the one that was wanted meanwhile."""
        self._held = False
        if self._wanted:
            self.start()

    def reload(self, arrival: int) -> None:
        """The state on disk was rewritten and covers the log up to ``arrival``."""
        self.covered = arrival
        self._operations = 0
        self.made += 1
        self._last = self._monotonic()

    async def finish(self) -> None:
        """Wait for a running checkpoint, then write what is left."""
        self._hurry_up()
        while self._running is not None:
            await self._running
        if self._something or self._wanted:
            self.start()
            assert self._running is not None
            await self._running

    def close(self) -> None:
        """End the thread."""
        self._closed = True
        self._end_spread()
        self._worker.close()

    def _check_open(self) -> None:
        if self._closed:
            raise Refused(Reason.STOPPING, "the node is stopping: use another one")
