"""Every setting of a node, with its unit, its default and why.

A TOML file (``kvnode serve --config FILE``) sets any of them by name; flags of ``serve`` win over
the file. Unknown names are refused.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from kvnode.core.limits import Limits

PROTOCOL_MAX = {
    "key_bytes_max": 480,
    "value_bytes_max": 1 << 20,
    "batch_bytes_max": 4 << 20,
    "batch_operations_max": 10_000,
}
"""Limits that are part of the protocol: a node may be stricter, never laxer."""


class ConfigError(Exception):
    """A setting is wrong; the message names it."""


@dataclass(frozen=True, slots=True)
class Config:
    """A node's settings. Units are in the names."""

    # who and where
    name: str = "node1"
    cluster: str = "default"  # nodes of different clusters refuse each other
    listen: str = "127.0.0.1:7080"
    advertise: str = ""  # where other nodes reach this one; empty: the listening address
    data: str = "kvnode-data"
    # name -> host:port. A new directory founds a cluster together with these; later they only say
    # where to dial members.
    peers: dict[str, str] = field(default_factory=dict)
    join: bool = False  # a new directory waits to be taken in (kvnode join)
    found: bool = False  # a new directory serves before any of its peers has answered
    # Keys the hash in context tokens; the same on all nodes. Empty: the cluster's name, which
    # finds mistakes but stops nobody who wants to forge.
    secret: str = ""

    # what a client may ask for (core/limits.py)
    key_bytes_max: int = 480
    value_bytes_max: int = 1 << 20
    batch_bytes_max: int = 4 << 20
    batch_operations_max: int = 10_000
    siblings_max: int = 100

    # Waiting for the next commit; beyond, RESOURCE_EXHAUSTED. About a second's work.
    queue_operations_max: int = 50_000
    queue_bytes_max: int = 32 << 20
    # One group commit. Larger rounds gain nothing more from sharing the fsync, and block reads.
    round_operations_max: int = 5_000
    round_bytes_max: int = 4 << 20

    # A checkpoint starts when this much has changed since the last one, or when there were four
    # operations for each of so many keys; replay after a crash and memory are in proportion (some
    # 650 bytes a key, and usually two to three times as many keys while one is written). Once the
    # next one is full while it is written, writes slow down; where all that is not on disk comes to
    # six times as much, clients are refused.
    checkpoint_bytes: int = 16 << 20
    checkpoint_keys: int = 64_000
    checkpoint_interval_ms: int = 30_000

    # What every member has acknowledged stays in the log so long, so that a node restored from a
    # backup of up to a day ago catches up without a snapshot,
    log_retention_s: int = 24 * 3600
    # unless the log is larger than this: some minutes of writes at full speed, on any disk.
    log_retention_bytes: int = 1 << 30
    # The log is never larger, whoever lacks what goes: a dead member must not fill the disks of
    # the others. Who lacks it needs a snapshot.
    log_bytes_max: int = 8 << 30
    # How often the log is cut. The limits may be passed by what is written meanwhile.
    retention_interval_ms: int = 2_000

    # Request ids remembered, so that a retry is recognised; of n origins each keeps its newest
    # n-th part at the least. At 10 K single writes/s over three nodes: 10 s, twice a client's
    # default patience.
    requests_remembered: int = 100_000

    # Values that last-writer-wins dropped while concurrent, kept for 'kvnode undo'; the oldest go.
    # Keys and sizes are in memory, the rest on disk.
    journal_rows_max: int = 10_000
    journal_bytes_max: int = 64 << 20

    # Blocks that could not be taken, kept in memory and on disk until that is settled; beyond,
    # further copies of a block go first. More than a few mean that something is badly wrong.
    quarantine_rows_max: int = 1_000
    quarantine_bytes_max: int = 16 << 20

    # How often a node tells each peer what it has, when there is nothing to push.
    heartbeat_interval_ms: int = 200
    # How often a node compares what it has with what each peer reported, to pull what it lacks.
    anti_entropy_interval_ms: int = 200
    # How often a node passes on what other members reported, and tells a peer what that reported
    # itself: members that cannot reach each other hear of each other, and an old copy is found out.
    # Larger: collection, the log's end and finding out lag more.
    relay_interval_ms: int = 1_000
    # A node that leaves gives the others so long to take over what it has.
    leave_timeout_ms: int = 60_000
    # A peer that has not answered for so long is unreachable; the link is opened anew.
    peer_timeout_ms: int = 3_000
    # Between attempts to open a link, at most (with jitter).
    reconnect_interval_ms: int = 500
    # Own blocks that not all members have, kept in memory for pushing; a peer further behind pulls
    # from the log. (What all have goes with the next look at the log, retention_interval_ms.)
    push_buffer_bytes: int = 16 << 20
    push_message_bytes: int = 1 << 20
    # Messages on their way to one peer: few, so that blocks gather into larger ones under load.
    push_messages_max: int = 4
    # One pull; what is left comes with the next.
    pull_bytes: int = 16 << 20
    # Blocks from elsewhere that wait for others before them.
    hold_bytes_max: int = 16 << 20

    # Watches at a time, each of which costs memory for a message and a look at the log per commit.
    watches_max: int = 256
    # A watch in which nothing happens is told so this often, if its caller asks for nothing else.
    watch_heartbeat_ms: int = 5_000
    # A watch that was further elsewhere waits so long for this node to catch up.
    watch_wait_ms: int = 10_000

    # While nothing is written, a node compares its digest so often with that of each peer with the
    # same vector; under load never.
    compare_interval_ms: int = 5_000

    # All stored data is looked at for damage, beside serving and giving way to it: first so long
    # after the start (up to three times that, lest members that start together look together), for
    # a node that comes and goes need not, and then so often. Damage that nobody has read yet is
    # found by then.
    scrub_first_ms: int = 10_000
    scrub_interval_s: int = 7 * 24 * 3600

    # A snapshot is sent at most this fast, to all receivers together: half of what a disk or a
    # 1 Gbit/s link moves, so that serving goes on beside it.
    snapshot_bytes_per_s: int = 64 << 20
    # A copy made for a snapshot is removed, and the log behind it let go, when nobody has asked
    # for it for so long: time for a receiver to restart, or to merge what it got.
    snapshot_idle_s: int = 300
    # A node that has nothing yet takes a snapshot rather than the log when a peer has more
    # operations than this. A log tells of every write that ever was, and each is applied; a
    # snapshot only of what is left, and is stored as it comes. Below, the copy and the merge
    # take longer than the log.
    snapshot_instead_of_log_ops: int = 100_000
    # After a snapshot that failed, before the next attempt. Four times as long at last where one
    # after the other finds no room: for each the sender copies its whole state.
    snapshot_retry_s: int = 5

    # Own wall clock against the median of all members; beyond, LWW writes are refused. Several
    # times what a working time service leaves.
    clock_offset_ms_max: int = 10_000

    # After all that was accepted is answered, calls get so long to end when the node stops: push
    # streams end with the next heartbeat.
    stop_grace_ms: int = 500

    def __post_init__(self) -> None:
        """Check what would otherwise fail later and obscurely; raises ConfigError."""
        for item in fields(self):
            _check_type(item.name, str(item.type), getattr(self, item.name))
        for name in (self.name, self.cluster, *self.peers):
            if not 1 <= len(name) <= 64 or not name.isprintable() or set(name) & set(" =,:/"):
                raise ConfigError(
                    f"{name!r} is no name for a node or cluster: 1 to 64 printable characters "
                    "without space, =, comma, colon or slash"
                )
        for address in (self.listen, self.advertise or self.listen, *self.peers.values()):
            _check_address(address)
        if self.name in self.peers:
            raise ConfigError(f"node {self.name!r} cannot be its own peer")
        if self.join and self.found:
            raise ConfigError("a new node either founds a cluster or joins one, not both")
        if self.log_retention_bytes > self.log_bytes_max:
            raise ConfigError(
                f"log_retention_bytes ({self.log_retention_bytes}) is more than log_bytes_max "
                f"({self.log_bytes_max})"
            )
        for name, highest in PROTOCOL_MAX.items():
            if getattr(self, name) > highest:
                raise ConfigError(f"{name} is at most {highest}: clients count on it")
        if len(self.secret.encode()) > 64:
            raise ConfigError("secret has at most 64 bytes")

    @property
    def limits(self) -> Limits:
        """The part that the core checks."""
        return Limits(
            key_bytes_max=self.key_bytes_max,
            value_bytes_max=self.value_bytes_max,
            batch_bytes_max=self.batch_bytes_max,
            batch_operations_max=self.batch_operations_max,
            siblings_max=self.siblings_max,
        )

    @property
    def token_secret(self) -> bytes:
        """What keys the hash in context tokens."""
        return (self.secret or self.cluster).encode()[:64]


