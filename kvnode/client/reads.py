"""Reads that share a call: a flight of entries, each asking for one key or several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from kvnode.client.failover import Failover
from kvnode.client.lanes import Entry
from kvnode.client.levels import Consistency, read_options
from kvnode.client.rpcs import BATCH_GET
from kvnode.client.settling import another
from kvnode.client.steps import Steps
from kvnode.core.errors import Reason
from kvnode.errors import DataDamaged, InvalidArgument, KvnodeError, NodeFailure
from kvnode.v1 import kv_pb2, types_pb2

if TYPE_CHECKING:
    from kvnode.client.sessions import Session


class Wish(NamedTuple):
    """What all entries of a lane of reads have in common."""

    consistency: Consistency
    in_session: bool
    """Others need not come after what it has seen."""
    apart: Session | None = None
    """It goes by itself: its node may have to wait for what it has seen."""


class Shown(NamedTuple):
    """What an entry of a read is settled with."""

    states: Sequence[types_pb2.KeyState]
    reply: kv_pb2.BatchGetResponse


def read_entries(
    failover: Failover, wish: Wish, entries: Sequence[Entry], deadline: float
) -> Steps[None]:
    """Settle every entry.

    One that is refused must not take others with it, and all together may be more than a reply
    holds: then each half is asked for by itself.
    """
    going = [entry for entry in entries if entry.depart("")]
    if not going:
        return
    options = read_options(wish.consistency, after_all(going))
    try:
        keys = [key for entry in going for key in entry.keys]
        shown = yield from batch_get(failover, keys, options, deadline, divide=len(going) == 1)
    except (InvalidArgument, DataDamaged) as error:
        if len(going) == 1:
            going[0].fail(error)
            return
        middle = len(going) // 2
        yield from read_entries(failover, wish, going[:middle], deadline)
        yield from read_entries(failover, wish, going[middle:], deadline)
    except KvnodeError as error:
        for entry in going:
            entry.fail(another(error))
    else:
        position = 0
        for entry in going:
            states = shown.states[position : position + len(entry.keys)]
            position += len(entry.keys)
            entry.settle(Shown(states, shown.reply))


def batch_get(
    failover: Failover,
    keys: Sequence[bytes],
    options: kv_pb2.ReadOptions,
    deadline: float,
    *,
    divide: bool,
) -> Steps[Shown]:
    """The states of many keys, with ``divide`` in as many calls as their size asks for."""
    request = kv_pb2.BatchGetRequest(keys=keys, options=options)
    try:
        reply = yield from failover.read(BATCH_GET, request, deadline)
    except InvalidArgument as error:
        if not divide or len(keys) == 1 or error.reason != Reason.BATCH_TOO_LARGE:
            raise
        middle = len(keys) // 2
        first = yield from batch_get(failover, keys[:middle], options, deadline, divide=True)
        second = yield from batch_get(failover, keys[middle:], options, deadline, divide=True)
        return Shown([*first.states, *second.states], second.reply)
    if len(reply.states) != len(keys):
        raise NodeFailure(f"asked for {len(keys)} keys, the node sent {len(reply.states)}")
    return Shown(reply.states, reply)


def after_all(entries: Sequence[Entry]) -> types_pb2.VersionVector | None:
    """What comes after each of their sessions."""
    vectors = [entry.after for entry in entries if entry.after is not None]
    if len(vectors) <= 1 or all(vector is vectors[0] for vector in vectors):
        return vectors[0] if vectors else None
    latest: dict[int, int] = {}
    for vector in vectors:
        for dot in vector.entries:
            latest[dot.origin] = max(dot.seq, latest.get(dot.origin, 0))
    return types_pb2.VersionVector(
        entries=[types_pb2.Dot(origin=origin, seq=seq) for origin, seq in latest.items()]
    )
