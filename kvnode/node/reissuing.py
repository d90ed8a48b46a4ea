"""Making the acknowledged writes of a set-aside directory again, once the node serves.

It waits until the members agree on what is left of the lost history (``Contests.agreed``): what is
issued again while somebody still holds it would be there twice.

Until it is done nothing is stable here (``Membership.makes_again``): the chain values that tell
where the histories part are kept, and so are the tombstones that outdo a lost register write. Both
were stable at once otherwise, for the lost history is no member's any more.

What stands in the way for now is waited for, and ``status`` says what: a directory that cannot be
read, a damaged key until it is repaired, a full disk. The writes keep their order meanwhile, each
may have seen those before it: behind one that waits all of them do.

What can never be made again is counted, logged with key and amount, and stays where it is: the
directory is remembered as one that has such writes (``Identity.left``), and ``status`` says so,
until the operator has deleted it. It holds nothing up.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from kvnode.core.accepted import Accepted
from kvnode.core.block import Block
from kvnode.core.dots import Dot
from kvnode.core.errors import Reason, Refused, StateError, quoted
from kvnode.core.operations import Increment, Operation
from kvnode.core.reissue import Again, Parted, Reissue, part
from kvnode.core.replica import Request
from kvnode.storage.interfaces import DiskFullError, Log, StorageError
from kvnode.storage.own_log import OwnLog

if TYPE_CHECKING:
    from kvnode.node.engine import Engine
    from kvnode.node.membership import Membership
    from kvnode.storage.directory import DataDirectory

logger = logging.getLogger(__name__)
T = TypeVar("T")
RETRY_AFTER_S = 0.5
READ_RETRY_MAX_S = 30.0
"""Between two attempts to read a directory, at most: the wait doubles up to this."""
DELETED_LOOK_S = 5.0
"""Between two looks whether the operator has deleted what was looked through."""
LEFT_NAMED = 5
"""Writes named in the status, of those that cannot be made again; the log names all."""
CURSOR = b"reissued "
"""Record per set-aside directory and origin: the first old seq of the last request made again."""
LEFT = b"not reissued "
"""Record per set-aside directory and old dot: what cannot be made again, in words."""
FOR_NOW = frozenset(
    {
        Reason.QUEUE_FULL,
        Reason.DISK_FULL,
        Reason.CLOCK_OFF,
        Reason.RESYNCING,
        Reason.NODE_FENCED,
        Reason.STOPPING,
        Reason.STATE_DAMAGED,
    }
)
"""Refusals that speak of the node, not of the request."""
OPERATION_BYTES = 1_000
"""Of a request made again, for the queue's accounting: about."""


@dataclass(slots=True)
class Aside:
    """One directory set aside."""

    path: Path
    made: list[int]
    """Origins whose writes are to be issued again; the node's own is the first."""
    blocks: list[Block]
    """Theirs, and those of other contested origins, in the order they arrived."""
    damaged: int = 0
    """Blocks that cannot be read."""

    def of(self, origin: int) -> list[Block]:
        """An origin's blocks."""
        return [block for block in self.blocks if block.origin == origin]


