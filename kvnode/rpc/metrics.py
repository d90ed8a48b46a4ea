"""A node's figures for Prometheus: ``GET /metrics`` over HTTP, in its text format.

Everything comes from the answer to Status at the moment somebody asks, so serving pays nothing for
it. The library answers in threads of its own; each of them has the event loop make that answer.

Names follow Prometheus's conventions: base units, ``_total`` on what only grows and begins again
with the process. What has no value (how long a peer that was never met has been silent) has no
sample, rather than a 0 that looks well.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from kvnode.v1 import admin_pb2 as pb

logger = logging.getLogger(__name__)

ANSWER_S = 10.0
"""A node that cannot tell its status within that long has none: the scrape fails."""
STATES = (
    "serving", "degraded", "fenced", "resyncing", "stopping",
    "founding", "joining", "returning", "leaving", "forgotten",
)  # fmt: skip
"""What ``StatusResponse.state`` can be."""


class Figure(NamedTuple):
    """One number of a node."""

    name: str
    """Without ``kvnode_``; on ``_total`` if it is a counter."""
    text: str
    value: Callable[[pb.StatusResponse], float]


class PeerFigure(NamedTuple):
    """One number of each peer; None is no sample."""

    name: str
    text: str
    value: Callable[[pb.PeerStatus], float | None]


FIGURES = (
    Figure("uptime_seconds", "Since the node started.", lambda it: it.uptime_ms / 1000),
    Figure("operations_accepted_total", "Written here.", lambda it: it.operations_accepted),
    Figure("operations_refused_total", "Refused here.", lambda it: it.operations_refused),
    Figure("operations_received_total", "Taken from peers.", lambda it: it.operations_received),
    Figure(
        "buffered_lost_total",
        "Operations acknowledged as DURABILITY_BUFFERED that came to nothing.",
        lambda it: it.buffered_lost,
    ),
    Figure("commits_total", "Group commits, of one fsync each.", lambda it: it.commits),
    Figure(
        "anti_entropy_rounds_total",
        "Comparisons with what all peers reported.",
        lambda it: it.anti_entropy_rounds,
    ),
    Figure("queued_requests", "Waiting for the next commit.", lambda it: it.queued_requests),
    Figure("queued_bytes", "Waiting for the next commit.", lambda it: it.queued_bytes),
    Figure("watches", "Open now.", lambda it: it.watches),
    Figure(
        "clock_offset_seconds",
        "Own wall clock against the median of all members.",
        lambda it: it.clock_offset_ms / 1000,
    ),
    Figure(
        "push_buffer_bytes", "Own blocks in memory for pushing.", lambda it: it.push_buffer_bytes
    ),
    Figure("forks", "Origins of which nothing is taken any more.", lambda it: len(it.forks)),
    Figure(
        "quarantine_blocks",
        "Blocks that could not be taken, and wait for somebody.",
        lambda it: it.quarantine.records,
    ),
    Figure(
        "quarantine_pushed_out_total",
        "Blocks that left the quarantine for newer ones.",
        lambda it: it.quarantine.pushed_out,
    ),
    Figure("log_bytes", "Of the blocks in the log.", lambda it: it.log.block_bytes),
    Figure("log_bytes_max", "The log is never larger.", lambda it: it.log.bytes_max),
    Figure("log_file_bytes", "Of the log's file.", lambda it: it.log.file_bytes),
    Figure(
        "log_appended_bytes_per_second",
        "In the last minute or so.",
        lambda it: it.log.appended_bytes_per_s,
    ),
    Figure(
        "checkpoint_behind_operations",
        "What a start after a crash would replay.",
        lambda it: it.checkpoint.behind_ops,
    ),
    Figure(
        "checkpoint_last_seconds",
        "How long the last one took.",
        lambda it: it.checkpoint.last_ms / 1000,
    ),
    Figure(
        "memtable_keys",
        "In memory for the next checkpoints.",
        lambda it: it.checkpoint.memtable_keys,
    ),
    Figure(
        "memtable_bytes",
        "In memory for the next checkpoints.",
        lambda it: it.checkpoint.memtable_bytes,
    ),
    Figure(
        "stored_keys",
        "In the state on disk, deleted ones that still wait included.",
        lambda it: it.checkpoint.stored_keys,
    ),
    Figure("state_used_bytes", "Of the state's file.", lambda it: it.checkpoint.used_bytes),
)

PEER_FIGURES = (
    PeerFigure("connected", "1: the link to it is up.", lambda it: it.state == "connected"),
    PeerFigure(
        "silent_seconds",
        "Since its last message; no sample if there was none.",
        lambda it: it.silent_ms / 1000 if it.origin else None,
    ),
    PeerFigure(
        "behind_operations",
        "That this node has and the peer had not acknowledged.",
        lambda it: it.behind_ops,
    ),
    PeerFigure("behind_bytes", "Of the log, likewise.", lambda it: it.behind_bytes),
    PeerFigure(
        "behind_seconds",
        "Age of this node's oldest own write that the peer had not acknowledged.",
        lambda it: it.behind_ms / 1000,
    ),
    PeerFigure(
        "ahead_operations", "That it reported and this node lacks.", lambda it: it.ahead_ops
    ),
    PeerFigure(
        "clock_offset_seconds",
        "Its wall clock minus this one's.",
        lambda it: it.clock_offset_ms / 1000,
    ),
    PeerFigure(
        "falls_off_seconds",
        "Until the log, at the present rate, no longer has what it lacks; no sample: never.",
        lambda it: it.falls_off_ms / 1000 if it.falls_off_ms else None,
    ),
    PeerFigure(
        "needs_snapshot",
        "1: the log no longer has all that it lacks.",
        lambda it: it.needs_snapshot,
    ),
)


def families(status: pb.StatusResponse) -> Iterator[Metric]:
    """All that a status tells, as Prometheus has it."""
    about = InfoMetricFamily("kvnode", "Who this is.")
    about.add_metric(
        [],
        {
            "cluster": status.cluster,
            "name": status.name,
            "origin": f"{status.origin:016x}",
            "version": status.version,
        },
    )
    yield about
    state = GaugeMetricFamily("kvnode_state", "1 for the one it is in.", labels=["state"])
    for one in dict.fromkeys((*STATES, status.state)):
        state.add_metric([one], one == status.state)
    yield state
    for figure in FIGURES:
        yield _family(figure.name, figure.text, figure.value(status))
    yield GaugeMetricFamily(
        "kvnode_disk_free_bytes",
        "Where the data directory is.",
        shutil.disk_usage(status.data_directory).free,
    )
    for each in PEER_FIGURES:
        of_peers = GaugeMetricFamily(f"kvnode_peer_{each.name}", each.text, labels=["peer"])
        for peer in status.peers:
            value = each.value(peer)
            if value is not None:
                of_peers.add_metric([peer.name], value)
        yield of_peers
    differing = GaugeMetricFamily(
        "kvnode_peer_diverged",
        "1: it has other data under the same version vector (kvnode verify).",
        labels=["peer"],
    )
    diverged = {each.peer for each in status.diverged}
    for name in sorted(diverged | {peer.name for peer in status.peers}):
        differing.add_metric([name], name in diverged)
    yield differing


def _family(name: str, text: str, value: float) -> Metric:
    kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
    return kind(f"kvnode_{name}", text, value)


class Exporter(Collector):
    """Answers whoever asks at an address, from now on until it is closed."""

    def __init__(self, address: str, status: Callable[[], pb.StatusResponse]) -> None:
        """Bind and answer; OSError if the address cannot be had.

        Args:
            address: HOST:PORT.
            status: called on the event loop that runs now.
        """
        self._status = status
        self._loop = asyncio.get_running_loop()
        registry = CollectorRegistry()
        registry.register(self)
        ProcessCollector(registry=registry)
        host, _, port = address.rpartition(":")
        self._server: WSGIServer
        self._thread: threading.Thread
        try:
            self._server, self._thread = start_http_server(int(port), host.strip("[]"), registry)
        except OSError as error:
            raise OSError(f"cannot serve metrics on {address}: {error.strerror}") from error
        self.port = self._server.server_port
        logger.info("metrics at http://%s:%d/metrics", host, self.port)

    def collect(self) -> Iterator[Metric]:
        """What ``CollectorRegistry`` asks for, in a thread of the HTTP server."""
        asked = asyncio.run_coroutine_threadsafe(self._ask(), self._loop)
        return families(asked.result(ANSWER_S))

    async def close(self) -> None:
        """Answer nobody any more; the address is free then."""
        await asyncio.to_thread(self._server.shutdown)
        self._server.server_close()
        await asyncio.to_thread(self._thread.join)

    async def _ask(self) -> pb.StatusResponse:
        return self._status()
