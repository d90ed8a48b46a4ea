"""The valid inputs that fuzzing starts from: ``python -m tests.fuzz.corpus`` writes them.

They come from the production encoders with fixed clocks and identities, so that they change only
when a format does; a test says when they have.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict

from kvnode.core.context import entry_token
from kvnode.core.entry import encode_entry
from kvnode.core.limits import Limits
from kvnode.core.losers import Loser
from kvnode.core.operations import Delete, Increment, Put
from kvnode.core.quarantine import OWN_LOG, RECEIVED, Record
from kvnode.core.report import Contradiction, Hello, Report
from kvnode.core.roster import Forget, Held, Member, Roster, encode_roster, roster_hash
from kvnode.core.snapshot import Section, make_chunk
from kvnode.core.types import G_COUNTER, LWW_REGISTER, PN_COUNTER
from kvnode.rpc.kv_codec import KvCodec
from kvnode.rpc.kv_reading import Columns
from kvnode.rpc.replication_codec import hello_to_wire, report_to_wire, vector_to_wire
from kvnode.rpc.snapshot_codec import Offer, to_wire
from kvnode.storage.bounds import Bounds
from kvnode.storage.checkpoint import encode_meta
from kvnode.storage.directory import Identity
from kvnode.storage.interfaces import Checkpoint
from kvnode.storage.rows import encode_loser, encode_record
from kvnode.v1 import kv_pb2
from tests.core.memory_node import MemoryNode

from .targets import CORPUS, KEY, SECRET

VECTOR = {5: 7, 2**63: 1, 2**64 - 1: 2**40}
ROSTER = Roster(
    bytes(range(16)),
    frozenset({"a", "b"}),
    {5: Member(1, "a", "127.0.0.1:7080", joining=False), 9: Member(2, "b", "", joining=True)},
    {7: Forget(1_700_000_000_000, 5, 9)},
    {5: {7: Held(3, bytes(16))}},
    {9: {5: {5: 7, 7: 3}}},
)


def cluster() -> list[MemoryNode]:
    """Three nodes that have written all types, in conflict, and deleted some."""
    nodes = [MemoryNode(origin) for origin in (5, 2**63, 2**64 - 1)]
    for number, node in enumerate(nodes):
        value = b"value %d" % number
        node.write(
            Put(KEY, value),
            Put(b"r", value, LWW_REGISTER),
            Increment(b"n", 5 - 3 * number),
            Increment(b"g", 2, G_COUNTER),
            request_id=bytes([number]) * 16,
        )
    nodes[0].pull(nodes[1])
    nodes[0].write(Delete(b"r"), Delete(b"n"), Put(b"large", bytes(3000)))
    nodes[0].pull(nodes[2])
    nodes[0].write(Delete(b"g"), Increment(b"n", 1))
    return nodes


def checkpoints(node: MemoryNode) -> Iterator[bytes]:
    """Of a node, with and without all that is rare."""
    durable = node.replica.durable
    yield encode_meta(Checkpoint(9, durable, {}, {}, []))
    durable.reports.update({5: dict(VECTOR), 7: {}})
    durable.forks[7] = "two histories"
    durable.fence = "an old copy was put back"
    yield encode_meta(Checkpoint(9, durable, {5: "a", 7: "b"}, {}, []))


def records() -> Iterator[bytes]:
    """Rows of a quarantine."""
    for source, raw in ((RECEIVED, b"\x01no block"), (OWN_LOG, bytes(40))):
        record = Record(1, source, "b", "why", 5, 6, 2, 7, 1, 3, {7: 3}, raw, len(raw))
        yield encode_record(record)


def reports() -> Iterator[Report]:
    """One that says little, one that says all."""
    yield Report({}, 0)
    raw = encode_roster(ROSTER)
    yield Report(
        VECTOR,
        1_700_000_000_000,
        {5: "a"},
        {7: Contradiction("two histories", 3, bytes(16))},
        raw,
        roster_hash(raw),
        {5: 1},
        {9: {5: 7}},
        5,
    )


def answers(nodes: list[MemoryNode]) -> Iterator[bytes]:
    """What nodes tell of ``BRIEF_KEYS`` keys whose values are asked for."""
    codec = KvCodec(SECRET, Limits(), lambda origin: f"node {origin}")
    beyond = {PN_COUNTER: {(5, 1): (2**63, 0, 0, 0, 9, (0, 0), (0, 0))}}
    for node in nodes:
        reply = kv_pb2.BatchGetResponse(session=vector_to_wire(VECTOR))
        columns = Columns(reply, codec, 0, 1 << 20)
        for key in (KEY, b"r", b"n", b"g", b"none"):
            columns.add(key, node.entry(key))
        columns.add(b"beyond", beyond)
        columns.fill()
        yield reply.SerializeToString()


def valid() -> dict[str, list[bytes]]:
    """Target -> its inputs."""
    nodes = cluster()
    blocks = [raw for node in nodes for _, raw in node.log.replay(0)]
    rows = list(nodes[0].encoded().items())
    chunk = make_chunk(Section.ENTRIES, [part for row in rows[:3] for part in row])
    pieces = to_wire(Offer(bytes(16), 9, 10_000), chunk, last=True)
    entries = [encode_entry(entry) for node in nodes[:2] for entry in node.entries().values()]
    identity = Identity(
        "shop", "a", "0" * 15 + "1", "f" * 16, 1_700_000_000_000, "1:2", ("a" * 16,)
    )
    return {
        "block": blocks,
        "block-head": [raw[:64] for raw in blocks[:4]],
        "entry": entries,
        "checkpoint": list(checkpoints(nodes[0])),
        "token": [
            entry_token(KEY, nodes[number].entry(key), SECRET, 0)
            for number in (0, 1)
            for key in (KEY, b"r", b"n", b"g", b"none")
        ],
        "roster": [encode_roster(ROSTER), encode_roster(Roster(bytes(16)))],
        "bounds": [Bounds().encode(), Bounds(9, VECTOR, {5: 3}).encode()],
        "loser": [
            encode_loser(Loser(b"r", b"value", 1 << 60, (5, 1), 1 << 61, (9, 2), deleted))
            for deleted in (False, True)
        ],
        "quarantine": list(records()),
        "snapshot-rows": [chunk.rows, make_chunk(Section.META, [b"k", b"v"]).rows],
        "snapshot-chunk": [piece.SerializeToString() for piece in pieces],
        "session": [vector_to_wire(VECTOR).SerializeToString(), b""],
        "hello": [
            hello_to_wire(
                Hello("shop", "a", 5, 77, encode_roster(ROSTER), secret_check=b"12345678")
            ).SerializeToString()
        ],
        "report": [report_to_wire(report).SerializeToString() for report in reports()],
        "brief-answer": list(answers(nodes)),
        "identity": [json.dumps(asdict(identity), indent=2).encode()],
        "configuration": [
            b'name = "paris"\nlisten = "10.0.0.1:7080"\n[peers]\ntokyo = "10.0.1.1:7080"\n',
            b'secret = "s"\njoin = true\nsiblings_max = 5\nlog_bytes_max = 9_000_000_000\n',
        ],
        "options": [b"127.0.0.1:0\nparis\ntokyo=10.0.0.1:7080\nlima=[::1]:7081"],
    }


def main() -> None:
    """Write them."""
    for name, inputs in valid().items():
        folder = CORPUS / name
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        for number, raw in enumerate(sorted(set(inputs))):
            (folder / f"{number:02}").write_bytes(raw)


if __name__ == "__main__":
    main()