class Reissuing:
    """Issues again what only the directories set aside have. All on the event loop."""

    def __init__(self, directory: DataDirectory, engine: Engine, membership: Membership) -> None:
        self.waits = ""
        """What it waits for, in words; empty while it does not."""
        self._directory = directory
        self._engine = engine
        self._membership = membership

    @property
    def problem(self) -> str:
        """What waits, and what is never made again."""
        waits = f"lost writes wait to be issued again: {self.waits}" if self.waits else ""
        left = (
            f"of {self._directory.path / name} is not issued again: {what}. Look at it with "
            f"kvnode export {self._directory.path / name}, and delete it when that is settled"
            for name, what in self._directory.identity.left
        )
        return "; ".join(filter(None, (waits, *left)))

    @property
    def holds_up(self) -> str:
        """Why nothing is collected, and no log cut, but by the cap; empty if nothing waits."""
        if not self._membership.makes_again:
            return ""
        names = ", ".join(self._directory.identity.aside)
        doing = f"waits for: {self.waits}" if self.waits else "is under way"
        return f"lost writes of {names} are to be issued again first, which {doing}"

    def begin(self) -> bool:
        """Whether there is anything to do; nothing is stable from now on if so."""
        identity = self._directory.identity
        if identity.aside:
            self._membership.contests.asides = None
            self._membership.makes_again = True
        return bool(identity.aside or identity.left)

    async def run(self) -> None:
        """Do it, after ``begin``; a crash half way repeats nothing."""
        directory, membership = self._directory, self._membership
        asides = [await self._read(directory.path / name) for name in directory.identity.aside]
        membership.contests.asides = ends_of(asides)
        membership.look_again()
        if asides:
            await membership.wait_serving()
        for aside in asides:
            await self._agreed(aside.made)
            left = await self._make_again(aside)
            await self._noted(partial(directory.reissued, left))
        membership.makes_again = False
        while directory.identity.left:
            await self._noted(directory.forget_deleted)
            await asyncio.sleep(DELETED_LOOK_S)

    async def _wait(self, why: str, after_s: float) -> None:
        if why != self.waits:
            logger.warning("lost writes wait to be issued again: %s", why)
            self.waits = why
        await asyncio.sleep(after_s)

    async def _read(self, path: Path) -> Aside:
        """What is there; tried until it can be read or was deleted."""
        after_s = RETRY_AFTER_S
        while True:
            try:
                aside = await self._engine.ambient.in_thread(partial(read_aside, path))
            except StorageError as error:
                why = (
                    f"{path} to be readable ({error}). What can be read of it: kvnode export "
                    f"{path}. When that is settled, delete it"
                )
                await self._wait(why, after_s)
                after_s = min(2 * after_s, READ_RETRY_MAX_S)
            else:
                self.waits = ""
                return aside

    async def _agreed(self, origins: Sequence[int]) -> None:
        """Return when nobody holds anything of the lost histories any more."""
        contests, membership = self._membership.contests, self._membership
        for origin in origins:
            while why := contests.waits_for(membership.roster, origin):
                await self._wait(why, RETRY_AFTER_S)
        self.waits = ""

    async def _make_again(self, aside: Aside) -> str:
        """All there is, in order; what cannot be made again, in words."""
        engine, name = self._engine, aside.path.name.encode()
        parted, left = part_all(aside, engine.replica.chain_at, engine.vector, engine.log.pruned)
        cursors = {one: CURSOR + b"%s %016x" % (name, one) for one in aside.made}
        stored = {one: engine.log.get_record(cursor) for one, cursor in cursors.items()}
        work = Reissue(parted, engine.memtable.read)
        requests = work.requests()
        never: list[str] = []
        while (again := await self._readable(lambda: next(requests, None))) is not None:
            never += self._leave_out(name, again)
            origin, seq = again.dots[0]
            remembered = engine.replica.durable.requests.get(again.request_id)
            if seq <= int(stored[origin] or 0) and remembered is None:
                continue  # made again before a crash, so long ago that its id is forgotten
            accepted = await self._carry_out(name, again, never)
            if accepted is not None:
                first, repeated = accepted.first_seq, accepted.repeated
                done = partial(work.done, again, accepted.origin, first, repeated=repeated)
                await self._readable(done)
            await self._written(partial(_keep, {cursors[origin]: str(seq).encode()}))
        logger.warning(
            "issued again: %d operations of %s; %d register writes were outdone meanwhile",
            work.made,
            aside.path,
            work.outdone,
        )
        if work.unclear:
            left.append(f"{work.unclear} increments of unknown amount")
        if never:
            more = f" and {len(never) - LEFT_NAMED} more" if len(never) > LEFT_NAMED else ""
            named = ", ".join(never[:LEFT_NAMED]) + more
            left.append(f"{len(never)} operations that are refused now ({named})")
        if aside.damaged:
            left.append(f"{aside.damaged} damaged blocks of its log")
        for what in left:
            logger.error("of %s is not issued again: %s", aside.path, what)
        if not left:
            logger.warning("%s can be deleted", aside.path)
        return "; ".join(left)

    def _leave_out(self, name: bytes, again: Again) -> list[str]:
        """Leave out what could not be made again before a crash; which that is, in words."""
        found = []
        for index, dot in enumerate(again.dots):
            what = self._engine.log.get_record(_left(name, dot))
            if what is not None:
                again.leave_out(index)
                found.append(what.decode())
        return found

    async def _carry_out(self, name: bytes, again: Again, never: list[str]) -> Accepted | None:
        """Do it, without what cannot be done; None if nothing of it can, which is noted then."""
        while True:
            outcome = await carry_out(self._engine, again, self._show)
            self.waits = ""
            if isinstance(outcome, Accepted):
                return outcome
            overflows = outcome.reason is Reason.COUNTER_OVERFLOW
            out = [outcome.operation] if overflows else range(len(again.operations))
            found = {again.dots[index]: described(again.operations[index]) for index in out}
            for what in found.values():
                logger.error("cannot be issued again: %s: %s", what, outcome.message)
            never += found.values()
            rows = {_left(name, dot): what.encode() for dot, what in found.items()}
            await self._written(partial(_keep, rows))
            if not overflows:
                return None
            again.leave_out(outcome.operation)

    def _show(self, why: str) -> None:
        self.waits = why

    async def _readable(self, step: Callable[[], T]) -> T:
        """The step's result, as soon as no key is damaged that it reads."""
        while True:
            try:
                found = step()
            except StateError as damage:
                await self._wait(repaired(str(damage)), RETRY_AFTER_S)
            else:
                self.waits = ""
                return found

    async def _written(self, job: Callable[[Log], None]) -> None:
        """Do a job in the log's thread, as soon as there is room for it."""
        while True:
            try:
                await self._engine.in_log(job)
            except DiskFullError as error:
                await self._wait(f"room on the disk ({error})", RETRY_AFTER_S)
            else:
                self.waits = ""
                return

    async def _noted(self, step: Callable[[], None]) -> None:
        """Do what writes the identity; on the event loop, as all that does."""
        while True:
            try:
                step()
            except OSError as error:
                await self._wait(f"room on the disk ({error})", RETRY_AFTER_S)
            else:
                self.waits = ""
                return


