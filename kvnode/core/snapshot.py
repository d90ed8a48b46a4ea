"""A snapshot: one replica's whole state, joined into another's in one step.

A replica that is asked for writes its log no longer holds gives its state instead. The receiver
joins it with its own, as if it had received every write it lacks in one instant:

- **Key by key** the types' merge decides, with both vectors at hand. What one side lacks although
  its vector covers the write was removed there: "absent and covered = removed". So a value that
  was deleted on either side stays deleted, and one written on either side that the other has not
  seen stays. Nothing of this asks *when* the snapshot was made: an old one joined late adds only
  what is missing, and takes away only what it has seen.
- **Vector and chain values** are those of the side that has more of an origin; the clock is the
  later one; forks, names and request ids are united. What the members reported to *this* replica
  is not the sender's to tell and stays.
- **Two histories are never joined.** Where both sides know the chain value of one dot they must
  agree, and the snapshot must not have more of the receiver's own writes than it has itself.

All of it becomes visible together: a vector that is shown before the entries it stands for are
durable would claim writes that are not there, and nobody would ever send them again (trap 13).

Sections and rows: a snapshot travels as rows (key, value) as they are stored, by section, in key
order, in chunks of about ``CHUNK_BYTES``. One entry may be larger than that, and than any message:
100 siblings of 1 MiB (trap 27); it makes a chunk of its own, and chunks travel in pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import NamedTuple
from zlib import crc32

import msgpack

from kvnode.core.dots import Covered, Dot, Vector
from kvnode.core.entry import NOTHING, Entry, decode_entry, merge_entries
from kvnode.core.errors import StateError, quoted
from kvnode.core.replica import Durable
from kvnode.core.requests import RequestWindow
from kvnode.core.types import LWW_REGISTER, State

CHUNK_BYTES = 1 << 20
"""A quarter of gRPC's usual message limit."""

Row = tuple[bytes, bytes]
Lost = Callable[[bytes, State, State], None]
"""Told of a register's value that a join drops: key, the loser's state, the winner's."""


class Section(IntEnum):
    """The parts of a snapshot, in the order they travel. Numbers are those of the wire."""

    META = 1
    ENTRIES = 2
    CONFLICTS = 3
    GARBAGE = 4
    REQUESTS = 5
    CHAINS = 6
    DIGESTS = 7
    DEADLINES = 8


class Position(NamedTuple):
    """Behind which row to go on."""

    section: Section
    after: bytes


