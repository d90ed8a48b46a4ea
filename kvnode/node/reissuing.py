"""Making the acknowledged writes of a set-aside directory again, once the node serves."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from kvnode.core.block import Block
from kvnode.core.errors import Reason, Refused
from kvnode.core.reissue import Again, Reissue, part
from kvnode.core.replica import Request
from kvnode.core.writer import Accepted
from kvnode.storage.own_log import OwnLog

if TYPE_CHECKING:
    from kvnode.node.node import Node

logger = logging.getLogger(__name__)
RETRY_AFTER_S = 0.5
OPERATION_BYTES = 1_000
"""Of a request made again, for the queue's accounting: about."""


async def reissue(node: Node) -> None:
    """Issue again what only the directory set aside has; a crash half way repeats nothing."""
    directory = node.directory
    aside = directory.path / directory.identity.aside
    await node.membership.wait_serving()
    blocks = await asyncio.to_thread(own_blocks, aside)
    if blocks:
        await _make_again(node, aside, blocks)
    directory.reissued()


async def _make_again(node: Node, aside: Path, blocks: list[Block]) -> None:
    engine, origin = node.engine, blocks[0].origin
    parted = part(blocks, engine.replica.chain_at, engine.vector.get(origin, 0))
    if parted is None:
        logger.error(
            "where the history in %s parts from the cluster's has left the log: nothing of it is "
            "issued again. kvnode export shows what is there",
            aside,
        )
        return
    work = Reissue(parted, engine.memtable.read)
    for again in work.requests():
        accepted = await _submit(node, again)
        if accepted is not None:
            work.done(again, accepted.origin, accepted.first_seq, repeated=accepted.repeated)
    logger.warning(
        "issued again: %d operations of %s; %d register writes were outdone meanwhile, %d "
        "increments are of unknown amount (kvnode export shows them). The directory can be "
        "deleted when that is settled",
        work.made,
        aside,
        work.outdone,
        work.unclear,
    )


async def _submit(node: Node, again: Again) -> Accepted | None:
    request = Request(again.operations, again.request_id)
    size = OPERATION_BYTES * len(again.operations)
    while True:
        try:
            accepted, _ = await node.engine.submit(request, size)
            return accepted
        except Refused as refusal:
            if refusal.reason in (Reason.QUEUE_FULL, Reason.DISK_FULL, Reason.CLOCK_OFF):
                await asyncio.sleep(RETRY_AFTER_S)
                continue
            logger.error("cannot be issued again: %s: %s", again.operations, refusal.message)
            return None


def own_blocks(aside: Path) -> list[Block]:
    """The blocks its node wrote under its last origin that the cluster knew, oldest first."""
    found = OwnLog(aside)
    for problem in found.problems:
        logger.error("%s", problem)
    return found.blocks
