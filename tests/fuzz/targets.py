"""The decoders, and what each promises about any bytes at all.

Each is called with the bytes alone. It may raise its documented errors and nothing else. What it
accepts must be usable (``use``): stored, read again, compared. ``canonical``: what is accepted is
encoded again to the same bytes; where not, the decoder's docstring says why.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

from google.protobuf.message import DecodeError, Message

from kvnode.cli.serve import _peers
from kvnode.client.reads import brief_column
from kvnode.client.states import value_of
from kvnode.config import Config, ConfigError, load
from kvnode.core.block import (
    CHAIN_BYTES,
    CHECKSUM_BYTES,
    HEAD_BYTES_MAX,
    Block,
    block_head,
    decode_block,
    sealed,
)
from kvnode.core.context import MAC_BYTES, Context, _mac, decode_token
from kvnode.core.entry import (
    HEAD_BYTES,
    NOTHING,
    decode_entry,
    encode_entry,
    entry_hash,
    merge_delta,
)
from kvnode.core.errors import BlockError, Refused, StateError
from kvnode.core.quarantine import glimpse
from kvnode.core.roster import Roster, decode_roster, encode_roster
from kvnode.core.snapshot import unpack_rows
from kvnode.errors import NodeFailure
from kvnode.rpc.handlers import parse
from kvnode.rpc.replication_codec import (
    hello_from_wire,
    hello_to_wire,
    report_from_wire,
    report_to_wire,
    vector_from_wire,
    vector_to_wire,
)
from kvnode.rpc.snapshot_codec import Assembler
from kvnode.storage.bounds import Bounds
from kvnode.storage.checkpoint import decode_meta, encode_meta
from kvnode.storage.directory import Identity, _read_identity
from kvnode.storage.interfaces import StorageError
from kvnode.storage.rows import decode_loser, decode_record, encode_loser, encode_record
from kvnode.v1 import kv_pb2, replication_pb2, snapshot_pb2, types_pb2

from .mutations import Envelope

CORPUS = Path(__file__).parent / "corpus"
KEY, SECRET = b"a key", b"the cluster's secret"
WINDOW = 1000
BRIEF_KEYS = 6
"""Asked for in the brief answers."""


@dataclass(frozen=True, slots=True)
class Target:
    """One decoder."""

    name: str
    decode: Callable[[bytes], Any]
    refusals: tuple[type[Exception], ...]
    encode: Callable[[Any], bytes] | None = None
    """Set if what is accepted is canonical."""
    use: Callable[[Any], object] = repr
    envelope: Envelope | None = None
    late: bool = False
    """It may also be refused when it is used: a block, when its operations are looked into."""

    @property
    def corpus(self) -> list[bytes]:
        """Its valid inputs."""
        return [file.read_bytes() for file in sorted((CORPUS / self.name).iterdir())]


def crc_seal(head: int) -> Envelope:
    """``head`` bytes of version, a CRC-32 of what follows, msgpack."""
    return Envelope(
        lambda raw: raw[head + 4 :],
        lambda new, raw: raw[:head] + crc32(new).to_bytes(4, "big") + new,
    )


ENTRY_SEAL = Envelope(
    lambda raw: raw[HEAD_BYTES:],
    lambda new, raw: raw[:1] + entry_hash(b"", new)[:4] + new,
)
BLOCK_SEAL = Envelope(
    lambda raw: raw[1 : -CHAIN_BYTES - CHECKSUM_BYTES],
    lambda new, raw: sealed(raw[:1] + new + raw[-CHAIN_BYTES - CHECKSUM_BYTES : -CHECKSUM_BYTES]),
)
TOKEN_SEAL = Envelope(
    lambda raw: raw[1:-MAC_BYTES],
    lambda new, raw: raw[:1] + new + _mac(KEY, raw[:1] + new, SECRET),
)
VERSIONED = Envelope(lambda raw: raw[1:], lambda new, raw: raw[:1] + new)
BARE = Envelope(lambda raw: raw, lambda new, _: new)


def use_block(block: Block) -> None:
    """All a replica does with it before it is in the log, and that it can be read from there."""
    for delta in block.deltas():
        if delta is not None:
            _, kind, state = delta
            entry = merge_delta(NOTHING, kind, state, set(), block.end)
            use_entry(entry)
    assert block_head(block.raw[:HEAD_BYTES_MAX]) == (block.end, block.wall_ms)
    assert glimpse(block.raw) == (block.origin, block.first_seq, block.last_seq)


def use_entry(entry: Any) -> None:
    """Stored, read again: the same."""
    assert decode_entry(encode_entry(entry)) == entry


def use_roster(roster: Roster) -> None:
    """Merged with itself, and asked."""
    assert roster.merge(roster).members == roster.members
    roster.remaining()
    roster.unacknowledged()
    roster.pending({})


def use_context(context: Context) -> None:
    """Its parts are what a write compares."""
    hash((context.siblings, context.register, tuple(context.counters)))
    assert all(type(kind) is int for kind in context.types)


def use_identity(identity: Identity) -> None:
    """Its ids are numbers."""
    assert identity.origin_id > 0
    assert all(int(number, 16) >= 0 for number in (identity.store, *identity.retired))


def from_wire(kind: type[Message], decode: Callable[[Any], Any]) -> Callable[[bytes], Any]:
    """A message's bytes to its core value, as a service does it."""
    return lambda raw: decode(parse(kind, raw))


