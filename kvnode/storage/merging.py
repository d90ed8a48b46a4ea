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

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial

from kvnode.core.dots import Dot
from kvnode.core.entry import Entry
from kvnode.core.losers import Loser, loser_of
from kvnode.core.snapshot import Row, Section, check_history, join_durable, join_entries
from kvnode.core.types import State
from kvnode.storage.incoming import Incoming
from kvnode.storage.interfaces import Checkpoint, Log
from kvnode.storage.state import LmdbState

ROOM_FACTOR = 3
"""Pages of a B-tree that grows at random places are two thirds full, and replaced ones stay until
the end of the transaction."""
ROOM_BYTES_MIN = 32 << 20

RAW = (
    Section.ENTRIES, Section.CONFLICTS, Section.GARBAGE, Section.DIGESTS, Section.DEADLINES,
)  # fmt: skip


class Losers:
    """What a merge makes lose, for the journal: the last of it, within the journal's bounds."""

    def __init__(self, rows_max: int, bytes_max: int) -> None:
        self.found: deque[Loser] = deque()
        self._rows_max = rows_max
        self._bytes_max = bytes_max
        self._bytes = 0

    def add(self, key: bytes, loser: State, winner: State) -> None:
        """``Lost``. A tombstone that loses leaves no value to be put back."""
        lost = loser_of(key, winner, loser, (), ())
        if lost is None:
            return
        self.found.append(lost)
        self._bytes += lost.size
        while len(self.found) > self._rows_max or (
            self._bytes > self._bytes_max and len(self.found) > 1
        ):
            self._bytes -= self.found.popleft().size

    def clear(self) -> None:
        """A merge begins, maybe anew."""
        self.found.clear()
        self._bytes = 0


class Merge:
    """One merge, step by step; none of them belongs on an event loop. Nobody else may write."""

    def __init__(
        self,
        incoming: Incoming,
        mine: Checkpoint,
        chain_at: Callable[[Dot], bytes | None],
        *,
        origin: int,
        window: int,
    ) -> None:
        """Find out what it will lead to; nothing is changed yet.

        Args:
            mine: this replica as it is, all of it in the state on disk.
            chain_at: of its log.
            origin: its own.
            window: request ids to remember.

        Raises:
            ContradictionError: two histories of one origin.
            StateError: what is staged is damaged.
        """
        theirs = incoming.checkpoint(window)
        durable = join_durable(mine.durable, theirs.durable, own_origin=origin)
        ends = dict(incoming.ends()) | {
            (other, seq): theirs.durable.chains[other]
            for other, seq in theirs.durable.vector.items()
        }
        self._floor = check_history(ends, mine.durable, theirs.durable, chain_at)
        self._ends = [(dot, chain) for dot, chain in ends.items() if dot[0] in self._floor]
        self._incoming = incoming
        self._window = window
        self._my_vector, self._their_vector = mine.durable.vector, theirs.durable.vector
        self._joined = Checkpoint(
            mine.arrival,
            durable,
            theirs.names | mine.names,
            {},
            [*durable.requests.all()],
        )

    def adopt_history(self, log: Log) -> None:
        """Step 1: the blocks the snapshot stands for will not be in this log."""
        log.adopt(self._floor, self._ends)

    def rewrite(self, state: LmdbState, losers: Losers, first_row: int) -> Checkpoint:
        """Step 2; takes minutes if the state is large. Returns what is on disk then.

        Args:
            losers: told (``join_entries``) before anything is durable; what it has found in the
                end are rows of the journal from ``first_row`` on.

        Raises:
            StateError: what is staged, or the state here, is damaged; it was not changed.
            DiskFullError: no room; it was not changed.
        """
        incoming = self._incoming
        assert incoming.source is not None
        room = ROOM_FACTOR * incoming.source.bytes + ROOM_BYTES_MIN

        def changes(mine: Iterator[Row]) -> Iterator[tuple[bytes, Entry]]:
            losers.clear()
            theirs = incoming.rows(Section.ENTRIES)
            yield from join_entries(mine, theirs, self._my_vector, self._their_vector, losers.add)
            self._joined.journal = list(enumerate(losers.found, first_row))

        losers.clear()
        if not self._my_vector and not state.usage().records:
            tables = {section.name.lower(): partial(incoming.chunks, section) for section in RAW}
            state.adopt(tables, self._joined, room)
        else:
            state.replace(changes, self._joined, room)
        saved = state.load(self._window)
        assert saved is not None, "a state without a checkpoint"
        return saved
