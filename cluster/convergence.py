"""Waiting until nodes that can reach each other are connected, and know what each of them knew.

"All have the same version vector" would be simpler and, while somebody writes, never true at the
moment one looks. So: each node has what the others had when they were first asked. When nobody
writes the two are the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from time import monotonic, sleep
from typing import Final

from cluster.vectors import Vector, joined, lacking
from kvnode import Client, KvnodeError
from kvnode.v1.admin_pb2 import StatusResponse

POLL_S: Final = 0.02
CALL_TIMEOUT_S: Final = 1.0
"""A node that hangs must not use up the whole wait."""

Pair = tuple[str, str]
Reports = Mapping[str, StatusResponse | KvnodeError]


def wait_together(
    endpoints: Mapping[str, str],
    pairs: Collection[Pair],
    *,
    timeout_s: float,
    caught_up: bool = True,
) -> list[str]:
    """What is missing, a phrase for each, when nothing is any more or the time is up.

    The two nodes of each pair have to say that they are connected to each other and, if
    ``caught_up``, to have what the other had. May take ``CALL_TIMEOUT_S`` per node longer.
    """
    give_up_s = monotonic() + timeout_s
    names = sorted({name for pair in pairs for name in pair})
    had: dict[str, Vector] = {}
    with ExitStack() as stack:
        clients = {
            name: stack.enter_context(Client(endpoints[name], timeout_s=CALL_TIMEOUT_S))
            for name in names
        }
        while True:
            reports = {name: _ask(client) for name, client in clients.items()}
            missing = list(_not_connected(reports, pairs))
            if caught_up:
                for name, report in reports.items():
                    if isinstance(report, StatusResponse):
                        had.setdefault(name, _vector_of(report))
                missing += _behind(reports, pairs, had)
            if not missing or monotonic() > give_up_s:
                return missing
            sleep(POLL_S)


def _ask(client: Client) -> StatusResponse | KvnodeError:
    try:
        return client.admin.status()
    except KvnodeError as error:
        return error


def _vector_of(report: StatusResponse) -> Vector:
    return {entry.origin: entry.seq for entry in report.vector}


def _not_connected(reports: Reports, pairs: Collection[Pair]) -> Iterator[str]:
    for name, report in reports.items():
        if isinstance(report, KvnodeError):
            yield f"{name} does not answer ({report})"
            continue
        others = _others(name, pairs)
        for peer in report.peers:
            if peer.name in others and peer.state != "connected":
                yield f"{name} -> {peer.name} is {peer.state} ({peer.problem})"


def _behind(reports: Reports, pairs: Collection[Pair], had: Mapping[str, Vector]) -> Iterator[str]:
    for name, report in reports.items():
        if isinstance(report, StatusResponse):
            target = joined(had.get(other, {}) for other in _others(name, pairs))
            if count := lacking(_vector_of(report), target):
                yield f"{name} lacks {count:,} operation{'s' if count > 1 else ''}"


def _others(name: str, pairs: Collection[Pair]) -> set[str]:
    return {other for pair in pairs if name in pair for other in pair} - {name}