def assembled(raw: bytes) -> Any:
    """One message of a snapshot's stream, and the rows in it."""
    fetched = Assembler(1 << 20).add(parse(snapshot_pb2.SnapshotChunk, raw))
    return unpack_rows(fetched.chunk.rows) if fetched.chunk else None


def told_briefly(raw: bytes) -> list[Any]:
    """What a caller of ``get_many`` gets of an answer."""
    column = brief_column(kv_pb2.BatchGetResponse.FromString(raw), BRIEF_KEYS)
    return [value_of(each, ()) for each in column]


def peers(raw: bytes) -> Config:
    """The options --peer, --listen and --name, each on a line."""
    lines = raw.decode("utf-8", "surrogateescape").split("\n")
    listen, name, *pairs = (*lines, "", "")[: max(2, len(lines))]
    return load(None, listen=listen, name=name, peers=_peers(tuple(pairs)))


def _in_file(decode: Callable[[Path], Any], folder: Path) -> Callable[[bytes], Any]:
    file = folder / "input"

    def run(raw: bytes) -> Any:
        file.write_bytes(raw)
        return decode(file)

    return run


def targets(folder: Path) -> list[Target]:
    """All of them; those that read files do so in ``folder``."""
    return [
        Target("block", decode_block, (BlockError,), use=use_block, envelope=BLOCK_SEAL, late=True),
        Target("block-head", block_head, (BlockError,), envelope=VERSIONED),
        Target("entry", decode_entry, (StateError,), use=use_entry, envelope=ENTRY_SEAL),
        Target(
            "checkpoint",
            lambda raw: decode_meta(raw, WINDOW),
            (StateError,),
            encode_meta,
            envelope=crc_seal(1),
        ),
        Target(
            "token",
            lambda raw: decode_token(KEY, raw, SECRET, 64 << 10),
            (Refused,),
            use=use_context,
            envelope=TOKEN_SEAL,
        ),
        Target("roster", decode_roster, (BlockError,), encode_roster, use_roster, VERSIONED),
        Target("bounds", Bounds.decode, (ValueError,), Bounds.encode, envelope=crc_seal(0)),
        Target("loser", decode_loser, (StateError,), encode_loser, envelope=crc_seal(1)),
        Target(
            "quarantine",
            lambda raw: decode_record(1, raw),
            (StateError,),
            encode_record,
            envelope=crc_seal(1),
        ),
        Target("snapshot-rows", unpack_rows, (StateError,), envelope=BARE),
        Target("snapshot-chunk", assembled, (Refused, StateError, ValueError)),
        Target(
            "session",
            from_wire(types_pb2.VersionVector, vector_from_wire),
            (Refused,),
            use=lambda it: _same(it, vector_from_wire(vector_to_wire(it))),
        ),
        Target(
            "hello",
            from_wire(replication_pb2.Hello, hello_from_wire),
            (Refused,),
            use=lambda it: _same(it, hello_from_wire(hello_to_wire(it))),
        ),
        Target(
            "report",
            from_wire(replication_pb2.Report, report_from_wire),
            (Refused,),
            use=lambda it: _same(it, report_from_wire(report_to_wire(it))),
        ),
        Target("brief-answer", told_briefly, (NodeFailure, DecodeError)),
        Target("identity", _in_file(_read_identity, folder), (StorageError,), use=use_identity),
        Target("configuration", _in_file(load, folder), (ConfigError,)),
        Target("options", peers, (ConfigError,)),
    ]


def _same(one: object, other: object) -> None:
    assert one == other
