"""Every setting of a node, with its unit, its default and why.

A TOML file (``kvnode serve --config FILE``) sets any of them by name; flags of ``serve`` win over
the file. Unknown names are refused. The comments in ``Config`` are the settings' documentation:
``kvnode serve --print-config`` and its help show them.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
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
    """Settings are wrong; the message names all that are."""


@dataclass(frozen=True, slots=True)
class Config:
    """A node's settings. Units are in the names."""

    # who and where
    name: str = "node1"  # this node's name in the cluster
    cluster: str = "default"  # nodes of different clusters refuse each other
    listen: str = "127.0.0.1:7080"  # where it takes calls; port 0 picks one
    advertise: str = ""  # where other nodes reach this one; empty: the listening address
    # Directory with ca.crt, tls.crt and tls.key: TLS, with a certificate on both sides, for clients
    # and between nodes, all of which need it then. Empty: none.
    tls: str = ""
    metrics: str = ""  # where Prometheus gets the node's figures, by HTTP; empty: nowhere
    data: str = "kvnode-data"  # data directory, made if missing
    # Other nodes, by name. A new directory founds a cluster together with them; later they only say
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
        problems = list(
            _wrong_types({item.name: getattr(self, item.name) for item in fields(self)})
        )
        if problems := problems or list(self._problems()):
            raise ConfigError("; ".join(problems))

    def _problems(self) -> Iterator[str]:
        """What is wrong with values of the right types."""
        for name in (self.name, self.cluster, *self.peers):
            if not 1 <= len(name) <= 64 or not name.isprintable() or set(name) & set(" =,:/"):
                yield (
                    f"{name!r} is no name for a node or cluster: 1 to 64 printable characters "
                    "without space, =, comma, colon or slash"
                )
        others = [one for one in (self.advertise, self.metrics) if one]
        for address in dict.fromkeys((self.listen, *others, *self.peers.values())):
            if not _is_address(address):
                yield f"{address!r} is no address: HOST:PORT is expected"
        if self.metrics == self.listen and not self.listen.endswith(":0"):
            yield f"metrics needs an address of its own: at {self.listen} the node takes calls"
        if self.name in self.peers:
            yield f"node {self.name!r} cannot be its own peer"
        if self.join and self.found:
            yield "a new node either founds a cluster or joins one, not both"
        if self.log_retention_bytes > self.log_bytes_max:
            yield (
                f"log_retention_bytes ({self.log_retention_bytes}) is more than log_bytes_max "
                f"({self.log_bytes_max})"
            )
        for name, highest in PROTOCOL_MAX.items():
            if getattr(self, name) > highest:
                yield f"{name} is at most {highest}: clients count on it"
        if len(self.secret.encode()) > 64:
            yield "secret has at most 64 bytes"

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
    known = {item.name for item in fields(Config)}
    problems = [f"{file}: {_unknown(name, known)}" for name in sorted(settings.keys() - known)]
    settings = {name: value for name, value in settings.items() if name in known}
    settings |= {name: value for name, value in flags.items() if value is not None}
    for name in list(settings):
        if wrong := list(_wrong_types({name: settings[name]})):
            problems += wrong
            del settings[name]
    try:
        config = replace(Config(), **settings)
    except ConfigError as error:
        problems.append(str(error))
    if problems:
        raise ConfigError("; ".join(problems))
    return config


def _unknown(name: str, known: set[str]) -> str:
    from difflib import get_close_matches

    meant = get_close_matches(name, sorted(known), n=1)
    return f"unknown setting {name!r}" + (f", did you mean {meant[0]!r}?" if meant else "")


def _wrong_types(settings: Mapping[str, object]) -> Iterator[str]:
    for item in fields(Config):
        if item.name not in settings:
            continue
        name, value = item.name, settings[item.name]
        match item.type:
            case "int" if type(value) is not int or value < 1:
                yield f"{name} has to be a positive whole number, not {value!r}"
            case "str" if type(value) is not str:
                yield f"{name} has to be a string, not {value!r}"
            case "bool" if type(value) is not bool:
                yield f"{name} has to be true or false, not {value!r}"
            case "dict[str, str]" if type(value) is not dict or not all(
                type(one) is str for one in value.values()
            ):
                yield f'{name} has to be a table of NAME = "HOST:PORT"'


def _is_address(address: str) -> bool:
    host, colon, port = address.rpartition(":")
    return bool(host and colon and port.isascii() and port.isdigit() and int(port) < 65536)


# ---- as text

SETTING = re.compile(r"    (\w+): [^=]+ = .*?(?:  # (.*))?")


def to_toml(config: Config) -> str:
    """All settings with their documentation, for a file that ``load`` reads."""
    lines: list[str] = []
    table: list[str] = []
    before: list[str] = []
    for line in _source():
        setting = SETTING.fullmatch(line)
        if setting is None:
            before.append(line.strip())
            continue
        name, behind = setting.groups()
        value = getattr(config, name)
        if isinstance(value, dict):  # a table goes last, or what follows would belong to it
            pairs = [f"{_quoted(each)} = {_quoted(to)}" for each, to in value.items()]
            table = ["", *before, f"[{name}]", *pairs]
        else:
            lines += [*before, f"{name} = {_toml(value)}" + (f"  # {behind}" if behind else "")]
        before = []
    return "\n".join([*lines, *table]) + "\n"


def documentation(name: str) -> str:
    """What a setting's comment says, as a sentence."""
    before: list[str] = []
    for line in _source():
        setting = SETTING.fullmatch(line)
        if setting is None:
            before = [*before, line.strip("# ")] if line else []
        elif setting[1] == name:
            text = setting[2] or " ".join(before)
            return text[:1].upper() + text[1:].rstrip(".") + "."
        else:
            before = []
    raise KeyError(name)


@cache
def _source() -> list[str]:
    """The lines of ``Config`` that are settings or about them; where it is compiled, the former."""
    try:
        text = Path(__file__).read_text(encoding="utf-8")
    except OSError:
        return [f"    {item.name}: {item.type} = " for item in fields(Config)]
    return text.partition('names."""\n\n')[2].partition("\n\n    def ")[0].splitlines()


def _toml(value: int | str) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int():
            return f"{value:_}"
        case str():
            return _quoted(value)


def _quoted(text: str) -> str:
    """A basic string: JSON's, but for one character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
