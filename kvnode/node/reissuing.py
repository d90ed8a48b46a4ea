"""Making the acknowledged writes of a set-aside directory again, once the node serves.

It waits until the members agree on what is left of the lost history (``Contests.agreed``): what is
issued again while somebody still holds it would be there twice.

Until it is done nothing is stable here (``Membership.makes_again``): the chain values that tell
where the histories part are kept, and so are the tombstones that outdo a lost register write. Both
were stable at once otherwise, for the lost history is no member's any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from kvnode.core.block import Block
from kvnode.core.dots import Dot
from kvnode.core.errors import Reason, Refused
from kvnode.core.reissue import Again, Parted, Reissue, part
from kvnode.core.replica import Request
from kvnode.core.writer import Accepted
from kvnode.storage.interfaces import Log, StorageError
from kvnode.storage.own_log import OwnLog

if TYPE_CHECKING:
    from kvnode.node.engine import Engine
    from kvnode.node.membership import Membership
    from kvnode.node.node import Node

logger = logging.getLogger(__name__)
RETRY_AFTER_S = 0.5
CURSOR = b"reissued "
"""Record per set-aside directory and origin: the first old seq of the last request made again."""
FOR_NOW = frozenset(
    {
        Reason.QUEUE_FULL,
        Reason.DISK_FULL,
        Reason.CLOCK_OFF,
        Reason.RESYNCING,
        Reason.NODE_FENCED,
        Reason.STOPPING,
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

    def of(self, origin: int) -> list[Block]:
        """An origin's blocks."""
        return [block for block in self.blocks if block.origin == origin]


async def reissue(node: Node) -> None:
    """Issue again what only the directories set aside have; a crash half way repeats nothing."""
    directory, membership = node.directory, node.membership
    asides = await node.engine.ambient.in_thread(
        partial(read_asides, directory.path, directory.identity.aside)
    )
    membership.contests.asides = ends_of(asides)
    membership.look_again()
    await membership.wait_serving()
    for aside in asides:
        await _wait_agreed(membership, aside.made)
        if aside.blocks:
            await _make_again(node, aside)
        directory.reissued()
    membership.makes_again = False


async def _wait_agreed(membership: Membership, origins: Sequence[int]) -> None:
    while True:
        contests, roster = membership.contests, membership.roster
        if all(contests.agreed(roster, origin) for origin in origins):
            return
        await asyncio.sleep(RETRY_AFTER_S)


def read_asides(path: Path, names: Sequence[str]) -> list[Aside]:
    """What is there; of a directory that cannot be read nothing."""
    asides = []
    for name in names:
        aside = Aside(path / name, [], [])
        try:
            found = OwnLog(path / name)
        except StorageError as error:
            logger.error("what was set aside cannot be issued again: %s", error)
        else:
            for problem in found.problems:
                logger.error("%s", problem)
            aside.made = [found.member, *found.inherited]
            contested = found.roster.stands.keys() if found.roster else ()
            aside.blocks = [
                block for block in found.histories if block.origin in {*aside.made, *contested}
            ]
        asides.append(aside)
    return asides


def ends_of(asides: Sequence[Aside]) -> dict[int, dict[int, bytes]]:
    """Of what is to be issued again: origin -> where its blocks end -> chain values."""
    ends: dict[int, dict[int, bytes]] = {}
    for aside in asides:
        for block in aside.blocks:
            if block.origin in aside.made:
                ends.setdefault(block.origin, {})[block.last_seq] = block.chain
    return ends


def part_all(
    aside: Aside, known: Callable[[Dot], bytes | None], vector: Mapping[int, int]
) -> Parted:
    """Where each history parts from the cluster's.

    What cannot be told to be lost is not made again: not where the log was cut above the place.
    """
    parted = Parted([], [])
    made: set[Dot] = set()
    for origin in sorted({block.origin for block in aside.blocks}):
        blocks = aside.of(origin)
        found = part(blocks, known, vector.get(origin, 0))
        if found is None and origin in aside.made:
            logger.error(
                "where the history of %016x in %s parts from the cluster's has left the log: "
                "nothing of it is issued again. kvnode export shows what is there",
                origin,
                aside.path,
            )
        lost = blocks if found is None else found.lost
        parted.common.extend([] if found is None else found.common)
        if found is not None and origin in aside.made:
            made.update(block.end for block in lost)
        elif lost:
            parted.elsewhere[origin] = lost[0].first_seq
    parted.lost.extend(block for block in aside.blocks if block.end in made)
    return parted


async def _make_again(node: Node, aside: Aside) -> None:
    engine = node.engine
    parted = part_all(aside, engine.replica.chain_at, engine.vector)
    cursors = {one: CURSOR + b"%s %016x" % (aside.path.name.encode(), one) for one in aside.made}
    stored = {one: engine.log.get_record(cursor) for one, cursor in cursors.items()}
    work = Reissue(parted, engine.memtable.read)
    for again in work.requests():
        origin, seq = again.dots[0]
        remembered = engine.replica.durable.requests.get(again.request_id)
        if seq <= int(stored[origin] or 0) and remembered is None:
            continue  # made again before a crash, so long ago that its id is forgotten
        accepted = await carry_out(engine, again)
        if accepted is not None:
            work.done(again, accepted.origin, accepted.first_seq, repeated=accepted.repeated)
        await engine.in_log(partial(_keep, cursors[origin], str(seq).encode()))
    logger.warning(
        "issued again: %d operations of %s; %d register writes were outdone meanwhile, %d "
        "increments are of unknown amount (kvnode export shows them). The directory can be "
        "deleted when that is settled",
        work.made,
        aside.path,
        work.outdone,
        work.unclear,
    )


def _keep(name: bytes, value: bytes, log: Log) -> None:
    log.put_record(name, value)


async def carry_out(engine: Engine, again: Again) -> Accepted | None:
    """What became of a request; None if it can never be made again as it is.

    What only stands in the way for now is waited for: the caller notes what was done, and what is
    not made again then never is. A node that stops cancels the wait.
    """
    request = Request(again.operations, again.request_id, again=True)
    size = OPERATION_BYTES * len(again.operations)
    while True:
        try:
            accepted, _ = await engine.submit(request, size)
            return accepted
        except Refused as refusal:
            if refusal.reason in FOR_NOW:
                await asyncio.sleep(RETRY_AFTER_S)
                continue
            logger.error("cannot be issued again: %s: %s", again.operations, refusal.message)
            return None
