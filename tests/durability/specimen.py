"""A data directory with every kind of row and page in it, and what it must say when it is opened.

Problem: "never served wrong" needs to know what is right, for everything a node answers from its
directory, and damage is only worth trying where something is.

Idea: one real directory, written by the production engine: all types, deletes that wait, conflicts,
dropped values, request ids, blocks of another origin, values beyond a page, enough keys for branch
pages, pages that earlier checkpoints freed, and a log that goes further than the checkpoint. Its
*account* is everything a node would tell others or clients, as plain values that can be compared.
An *examination* opens it again as a start would, takes its account, has it looked at as a node does
soon after, and then uses it: one more write, a checkpoint, another start. Whatever stops it must be
one of the documented errors.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kvnode.config import Config
from kvnode.core.block import decode_block
from kvnode.core.entry import Entry, encode_entry, in_conflict
from kvnode.core.errors import OutcomeUnclear, Refused, StateError
from kvnode.core.operations import Delete, Increment, Operation, Put
from kvnode.core.replica import Request
from kvnode.core.types import G_COUNTER, LWW_REGISTER
from kvnode.node.engine import Engine
from kvnode.node.founding import founding_roster
from kvnode.node.membership import Membership
from kvnode.storage.directory import DataDirectory
from kvnode.storage.interfaces import StorageError
from kvnode.storage.soundness import Undecided
from tests.core.memory_node import MemoryNode

CLUSTER, NAME = "specimen", "a"
NOW_MS = 1_700_000_000_000
CONFIG = Config(name=NAME, cluster=CLUSTER, checkpoint_interval_ms=3_600_000)
FAR = 0xFA
"""The other origin."""
KEYS = 400
BYTES_MAX = 1 << 30
MARK = b"written by the examination"
BLOCKS = 28
"""In its log."""

Account = dict[str, Any]
"""What a directory says, by kind; ``DAMAGED`` where it says that it cannot tell."""
DAMAGED = "damaged"


@dataclass
class Findings:
    """What an examination found."""

    account: Account = field(default_factory=dict)
    again: Account = field(default_factory=dict)
    """After a write, a checkpoint and another start."""
    refused: str = ""
    """Why the directory could not be opened."""
    reported: list[str] = field(default_factory=list)
    """Errors that were logged, or with which single answers were refused."""
    failed: str = ""
    """Why the node would have stopped while it ran."""


# ---- making it


def make(path: Path) -> None:
    """Write the specimen. The process has to end without closing anything."""

    async def write_all() -> None:
        directory, engine, _ = opened(path)
        await fill(engine)
        await engine.checkpoints.flush()
        await change(engine)
        await engine.checkpoints.flush()
        await more(engine)
        directory.log._move()  # noqa: SLF001 - all of it is in LMDB: the tail is tried by itself

    asyncio.run(write_all())


async def fill(engine: Engine) -> None:
    """Values, counters and registers; far ones too, some of which lose or conflict."""
    for first in range(0, KEYS, 50):
        puts = [Put(b"plain/%04d" % n, b"value %d " % n * 9) for n in range(first, first + 50)]
        await write(engine, *puts)
    await write(engine, *(Put(b"r/%d" % n, b"register", LWW_REGISTER) for n in range(9)))
    await write(engine, *(Increment(b"c/%d" % n, n + 1) for n in range(9)))
    await write(engine, Increment(b"g", 7, G_COUNTER), Put(b"large", bytes(range(256)) * 60))
    far = MemoryNode(FAR)
    far.write(*(Put(b"r/%d" % n, b"far", LWW_REGISTER) for n in range(3)), wall_ms=NOW_MS)
    far.write(*(Put(b"plain/%04d" % n, b"far too") for n in range(4)), Increment(b"c/1", 5))
    await engine.receive([decode_block(raw) for _, raw in far.log.replay(0)], "far")
    engine.stability.learn(FAR, {FAR: 8}, engine.vector)
    engine.names[FAR] = "far"
    engine.quarantine.received(b"\x01no block", "it is a specimen", peer="b", awaits={7: 7})


async def change(engine: Engine) -> None:
    """Deletes that wait, and pages that become free."""
    await write(engine, *(Delete(b"plain/%04d" % n) for n in range(100, 160)))
    await write(engine, Delete(b"c/3"), Delete(b"r/5"), Put(b"large", bytes(range(256)) * 70))
    await write(engine, *(Put(b"plain/%04d" % n, b"anew") for n in range(200, 240)))


async def more(engine: Engine) -> None:
    """What only the log has."""
    for number in range(12):
        put = Put(b"late/%02d" % number, b"late " * 40)
        await write(engine, put, Increment(b"c/0", 1), Delete(b"r/6"))


async def write(engine: Engine, *operations: Operation) -> None:
    """One request under an id."""
    seq = engine.vector.get(engine.replica.origin, 0)
    await engine.submit(Request(operations, b"request %08d" % seq), 100)


def opened(path: Path) -> tuple[DataDirectory, Engine, Membership]:
    """As a node's start does it; StorageError."""
    directory = DataDirectory(path, cluster=CLUSTER, name=NAME, now_ms=NOW_MS)
    origin = directory.identity.origin_id
    engine = Engine(CONFIG, origin, directory.log, directory.state)
    roster = founding_roster(origin, NAME, CLUSTER, ["b"], join=False)
    return directory, engine, Membership(engine, NAME, roster, found=True)