def load(file: Path | None, **flags: Any) -> Config:
    """The settings of a file, overridden by the flags that are not None.

    Raises:
        ConfigError: the file cannot be read, or a setting is unknown or wrong.
    """
    settings: dict[str, Any] = {}
    if file is not None:
        try:
            settings = tomllib.loads(file.read_text())
        except OSError as error:  # its own text names the file too
            raise ConfigError(f"cannot read {file}: {error.strerror}") from error
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"cannot read {file}: {error}") from error
    unknown = sorted(settings.keys() - {item.name for item in fields(Config)})
    if unknown:
        raise ConfigError(f"{file}: unknown setting {unknown[0]!r}")
    settings |= {name: value for name, value in flags.items() if value is not None}
    peers = settings.get("peers", {})
    if type(peers) is not dict or not all(type(value) is str for value in peers.values()):
        raise ConfigError('peers has to be a table of NAME = "HOST:PORT"')
    return replace(Config(), **settings)


def _check_type(name: str, kind: str, value: object) -> None:
    if kind == "int" and (type(value) is not int or value < 1):
        raise ConfigError(f"{name} has to be a positive whole number, not {value!r}")
    if kind == "str" and type(value) is not str:
        raise ConfigError(f"{name} has to be a string, not {value!r}")
    if kind == "bool" and type(value) is not bool:
        raise ConfigError(f"{name} has to be true or false, not {value!r}")


def _check_address(address: str) -> None:
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isascii() and port.isdigit() and int(port) < 65536):
        raise ConfigError(f"{address!r} is no address: HOST:PORT is expected")