START = Position(Section.META, b"")


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows of one section, contiguous."""

    section: Section
    first_key: bytes
    last_key: bytes
    rows: bytes
    """As ``pack_rows`` makes them."""
    crc: int

    @property
    def position(self) -> Position:
        """Where this chunk ends."""
        return Position(self.section, self.last_key)


def make_chunk(section: Section, flat: list[bytes]) -> Chunk:
    """A chunk of ``[key, value, key, value, ...]``."""
    packed: bytes = msgpack.packb(flat)
    return Chunk(section, flat[0], flat[-2], packed, crc32(packed))


def unpack_rows(packed: bytes) -> list[bytes]:
    """``[key, value, key, value, ...]``; raises ``StateError``.

    Any way to pack them will do: the rows count, each with its own checksum.
    """
    try:
        flat = msgpack.unpackb(packed)
    except Exception as error:
        raise StateError(f"a chunk is not msgpack: {error}") from error
    if (
        type(flat) is not list
        or not flat
        or len(flat) % 2
        or any(type(x) is not bytes for x in flat)
    ):
        raise StateError("a chunk is of unknown form")
    return flat


class ContradictionError(Exception):
    """Snapshot and receiver have two histories of one origin: nothing can be joined."""

    def __init__(self, origin: int, message: str) -> None:
        super().__init__(message)
        self.origin = origin


def join_durable(mine: Durable, theirs: Durable, *, own_origin: int) -> Durable:
    """What ``mine`` is after a snapshot with ``theirs`` was joined.

    Raises:
        ContradictionError: they have two histories of one origin.
    """
    vector, chains = dict(mine.vector), dict(mine.chains)
    for origin, seq in theirs.vector.items():
        have = vector.get(origin, 0)
        if seq > have:
            if origin == own_origin:
                raise ContradictionError(
                    origin,
                    f"the snapshot has {seq} writes of this node's origin {origin:016x}, which "
                    f"itself has {have}",
                )
            vector[origin], chains[origin] = seq, theirs.chains[origin]
        elif seq == have and chains[origin] != theirs.chains[origin]:
            raise contradiction((origin, seq))
    requests = _join_requests(mine, theirs)
    return replace(
        mine,
        requests=requests,
        vector=vector,
        chains=chains,
        hlc=max(mine.hlc, theirs.hlc),
        horizon=max(mine.horizon, theirs.horizon),
        forks=theirs.forks | mine.forks,
    )


def _join_requests(mine: Durable, theirs: Durable) -> RequestWindow:
    """Both sides' request ids, those that are the first to be forgotten first.

    What the sender had seen too and does not remember any more is oldest. What it has not seen is
    newest: clients who ask *here* again mean that, and must not be counted twice.
    """
    joined = RequestWindow(mine.requests.size_max)
    remembered = theirs.requests.all()
    known_there = {request_id for request_id, _ in remembered}
    seen_there = Covered(theirs.vector)
    only_here = [one for one in mine.requests.all() if one[0] not in known_there]
    older = [one for one in only_here if (one[1].origin, one[1].first_seq) in seen_there]
    newer = [one for one in only_here if (one[1].origin, one[1].first_seq) not in seen_there]
    for request_id, known in (*older, *remembered, *newer):
        joined.add(request_id, known.origin, known.first_seq, known.size)
    return joined


def check_history(
    ends: Mapping[Dot, bytes],
    mine: Durable,
    theirs: Durable,
    chain_at: Callable[[Dot], bytes | None],
) -> Vector:
    """Of the origins the snapshot has more of, how far it goes.

    Args:
        ends: its chain values.
        chain_at: the one on record here, None if no block is known to end there.

    Raises:
        ContradictionError: a chain value differs, or where this replica's knowledge of an origin
            ends, none of the snapshot's blocks does.
    """
    first: Vector = {}
    for dot, chain in ends.items():
        known = chain_at(dot)
        if known is not None and known != chain:
            raise contradiction(dot)
        first[dot[0]] = min(dot[1], first.get(dot[0], dot[1]))
    more: Vector = {}
    for origin, seq in theirs.vector.items():
        have = mine.vector.get(origin, 0)
        if seq > have:
            more[origin] = seq
            if first[origin] < have and (origin, have) not in ends:
                raise contradiction((origin, have))
    return more


def contradiction(dot: Dot) -> ContradictionError:
    """The snapshot has another block at ``dot`` than this replica."""
    return ContradictionError(
        dot[0], f"the snapshot has another history of {dot[0]:016x} at {dot[0]:016x}:{dot[1]}"
    )


def join_entries(
    mine: Iterator[Row], theirs: Iterator[Row], my_vector: Vector, their_vector: Vector, lost: Lost
) -> Iterator[tuple[bytes, Entry]]:
    """The keys whose entry changes here, ascending, with what they become.

    Args:
        mine: stored rows of the receiver, in key order.
        theirs: those of the snapshot.
        lost: told of register values that were concurrent and lose here. What either side had
            already seen lose (its vector covers the loser) is not told again.
    """
    my_seen, their_seen = Covered(my_vector), Covered(their_vector)
    my_row, their_row = next(mine, None), next(theirs, None)
    while my_row or their_row:
        if their_row is None or (my_row is not None and my_row[0] < their_row[0]):
            assert my_row is not None
            key, before, other = my_row[0], my_row[1], None
            my_row = next(mine, None)
        elif my_row is None or their_row[0] < my_row[0]:
            key, before, other = their_row[0], None, their_row[1]
            their_row = next(theirs, None)
        else:
            key, before, other = my_row[0], my_row[1], their_row[1]
            my_row, their_row = next(mine, None), next(theirs, None)
            if before == other:
                continue  # idempotent: equal states join to themselves
        old, new = _entry(key, before), _entry(key, other)
        merged = merge_entries(old, new, my_seen, their_seen)
        _tell_loser(key, old, new, merged, my_seen, their_seen, lost)
        if merged != old:
            yield key, merged


def _entry(key: bytes, raw: bytes | None) -> Entry:
    try:
        return NOTHING if raw is None else decode_entry(raw, key)
    except StateError as error:
        raise StateError(f"{quoted(key)}: {error}") from error


def _tell_loser(
    key: bytes,
    mine: Entry,
    theirs: Entry,
    merged: Entry,
    my_seen: Covered,
    their_seen: Covered,
    lost: Lost,
) -> None:
    if LWW_REGISTER not in mine or LWW_REGISTER not in theirs:
        return
    one, other = mine[LWW_REGISTER], theirs[LWW_REGISTER]
    if (one[1], one[2]) in their_seen or (other[1], other[2]) in my_seen:
        return
    winner = merged.get(LWW_REGISTER)
    if winner == one:
        lost(key, other, one)
    elif winner == other:
        lost(key, one, other)