def read_aside(path: Path) -> Aside:
    """What is there, nothing if it was deleted; StorageError if it cannot be read."""
    if not path.is_dir():
        logger.warning("%s was deleted: nothing of it is issued again", path)
        return Aside(path, [], [])
    found = OwnLog(path)
    for problem in found.problems:
        logger.error("%s: %s", path, problem)
    made = [found.member, *found.inherited]
    contested = found.roster.stands.keys() if found.roster else ()
    blocks = [block for block in found.histories if block.origin in {*made, *contested}]
    return Aside(path, made, blocks, len(found.problems))


def ends_of(asides: Sequence[Aside]) -> dict[int, dict[int, bytes]]:
    """Of what is to be issued again: origin -> where its blocks end -> chain values."""
    ends: dict[int, dict[int, bytes]] = {}
    for aside in asides:
        for block in aside.blocks:
            if block.origin in aside.made:
                ends.setdefault(block.origin, {})[block.last_seq] = block.chain
    return ends


def part_all(
    aside: Aside,
    known: Callable[[Dot], bytes | None],
    vector: Mapping[int, int],
    pruned: Mapping[int, int],
) -> tuple[Parted, list[str]]:
    """Where each history parts from the cluster's, and of which that cannot be told, in words.

    What cannot be told to be lost is not made again: not where the log was cut above the place.
    """
    parted = Parted([], [])
    made: set[Dot] = set()
    untold = []
    for origin in sorted({block.origin for block in aside.blocks}):
        blocks = aside.of(origin)
        found = part(blocks, known, vector.get(origin, 0), whole=origin not in pruned)
        if found is None and origin in aside.made:
            untold.append(
                f"anything of {origin:016x}, for where its history parts from the cluster's has "
                "left the log"
            )
        lost = blocks if found is None else found.lost
        parted.common.extend([] if found is None else found.common)
        if found is not None and origin in aside.made:
            made.update(block.end for block in lost)
        elif lost:
            parted.elsewhere[origin] = lost[0].first_seq
    parted.lost.extend(block for block in aside.blocks if block.end in made)
    return parted, untold


def repaired(damage: str) -> str:
    """What a damaged key waits for."""
    return f"a damaged key to be repaired ({damage}): kvnode repair"


def described(operation: Operation) -> str:
    """An operation's key, and the amount if it is an increment."""
    amount = f" {operation.amount:+d}" if isinstance(operation, Increment) else ""
    return quoted(operation.key) + amount


def _left(name: bytes, dot: Dot) -> bytes:
    return LEFT + b"%s %016x:%d" % (name, *dot)


def _keep(rows: Mapping[bytes, bytes], log: Log) -> None:
    for name, value in rows.items():
        log.put_record(name, value)


async def carry_out(
    engine: Engine, again: Again, waits: Callable[[str], None] = lambda _: None
) -> Accepted | Refused:
    """What became of a request; a refusal if it can never be made again as it is.

    What only stands in the way for now is waited for (``waits`` is told): the caller notes what was
    done, and what is not made again then never is. A node that stops cancels the wait.
    """
    request = Request(again.operations, again.request_id, again=True)
    size = OPERATION_BYTES * len(again.operations)
    while True:
        try:
            accepted, _ = await engine.submit(request, size)
            return accepted
        except Refused as refusal:
            if refusal.reason not in FOR_NOW:
                return refusal
            damaged = refusal.reason is Reason.STATE_DAMAGED
            waits(repaired(refusal.message) if damaged else refusal.message)
            await asyncio.sleep(RETRY_AFTER_S)
