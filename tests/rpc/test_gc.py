"""Collection.Status: what waits, and for whom."""

from __future__ import annotations

from collections.abc import Callable

from tests.node.process import NodeProcess, until

from .api import LWW_REGISTER, Api
from .impostor import Impostor

Start = Callable[..., tuple[NodeProcess, Api]]


def test_a_member_that_was_never_met_holds_everything_up(start: Start) -> None:
    process, api = start()
    api.put(b"r", b"v", type=LWW_REGISTER)
    api.delete(b"r")
    process.stop()  # writes a checkpoint: only what is on disk is collected
    _, api = start()
    status = api.collection()
    assert (status.rows_waiting, status.entries_collected) == (1, 0)
    assert [(row.origin, row.node, row.rows) for row in status.waiting] == [
        (status.origin, status.name, 1)
    ]
    assert not status.stable
    (member,) = status.members
    assert (member.node, member.origin, member.reported) == ("impostor", 0, False)
    assert (member.covered_ops, member.own_ops) == (0, 2)


def test_what_a_member_has_reported_is_stable(start: Start) -> None:
    process, api = start()
    api.put(b"r", b"v", type=LWW_REGISTER)
    api.delete(b"r")
    own = api.status().origin
    region = Impostor(7)

    def reported() -> bool:
        """Reports count as soon as the roster they were made among is on the node's disk."""
        region.push(api, has={own: 1})
        return bool(api.collection().members[0].reported)

    until(reported, "the member's report is taken")
    (member,) = api.collection().members
    assert (member.node, member.origin, member.reported) == ("impostor", 7, True)
    assert (member.usable, member.covered_ops, member.own_ops) == (True, 1, 2)
    region.push(api, has={own: 2, 7: 1})
    (member,) = api.collection().members
    assert (member.usable, member.covered_ops) == (False, 1), "its own write is not here"
    process.stop()  # with the checkpoint goes the report
    _, api = start()
    assert api.collection().rows_waiting == 1
    region.push(api, region.block([4, b"k", b"text", []]), has={own: 2, 7: 1})
    until(lambda: api.collection().entries_collected > 0, "the tombstone is collected")
    status = api.collection()
    assert status.entries_collected == 1
    assert [(row.origin, row.seq) for row in status.stable] == sorted([(own, 2), (7, 1)])
