"""Reads that share a call: a flight of entries, each asking for one key or several.

What is asked for are states, or the values alone (``brief``): a node then tells them in columns,
which costs both sides a fraction of the time, and states of the keys in conflict only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from kvnode.client.failover import Failover
from kvnode.client.lanes import Entry
from kvnode.client.levels import Consistency, read_options
from kvnode.client.operations import BATCH_OPERATIONS_MAX
from kvnode.client.rpcs import BATCH_GET
from kvnode.client.settling import another
from kvnode.client.steps import Steps
from kvnode.client.values import DataType
from kvnode.core.errors import Reason
from kvnode.errors import DataDamaged, InvalidArgument, KvnodeError, NodeFailure
from kvnode.v1 import kv_pb2, types_pb2

if TYPE_CHECKING:
    from kvnode.client.sessions import Session


ABSENT: Final = b"\0"
IN_SUMS: Final = bytes((DataType.G_COUNTER, DataType.PN_COUNTER))
IN_VALUES: Final = bytes((DataType.LWW_REGISTER, DataType.SIBLINGS))
IN_STATES: Final = b"\xff"
"""The kinds of a brief answer, by the column in which it goes on."""


class Wish(NamedTuple):
    """What all entries of a lane of reads have in common."""

    consistency: Consistency
    in_session: bool
    """Others need not come after what it has seen."""
    apart: Session | None = None
    """It goes by itself: its node may have to wait for what it has seen."""
    brief: bool = False
    """Values alone."""


class Shown(NamedTuple):
    """What an entry of a read is settled with.

    ``states``: one for each key, in order. Where values alone were asked for these are: bytes, a
    sum, None where there is nothing, and a state where that is not all there is to say.
    """

    states: Sequence[Any]
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
        shown = yield from batch_get(
            failover, keys, options, deadline, divide=len(going) == 1, brief=wish.brief
        )
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
    brief: bool,
) -> Steps[Shown]:
    """What is under many keys, with ``divide`` in as many calls as their size asks for."""
    if divide and len(keys) > BATCH_OPERATIONS_MAX:  # no node takes them, or says so of a long call
        return (yield from in_halves(failover, keys, options, deadline, brief=brief))
    request = kv_pb2.BatchGetRequest(keys=keys, options=options, brief=brief)
    try:
        reply = yield from failover.read(BATCH_GET, request, deadline)
    except InvalidArgument as error:
        if not divide or len(keys) == 1 or error.reason != Reason.BATCH_TOO_LARGE:
            raise
        return (yield from in_halves(failover, keys, options, deadline, brief=brief))
    if brief:
        return Shown(brief_column(reply, len(keys)), reply)
    if len(reply.states) != len(keys):
        raise NodeFailure(f"asked for {len(keys)} keys, the node sent {len(reply.states)}")
    return Shown(reply.states, reply)


def in_halves(
    failover: Failover,
    keys: Sequence[bytes],
    options: kv_pb2.ReadOptions,
    deadline: float,
    *,
    brief: bool,
) -> Steps[Shown]:
    """The same in two calls, or more."""
    middle = len(keys) // 2
    half = partial(batch_get, failover, divide=True, brief=brief)
    first = yield from half(keys[:middle], options, deadline)
    second = yield from half(keys[middle:], options, deadline)
    # a session has seen both, and the second node may have had less
    seen = second.reply.session
    seen.CopyFrom(joined([first.reply.session, seen]))
    return Shown([*first.states, *second.states], second.reply)


def brief_column(reply: kv_pb2.BatchGetResponse, count: int) -> list[Any]:
    """What a brief answer tells of so many keys, as ``Shown`` has it; NodeFailure if that is not
    what was asked for.
    """
    kinds = reply.kinds
    if len(kinds) != count:
        raise NodeFailure(f"asked for {count} keys, the node told of {len(kinds)}")
    values = list(reply.values)
    rest = kinds.translate(None, IN_VALUES) or reply.sums or reply.states
    if len(values) == count and not rest:  # nearly always
        return values
    columns: dict[bytes, Sequence[Any]] = {
        IN_VALUES: values,
        IN_SUMS: reply.sums,
        IN_STATES: reply.states,
        ABSENT: (None,) * kinds.count(ABSENT),
    }
    if unknown := kinds.translate(None, b"".join(columns)):
        raise NodeFailure(f"the node told of a key of kind {unknown[0]}, which means nothing here")
    following: dict[int, Iterator[Any]] = {}
    for numbers, column in columns.items():
        told = count - len(kinds.translate(None, numbers))
        if told != len(column):
            raise NodeFailure(
                f"the node told of {told} keys of the kinds {list(numbers)} and sent {len(column)}"
            )
        following.update(dict.fromkeys(numbers, iter(column)))
    return [next(following[kind]) for kind in kinds]


def after_all(entries: Sequence[Entry]) -> types_pb2.VersionVector | None:
    """What comes after each of their sessions."""
    vectors = [entry.after for entry in entries if entry.after is not None]
    if len(vectors) <= 1 or all(vector is vectors[0] for vector in vectors):
        return vectors[0] if vectors else None
    return joined(vectors)


def joined(vectors: Sequence[types_pb2.VersionVector]) -> types_pb2.VersionVector:
    """All that any of them names."""
    latest: dict[int, int] = {}
    for vector in vectors:
        for dot in vector.entries:
            latest[dot.origin] = max(dot.seq, latest.get(dot.origin, 0))
    return types_pb2.VersionVector(
        entries=[types_pb2.Dot(origin=origin, seq=seq) for origin, seq in latest.items()]
    )
