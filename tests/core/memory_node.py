"""A node without I/O: the real core over the in-memory log and state store.

What a crash leaves are the two stores; ``restart`` starts again from nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import msgpack

from kvnode.core.absorbing import changes_of
from kvnode.core.accepted import Accepted
from kvnode.core.block import Block, decode_block
from kvnode.core.context import Context, decode_token, entry_token
from kvnode.core.dots import Covered, Vector
from kvnode.core.entry import Entry, collect_entry, encode_entry, live_entry, merge_entries
from kvnode.core.errors import Refused
from kvnode.core.operations import Operation
from kvnode.core.receive import Verdict
from kvnode.core.replica import Durable, Replica, Request, Round
from kvnode.core.requests import RequestWindow
from kvnode.core.snapshot import join_durable
from kvnode.core.stability import Stability
from kvnode.core.types import LWW_REGISTER, SIBLINGS, lww, siblings
from kvnode.storage.interfaces import Checkpoint
from kvnode.storage.memory import MemoryLog, MemoryState
from kvnode.storage.memtable import Memtable

SECRET = b"the cluster's secret"
WALL_MS = 1_700_000_000_000
TOKEN_BYTES_MAX = 64 << 10


class MemoryNode:
    """Log, state, memtable and replica of one origin; every call is one step."""

    def __init__(
        self,
        origin: int,
        *,
        window: int = 1000,
        hold_bytes_max: int = 1 << 20,
        siblings_max: int = 100,
    ) -> None:
        self.origin = origin
        self.wall_ms = WALL_MS
        self.log = MemoryLog()
        self.state = MemoryState()
        self._window = window
        self._hold_bytes_max = hold_bytes_max
        self._siblings_max = siblings_max
        self.restart()

    def restart(self) -> None:
        """Load the checkpoint and replay the log behind it; all else is forgotten."""
        self.memtable = Memtable(self.state)
        saved = self.state.load(self._window)
        durable = saved.durable if saved else Durable(RequestWindow(self._window))
        self.stability = Stability(durable.reports)
        self.replica = Replica(
            self.origin,
            durable,
            read=self.memtable.read,
            read_many=self.memtable.held_many,
            chain_at=self.log.chain_at,
            pruned=lambda dot: dot[1] < self.log.pruned.get(dot[0], 0),
            hold_bytes_max=self._hold_bytes_max,
            siblings_max=self._siblings_max,
        )
        for _, raw in self.log.replay(saved.arrival if saved else 0):
            block = decode_block(raw)
            self.memtable.install(
                self.replica.replay([(block, changes_of(block))]).overlay, len(raw)
            )

    def checkpoint(self, horizon: int = 0) -> None:
        """Write a checkpoint, and with it move the horizon there if it is behind.

        On DiskFullError the memtable keeps what it should have written.
        """
        durable = self.replica.durable
        durable = replace(durable, horizon=max(horizon, durable.horizon))
        entries = self.memtable.freeze()
        checkpoint = Checkpoint(
            arrival=self.log.last_arrival,
            durable=durable,
            names={},
            entries=entries,
            requests=durable.requests.unsaved,
            requests_forgotten=durable.requests.forgotten,
        )
        try:
            self.state.save(checkpoint)
        except BaseException:
            self.memtable.restore_frozen(0)
            raise
        self.memtable.drop_frozen()
        self.replica.durable.horizon = durable.horizon
        durable.requests.drop_unsaved(checkpoint.requests)
        durable.requests.drop_forgotten(len(checkpoint.requests_forgotten))

    def commit(
        self,
        requests: Sequence[Request] = (),
        blocks: Iterable[Block] = (),
        *,
        wall_ms: int | None = None,
        lww_refusal: str = "",
    ) -> Round:
        """One round; DiskFullError if the log is full, and then nothing has happened."""
        wall_ms = self.wall_ms if wall_ms is None else wall_ms
        round_ = self.replica.plan(requests, blocks, wall_ms, lww_refusal)
        if round_.records:
            self.log.append(round_.records)
        self.replica.absorb(round_)
        self.memtable.install(self.replica.commit(round_), 0)
        return round_

    def write(
        self, *operations: Operation, request_id: bytes = b"", wall_ms: int | None = None
    ) -> Accepted:
        """Commit one request alone; raises what refused it."""
        outcome = self.commit([Request(operations, request_id)], wall_ms=wall_ms).outcomes[0]
        if isinstance(outcome, Refused):
            raise outcome
        return outcome

    def write_off(self, operation: Operation) -> None:
        """Commit it while the clock is known to be off; raises what refused it."""
        outcome = self.commit([Request([operation])], lww_refusal="the clock is off").outcomes[0]
        if isinstance(outcome, Refused):
            raise outcome

    def receive(self, raws: Iterable[bytes]) -> list[Verdict]:
        """Commit blocks from elsewhere; their verdicts, in order, then those of held ones."""
        round_ = self.commit(blocks=[decode_block(raw) for raw in raws])
        return [judgement.verdict for judgement in round_.judgements]

    def pull(self, other: MemoryNode) -> list[Verdict]:
        """Take everything ``other`` has and this node lacks."""
        return self.receive(other.log.lacking(self.vector, 1 << 30)[0])

    def hear(self, other: MemoryNode) -> None:
        """Take a report of ``other``."""
        self.stability.learn(other.origin, other.vector, self.vector)

    def collect(self, stable: Vector) -> None:
        """Collect whatever ``stable`` lets go."""
        past = self.replica.durable.horizon
        collected = {key: collect_entry(self.entry(key), stable, past) for key in self.encoded()}
        self.memtable.install(collected, 0)

    def merge(self, other: MemoryNode) -> None:
        """Join the state of ``other`` in one step, and take its log for what that stands for."""
        missing = [decode_block(raw) for raw in other.log.lacking(self.vector, 1 << 30)[0]]
        mine, theirs = self.entries(), other.entries()
        seen, their_seen = Covered(self.vector), Covered(other.vector)
        joined = {
            key: merge_entries(mine.get(key, {}), theirs.get(key, {}), seen, their_seen)
            for key in mine.keys() | theirs.keys()
        }
        self.replica.reload(
            join_durable(self.replica.durable, other.replica.durable, own_origin=self.origin)
        )
        self.log.append(missing)
        self.memtable.install(joined, 0)

    @property
    def now(self) -> int:
        """What has a deadline till then has expired."""
        return max(self.wall_ms, self.replica.durable.horizon)

    @property
    def vector(self) -> Vector:
        """What it has."""
        return self.replica.durable.vector

    @property
    def last_block(self) -> Block:
        """The block that arrived last."""
        *_, (_, raw) = self.log.replay(self.log.last_arrival - 1)
        return decode_block(raw)

    def entry(self, key: bytes) -> Entry:
        """What it keeps under the key."""
        return self.memtable.read(key)

    def token(self, key: bytes) -> bytes:
        """The token a reader gets."""
        return entry_token(key, self.entry(key), SECRET, self.now)

    def context(self, key: bytes) -> Context:
        """The reader's context, through the token."""
        return decode_token(key, self.token(key), SECRET, TOKEN_BYTES_MAX)

    def encoded(self) -> dict[bytes, bytes]:
        """Every key's entry in its stored form."""
        return {key: encode_entry(entry, key) for key, entry in self.entries().items()}

    def shown(self, key: bytes) -> list[bytes]:
        """The values of registers and siblings that a reader sees now, sorted."""
        entry = self.entry(key)
        register = entry.get(LWW_REGISTER, lww.EMPTY)
        held = siblings.shown(entry.get(SIBLINGS, siblings.EMPTY), self.now)
        values = [register[3]] if lww.visible(register, self.now) else []
        return sorted([value or b"" for value in values] + [value[1] for value in held.values()])

    def live(self, past: int = 0) -> dict[bytes, bytes]:
        """Every key's live form: what nodes that have received the same agree on."""
        found = {key: live_entry(entry, past) for key, entry in self.entries().items()}
        return {key: msgpack.packb(live) for key, live in found.items() if live is not None}

    def entries(self) -> dict[bytes, Entry]:
        """Everything it keeps."""
        found: dict[bytes, Entry] = {}

        def take(key: bytes, entry: Entry) -> bool:
            if entry:
                found[key] = entry
            return True

        assert self.memtable.scan(b"", b"", take) is None
        return found


def converge(nodes: Sequence[MemoryNode]) -> None:
    """Pull until all have the same; a bounded number of rounds must do."""
    for _ in range(len(nodes)):
        for here in nodes:
            for there in nodes:
                here.pull(there)
    assert all(node.vector == nodes[0].vector for node in nodes), "replicas do not converge"
