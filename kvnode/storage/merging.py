"""The merge: a staged snapshot joined into log and state.

Two steps, each one synced transaction, in this order:

1. the **log** learns where it begins now, and the chain values up to there;
2. the **state** takes everything else at once: entries, vector, chains, clock, forks, names,
   request ids.

A crash between them leaves a log that claims to hold less than it does: others who ask below that
floor are sent to a snapshot or to another node, nothing is lost or wrong. What is staged is still
there, and the next start merges it; joining twice is joining once. The other way round, a crash
would leave a vector whose gap in the log nobody knows of (trap 12).

A replica that has nothing takes the rows as they are. Any other compares key by key
(``core/snapshot.py``) and writes what changes.
"""

from __future__ import annotations

from functools import partial

from kvnode.core.replica import Durable
from kvnode.core.snapshot import Lost, Section, check_history, join_durable, join_entries
from kvnode.storage.incoming import Incoming
from kvnode.storage.interfaces import Checkpoint, Log
from kvnode.storage.state import TABLES, LmdbState

ROOM_FACTOR = 3
"""Pages of a B-tree that grows at random places are two thirds full, and replaced ones stay until
the end of the transaction."""
ROOM_BYTES_MIN = 32 << 20

RAW = (Section.ENTRIES, Section.CONFLICTS, Section.GARBAGE)


def merge_snapshot(
    incoming: Incoming,
    log: Log,
    state: LmdbState,
    mine: Checkpoint,
    *,
    own_origin: int,
    window: int,
    lost: Lost,
) -> Checkpoint:
    """Join what is staged into log and state; returns what is on disk then.

    For minutes if the state is large: not on an event loop. Nobody else may write meanwhile.

    Args:
        mine: this replica as it is, all of it in the state on disk.
        window: request ids to remember.
        lost: see ``join_entries``; told before anything is durable.

    Raises:
        ContradictionError: two histories of one origin; nothing was changed.
        StateError: what is staged, or the state here, is damaged; the state was not changed.
        DiskFullError: no room; the state was not changed.
    """
    theirs = incoming.checkpoint(window)
    before, after = mine.durable, join_durable(mine.durable, theirs.durable, own_origin=own_origin)
    adopt_history(incoming, log, before, theirs.durable)
    requests = after.requests.since(0)
    names = theirs.names | mine.names
    joined = Checkpoint(mine.arrival, after, names, {}, requests, after.requests.floor)
    assert incoming.source is not None
    room = ROOM_FACTOR * incoming.source.bytes + ROOM_BYTES_MIN
    if not before.vector and not state.usage().records:
        tables = {
            section.name.lower(): partial(incoming.chunks, section)
            for section in RAW
            if section.name.lower() in TABLES
        }
        state.adopt(tables, joined, room)
    else:
        state.replace(
            lambda rows: join_entries(
                rows,
                incoming.rows(Section.ENTRIES),
                before.vector,
                theirs.durable.vector,
                lost,
            ),
            joined,
            room,
        )
    saved = state.load(window)
    assert saved is not None
    return saved


def adopt_history(incoming: Incoming, log: Log, mine: Durable, theirs: Durable) -> None:
    """Step 1: of the origins the snapshot has more of, the blocks are not in this log."""
    ends = dict(incoming.ends()) | {
        (origin, seq): theirs.chains[origin] for origin, seq in theirs.vector.items()
    }
    floor = check_history(ends, mine, theirs, log.chain_at)
    log.adopt(floor, [(dot, chain) for dot, chain in ends.items() if dot[0] in floor])
