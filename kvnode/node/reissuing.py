"""Making the acknowledged writes of a set-aside directory again, once the node serves."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from kvnode.core.block import Block
from kvnode.core.errors import Reason, Refused
from kvnode.core.reissue import Again, Reissue, part
from kvnode.core.replica import Request
from kvnode.core.writer import Accepted
from kvnode.storage.interfaces import Log, StorageError
from kvnode.storage.own_log import OwnLog

if TYPE_CHECKING:
    from kvnode.node.node import Node

logger = logging.getLogger(__name__)
RETRY_AFTER_S = 0.5
CURSOR = b"reissued "
"""Record per set-aside directory: the first old seq of the last request made again."""
OPERATION_BYTES = 1_000
"""Of a request made again, for the queue's accounting: about."""


async def reissue(node: Node) -> None:
    """Issue again what only the directories set aside have; a crash half way repeats nothing."""
    directory = node.directory
    await node.membership.wait_serving()
    while directory.identity.aside:
        aside = directory.path / directory.identity.aside[0]
        try:
            blocks = await node.engine.ambient.in_thread(partial(own_blocks, aside))
        except StorageError as error:
            logger.error("what was set aside cannot be issued again: %s", error)
            blocks = []
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
    cursor = CURSOR + aside.name.encode()
    stored = engine.log.get_record(cursor)
    made = int(stored) if stored else 0
    work = Reissue(parted, engine.memtable.read)
    for again in work.requests():
        seq = again.dots[0][1]
        if seq <= made and engine.replica.durable.requests.get(again.request_id) is None:
            continue  # made again before a crash, so long ago that its id is forgotten
        accepted = await _submit(node, again)
        if accepted is not None:
            work.done(again, accepted.origin, accepted.first_seq, repeated=accepted.repeated)
        await engine.in_log(partial(_keep, cursor, str(seq).encode()))
    logger.warning(
        "issued again: %d operations of %s; %d register writes were outdone meanwhile, %d "
        "increments are of unknown amount (kvnode export shows them). The directory can be "
        "deleted when that is settled",
        work.made,
        aside,
        work.outdone,
        work.unclear,
    )


def _keep(name: bytes, value: bytes, log: Log) -> None:
    log.put_record(name, value)


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
