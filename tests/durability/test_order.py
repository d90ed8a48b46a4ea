"""No answer and no push leaves a node before the sync that covers it (P2), by its system calls."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from cluster.ports import PortReservations
from kvnode import Client
from kvnode.storage.tail import RECORD_BYTES_MAX
from tests.cluster.convergence import wait_equal
from tests.node.process import COMMAND, NodeProcess, until
from tests.rpc.api import Api

from .hasty import BUGS
from .order import Order, judge
from .strace import STRACE, calls, command, is_complete

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not STRACE, reason="needs strace (apt-get install strace)"),
]

ALONE, LARGE, TOGETHER = 12, 6, 24
"""Keys written one after the other, so with values the log's tail does not take, and by several
clients at once."""
ALL = ALONE + LARGE + TOGETHER


@contextmanager
def pair(folder: Path, program: Sequence[str]) -> Iterator[list[NodeProcess]]:
    """Two nodes that know each other; the first runs ``program`` and is watched."""
    reservations = PortReservations()
    ports = reservations.choose(2)
    watched = [*command(folder / "trace"), sys.executable, "-m", *program]
    nodes = [
        NodeProcess(
            folder / name,
            *("--name", name, "--found", "--peer", f"{other}=127.0.0.1:{ports[1 - index]}"),
            listen=f"127.0.0.1:{ports[index]}",
            command=first,
        )
        for index, (name, other, first) in enumerate((("a", "b", watched), ("b", "a", COMMAND)))
    ]
    try:
        yield [node.ready() for node in nodes]
    finally:
        for node in nodes:
            node.kill()
        reservations.close()


def order_of(folder: Path, *program: str) -> tuple[Order, str]:
    """What a watched node did with some writes, and its peer's port."""
    keys = [f"marked-{number:04}-end" for number in range(ALL)]
    # Put's answer names its key; a batch's, which the client library sends, does not.
    with pair(folder, program) as nodes:
        a, b = (Client(node.address, timeout_s=20.0) for node in nodes)
        with a, b, closing(Api(nodes[0].address)) as api, ThreadPoolExecutor(4) as pool:
            wait_equal((a, b))
            for key in keys[:ALONE]:
                api.put(key.encode(), b"v")
            for key in keys[ALONE : ALONE + LARGE]:
                api.put(key.encode(), bytes(RECORD_BYTES_MAX))
            list(pool.map(lambda key: api.put(key.encode(), b"v"), keys[ALONE + LARGE :]))
            wait_equal((a, b))
        nodes[0].process.terminate()
        nodes[0].ended()
        trace = folder / "trace"
        until(lambda: is_complete(trace, nodes[0].process.pid), "the trace's end")
    return judge(calls(trace), keys), nodes[1].address.rpartition(":")[2]


def test_nothing_leaves_before_the_sync_that_covers_it(tmp_path: Path) -> None:
    order, peer = order_of(tmp_path, "kvnode")
    assert not order.early
    assert (order.in_tail, order.in_lmdb) == (ALONE + TOGETHER, LARGE)
    pushes = order.sends.pop(peer)
    assert 0 < pushes <= ALL
    (answers,) = order.sends.values()
    assert answers > ALONE + LARGE, "the answers were not seen"


@pytest.mark.slow
@pytest.mark.parametrize("bug", BUGS)
def test_a_node_that_does_not_sync_first_is_found_out(tmp_path: Path, bug: str) -> None:
    order, _ = order_of(tmp_path, "tests.durability.hasty", bug)
    assert len(order.early) >= min(ALONE, LARGE)