# ---- looking at it


class _Errors(logging.Handler):
    def __init__(self, told: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._told = told

    def emit(self, record: logging.LogRecord) -> None:
        self._told.append(record.getMessage())


def examine(path: Path, *, use: bool = True) -> Findings:
    """Open it, take its account and, to ``use`` it, write; open it again and take it again.

    It logs to nowhere else, so it has to have the process for itself.
    """
    found = Findings()
    logging.getLogger().addHandler(_Errors(found.reported))

    async def look(*, last: bool) -> Account:
        directory, engine, membership = opened(path)
        directory.serving(alone=True)

        def failed(error: BaseException) -> None:
            found.failed = found.failed or repr(error)

        engine.on_failure = failed
        told = account(engine, membership, found.reported)
        if not last:
            directory.look()
        if not last:
            await write(engine, Put(MARK, MARK), Increment(b"c/0", 1))
            await engine.checkpoints.flush()
            await engine.close()
            directory.close()
        return told

    try:
        found.account = asyncio.run(look(last=not use))
        if use and not found.failed:
            found.again = asyncio.run(look(last=True))
    except (StorageError, Undecided) as error:
        found.refused = str(error)
    except (Refused, OutcomeUnclear) as error:
        found.reported.append(str(error))
    return found


def look_only(path: Path) -> Findings:
    """Take the account alone."""
    return examine(path, use=False)


def account(engine: Engine, membership: Membership, reported: list[str]) -> Account:
    """Everything it would tell. What it cannot tell is DAMAGED, and the error is reported."""

    def told(answer: Callable[[], Any]) -> Any:
        try:
            return answer()
        except (StateError, StorageError) as error:
            reported.append(str(error))
            return DAMAGED

    def entry(key: bytes) -> Any:
        return told(lambda: encode_entry(engine.memtable.read(key)))

    durable = engine.replica.durable
    return {
        "vector": durable.vector,
        "chains": durable.chains,
        "hlc": durable.hlc,
        "reports": durable.reports,
        "requests": durable.requests.all(),
        "names": engine.names,
        "roster": membership.raw,
        "entries": {key: entry(key) for key in all_keys()},
        "scan": told(lambda: scanned(engine)),
        "conflicts": told(lambda: scanned(engine, conflicts=True)),
        "blocks": told(lambda: engine.log.lacking({}, BYTES_MAX)[0]),
        "ends": told(lambda: list(engine.log.ends({}))),
        "losers": told(lambda: engine.journal.page(b"", 0, 100, 1 << 62)),
        "quarantine": [(r.raw, r.reason, r.awaits) for r in engine.quarantine.records()],
    }


def all_keys() -> list[bytes]:
    """Every key that ever was, and some that never were."""
    keys = [b"plain/%04d" % n for n in range(KEYS + 5)]
    keys += [b"%s/%d" % (prefix, n) for prefix in (b"c", b"r") for n in range(10)]
    return [*keys, *(b"late/%02d" % n for n in range(13)), b"g", b"large"]


def scanned(engine: Engine, *, conflicts: bool = False) -> dict[bytes, bytes]:
    """All a scan shows."""
    found: dict[bytes, bytes] = {}

    def accept(key: bytes, entry: Entry) -> bool:
        if in_conflict(entry, 0) if conflicts else entry:
            found[key] = encode_entry(entry)
        return True

    assert engine.memtable.scan(b"", b"", accept, conflicts=conflicts) is None
    return found


# ---- comparing it


def lies(right: Account, found: Findings) -> list[str]:
    """What it told, before or after it was used, that is neither right nor said to be damaged."""
    wrong = [
        kind for kind in right if found.account and not _honest(found.account[kind], right[kind])
    ]
    if found.again:
        kept, again = _kept(right), _kept(found.again)
        wrong += [f"{kind} afterwards" for kind in kept if not _honest(again[kind], kept[kind])]
    return wrong


def _honest(said: Any, right: Any) -> bool:
    if isinstance(said, dict) and isinstance(right, dict):
        return said.keys() == right.keys() and all(_honest(said[key], right[key]) for key in said)
    return bool(said in (right, DAMAGED))


def _kept(told: Account) -> Account:
    """What the examination's own write does not change."""
    kept = {kind: told[kind] for kind in ("reports", "names", "conflicts", "losers", "quarantine")}
    for kind in ("entries", "scan"):
        found = told[kind]
        kept[kind] = found if found == DAMAGED else _without(found, MARK, b"c/0")
    for kind in ("blocks", "ends"):
        kept[kind] = told[kind] if told[kind] == DAMAGED else told[kind][:BLOCKS]
    return kept


def _without(found: dict[bytes, Any], *keys: bytes) -> dict[bytes, Any]:
    return {key: value for key, value in found.items() if key not in keys}
