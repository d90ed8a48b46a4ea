"""What a node tells of a key while a round is on its way to disk."""

from __future__ import annotations

from kvnode.core.operations import Put
from kvnode.node.verifier import Verifier
from kvnode.v1 import verify_pb2 as pb
from tests.storage.faulty import GatedLog, until
from tests.storage.rig import rig, run


def test_a_value_that_is_logged_and_not_applied_is_not_told_to_be_removed() -> None:
    """Who heals a damaged key with the answer would drop the value when its block arrives."""

    async def test() -> None:
        log = GatedLog()
        node = rig(log)
        verifier = Verifier(node.engine)
        log.after.clear()
        tasks = [node.submit(Put(key, b"v")) for key in (b"k", b"other")]
        await until(log.stored.is_set)
        assert not node.engine.vector
        request = pb.FetchRequest(keys=[b"k"], entries=True)
        (fetched,) = (await verifier.fetch(request)).keys
        assert not fetched.entry
        assert not fetched.removed
        log.after.set()
        for task in tasks:
            await task
        (fetched,) = (await verifier.fetch(request)).keys
        assert fetched.entry
        assert not fetched.removed
        verifier.close()
        await node.engine.close()

    run(test)
