"""Whether anything left a node before it was on disk, told from its system calls.

Each key is written once and is like no other. Where its bytes go tells what happens to the write:
into the log's tail, or its LMDB file if it is large, and out on sockets, to the client (an answer
names its key) and to peers (a push holds the block). The tail is written by ``pwrite`` and synced.
LMDB's commit is: pages by ``pwrite`` or ``writev``; ``fdatasync``; the meta page by ``pwrite``
through a descriptor opened with ``O_DSYNC``. The write is on disk when the last of these has
returned, and only a send that begins later is in order.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from .strace import Call

WRITES = ("pwrite64", "pwritev", "writev", "write")
SYNCS = ("fsync", "fdatasync", "msync")
LOG = "/v1/log/data.mdb"
TAIL = "/v1/log/tail"
PORT = re.compile(r"->.*:(?P<port>\d+)\]")


@dataclass
class Order:
    """What was seen of all keys."""

    early: list[str] = field(default_factory=list)
    """Sends that began before their write was on disk."""
    sends: Counter[str] = field(default_factory=Counter)
    """How many sends held a key, by the port they went to."""
    in_tail: int = 0
    """Keys that reached the disk in the log's tail,"""
    in_lmdb: int = 0
    """and in LMDB before any there."""


@dataclass
class _Write:
    """How far one key is; each is the number of a line, 0 if it was not reached."""

    written: int = 0
    flushed: int = 0
    durable: int = 0
    in_tail: int = 0


def judge(found: Iterable[Call], keys: Iterable[str]) -> Order:
    """Follow each key through the calls of one process."""
    order = Order()
    writes = {key: _Write() for key in keys}
    pattern = re.compile("|".join(map(re.escape, writes)))
    synchronous: set[str] = set()
    sends: list[tuple[Call, set[str]]] = []
    for call in found:
        if call.name == "openat":
            _opened(call, synchronous)
        elif TAIL in call.target:
            _in_tail(call, writes, set(pattern.findall(call.arguments)))
        elif LOG in call.target:
            _logged(call, writes, set(pattern.findall(call.arguments)), synchronous)
        elif "TCP" in call.target:
            sends.append((call, set(pattern.findall(call.arguments))))
    for call, named in sends:
        match = PORT.search(call.target)
        port = match["port"] if match else call.target
        if named:
            order.sends[port] += 1
        for key in sorted(named):
            durable = writes[key].durable
            if not durable or call.begun < durable:
                order.early.append(f"{key} to {port} in line {call.begun}, synced: {durable}")
    stored = [write for write in writes.values() if write.durable]
    order.in_tail = sum(bool(write.in_tail) for write in stored)
    order.in_lmdb = len(stored) - order.in_tail
    return order


def _opened(call: Call, synchronous: set[str]) -> None:
    if LOG in call.result:
        descriptor = call.result.split("<")[0]
        (synchronous.add if "SYNC" in call.arguments else synchronous.discard)(descriptor)


def _in_tail(call: Call, writes: dict[str, _Write], named: set[str]) -> None:
    """A call on the log's tail moves what it covers one step on."""
    if call.name in SYNCS:
        for write in writes.values():
            if write.in_tail and write.in_tail < call.begun and not write.durable:
                write.durable = call.ended
    elif call.name in WRITES:
        for key in named:
            writes[key].in_tail = writes[key].in_tail or call.ended


def _logged(call: Call, writes: dict[str, _Write], named: set[str], synchronous: set[str]) -> None:
    """A call on the log's file moves what it covers one step on."""
    if call.name in SYNCS:
        for write in writes.values():
            if write.written and write.written < call.begun and not write.flushed:
                write.flushed = call.ended
    elif call.name in WRITES:
        for key in named:
            writes[key].written = writes[key].written or call.ended
        if call.target.split("<")[0] in synchronous:
            for write in writes.values():
                if write.flushed and write.flushed < call.begun and not write.durable:
                    write.durable = call.ended
