"""Watches while a node merges a snapshot."""

from __future__ import annotations

import pytest

from kvnode.core.errors import Reason, Refused
from kvnode.core.operations import Put
from kvnode.node.resync import RESYNCING

from .watchers import Node, run


def test_a_watch_that_begins_during_a_merge_is_told_to_come_again() -> None:
    """The log's floor is raised first: to begin anew would not help, until the merge is done."""

    async def test() -> None:
        node = Node(1)
        await node.write(Put(b"k", b"v"))
        await node.engine.pause(RESYNCING)
        node.log.adopt({9: 5}, [((9, 5), bytes(16))])
        for existing in (False, True):
            with pytest.raises(Refused) as refusal:
                async for _ in node.watch(existing=existing):
                    pass
            assert refusal.value.reason is Reason.RESYNCING
        node.engine.pausing = None
        await node.engine.close()

    run(test)
