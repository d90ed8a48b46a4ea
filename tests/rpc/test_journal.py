"""The journal of what last-writer-wins dropped, over a real node."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kvnode.core.errors import Reason
from kvnode.v1 import journal_pb2
from tests.node.process import NodeProcess

from .api import CALL_S, LWW_REGISTER, Api, refusal
from .impostor import Impostor, now_ms

Start = Callable[..., tuple[NodeProcess, Api]]


def lost(api: Api, prefix: bytes = b"", **fields: int) -> journal_pb2.ListLostResponse:
    request = journal_pb2.ListLostRequest(prefix=prefix, **fields)
    found: journal_pb2.ListLostResponse = api.journal.List(request, timeout=CALL_S)
    return found


def without_names(row: journal_pb2.LostValue) -> journal_pb2.LostValue:
    found = journal_pb2.LostValue()
    found.CopyFrom(row)
    found.lost.node = found.winner.node = ""
    return found


def test_both_clocks_and_the_winner_are_named_also_after_a_kill(start: Start) -> None:
    """P4: nothing that was acknowledged disappears without a trace."""
    process, api = start()
    mine = api.put(b"k", b"mine", type=LWW_REGISTER).result.dot
    api.put(b"other", b"alone", type=LWW_REGISTER)
    region = Impostor(50)
    region.push(api, region.block([3, b"k", b"theirs"], hlc=(now_ms() + 5_000) << 16))
    slow = Impostor(51)
    slow.push(api, slow.block([3, b"old", b"first"], [3, b"k", b"late news"], hlc=7 << 16))
    rows = lost(api).rows
    assert [(row.key, row.lost.value) for row in rows] == [(b"k", b"late news"), (b"k", b"mine")]
    assert (rows[1].lost.dot, rows[1].lost.node) == (mine, "node1")
    assert (rows[1].winner.dot.origin, rows[1].winner.dot.seq) == (50, 1)
    assert (rows[1].winner.node, rows[1].winner_deleted) == ("impostor", False)
    assert rows[1].winner.time_ms > rows[1].lost.time_ms > 0
    assert api.journal.Get(journal_pb2.GetLostRequest(id=rows[0].id), timeout=CALL_S) == rows[0]
    process.kill()
    for _ in range(2):
        process, api = start()
        # a peer's name is learned from it, and kept with the checkpoint that was not made
        assert [without_names(row) for row in lost(api).rows] == [
            without_names(row) for row in rows
        ]
        process.stop()


def test_pages_and_prefixes(start: Start) -> None:
    _, api = start()
    first, second = Impostor(50), Impostor(51)
    keys = [b"a%d" % number for number in range(5)] + [b"b"]
    first.push(api, first.block(*([3, key, b"early"] for key in keys), hlc=1 << 16))
    second.push(api, second.block(*([3, key, b"late"] for key in keys), hlc=2 << 16))
    assert [row.key for row in lost(api).rows] == keys[::-1]
    page = lost(api, b"a", limit=3)
    assert [row.key for row in page.rows] == [b"a4", b"a3", b"a2"]
    rest = lost(api, b"a", limit=3, before=page.next_before)
    assert ([row.key for row in rest.rows], rest.next_before) == ([b"a1", b"a0"], 0)


@pytest.mark.parametrize("number", [0, 999])
def test_a_row_that_is_not_there(api: Api, number: int) -> None:
    request = journal_pb2.GetLostRequest(id=number)
    found = refusal(lambda: api.journal.Get(request, timeout=CALL_S))
    assert found.info.reason == Reason.NO_SUCH_RECORD


def test_a_page_that_is_too_long(api: Api) -> None:
    assert refusal(lambda: lost(api, limit=1001)).info.reason == Reason.BAD_REQUEST
