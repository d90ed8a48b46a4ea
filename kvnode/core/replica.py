"""One replica: durable state, and rounds that carry it from one commit to the next.

A *round* is one group commit, in three steps that the caller separates by I/O:

1. ``plan``   turns the waiting client requests into one own block and judges the waiting blocks
              from elsewhere. Result: records to log, in order. Nothing is changed yet.
2. ``absorb`` merges the received blocks' operations into the round's overlay. It may run while
              the records are on their way to disk.
3. ``commit`` makes it all visible at once. To be called only when the records are durable.

The own block comes first in a round: it depends on what was applied before, not on what the same
round receives. If logging fails the round is thrown away and the replica is as before.

``Durable`` is what survives a crash: a checkpoint of it plus the log behind it (``replay``). All
else here is soft. Invariants (checked by ``check_invariants``): (1) for each origin the vector ends
where a logged block ends, and the chain value kept is that block's; (2) every origin in the vector
has a chain value, and no other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from kvnode.core.absorbing import Changes, absorb_block, changed_keys, changes_of
from kvnode.core.accepted import Accepted
from kvnode.core.block import GENESIS, Block, encode_block
from kvnode.core.dots import Dot, Vector
from kvnode.core.entry import Entry, Held
from kvnode.core.errors import BlockError, Reason, Refused, StateError
from kvnode.core.hlc import AHEAD_MAX, HLC_MAX, LOGICAL_BITS, tick
from kvnode.core.losers import Loser
from kvnode.core.operations import Increments, Operation, Puts, keys_of, latest_seen
from kvnode.core.receive import HoldBuffer, Judgement, Verdict, judge, never_pruned
from kvnode.core.requests import RequestWindow
from kvnode.core.writer import BlockWriter

Read = Callable[[bytes], Entry]
ReadMany = Callable[[Iterable[bytes]], dict[bytes, Held]]
ChainAt = Callable[[Dot], bytes | None]
Received = tuple[Block, Changes]


@dataclass(slots=True)
class Durable:
    """What a checkpoint must carry because replaying the log behind it cannot rebuild it."""

    requests: RequestWindow
    vector: Vector = field(default_factory=dict)
    chains: dict[int, bytes] = field(default_factory=dict)
    """origin -> chain value at ``vector[origin]``."""
    hlc: int = 0
    forks: dict[int, str] = field(default_factory=dict)
    """origin -> why nothing of it is taken any more."""
    fence: str = ""
    """If set, why this replica must not write under its origin any more."""
    reports: dict[int, Vector] = field(default_factory=dict)
    """origin -> the last usable report of a member (``stability.py``). No round changes it: like
    the request ids it is one object for all."""
    horizon: int = 0
    """Values with a deadline till then (Unix ms) count as gone here, and may have been collected.
    Only checkpoints move it (``storage/deadlines.py``)."""


@dataclass(slots=True)
class Request:
    """One client's operations, to be accepted all or none."""

    operations: Sequence[Operation]
    request_id: bytes = b""
    again: bool = False
    """See ``BlockWriter.add``."""
    each: Sequence[bytes] = ()
    """If set, every operation is a request of its own with this id; they are alike."""


@dataclass(slots=True)
class Round:
    """What one group commit does; see the module."""

    outcomes: list[Accepted | Refused]
    """One per request."""
    own: Block | None
    judgements: list[Judgement]
    """One per block that came or was held; blocks still waiting have HELD or DROPPED."""
    records: list[Block]
    """To be logged, in this order."""
    overlay: dict[bytes, Held]
    after: Durable
    received: list[Received]
    """Blocks from elsewhere among the records, not yet in the overlay."""
    losers: list[Loser] = field(default_factory=list)
    """Concurrent register values that ``absorb`` dropped, in the order of the log."""


class _Found(dict[bytes, Held]):
    """What was read ahead; others are read when they are asked for."""

    __slots__ = ("_read",)

    def __init__(self, read: Read, found: dict[bytes, Held]) -> None:
        super().__init__(found)
        self._read = read

    def __missing__(self, key: bytes) -> Entry:
        return self._read(key)


class Replica:
    """The state machine of one node. Single-threaded; every call returns at once."""

    def __init__(
        self,
        origin: int,
        durable: Durable,
        *,
        read: Read,
        read_many: ReadMany,
        chain_at: ChainAt,
        hold_bytes_max: int,
        siblings_max: int,
        pruned: Callable[[Dot], bool] = never_pruned,
    ) -> None:
        """Take up the state.

        Args:
            origin: the id this replica writes under.
            read: a key's entry as of the last committed round.
            read_many: the same of many, as it is held; what it leaves out, ``read`` gives.
            chain_at: chain value of the logged block that ends at a dot, if there is one.
            pruned: whether that may be unknown for a dot, because it was given up.
        """
        self.origin = origin
        self.durable = durable
        self.held = HoldBuffer(hold_bytes_max)
        self.limits: dict[int, int] = {}
        """Forgotten origin -> the last seq of it that may still be taken (``core/roster.py``)."""
        self._read = read
        self._read_many = read_many
        self._chain_at = chain_at
        self._siblings_max = siblings_max
        self._pruned = pruned

    def plan(
        self,
        requests: Sequence[Request],
        incoming: Iterable[Block],
        wall_ms: int,
        lww_refusal: str = "",
    ) -> Round:
        """The next round. ``wall_ms`` is Unix time; ``lww_refusal`` see ``BlockWriter``."""
        now = self.durable
        after = Durable(
            now.requests,
            dict(now.vector),
            dict(now.chains),
            now.hlc,
            dict(now.forks),
            now.fence,
            now.reports,
            now.horizon,
        )
        round_ = Round([], None, [], [], {}, after, [])
        if requests:
            self._write(round_, requests, wall_ms, lww_refusal)
        self._receive(round_, incoming)
        return round_

    def absorb(self, round_: Round) -> None:
        """Merge the received blocks into the round's overlay, operation by operation."""
        vector = dict(self.durable.vector)
        if round_.own:
            vector[self.origin] = round_.own.last_seq
        for block, changes in round_.received:
            round_.losers += absorb_block(round_.overlay, vector, block, changes)
        round_.received = []

    def commit(self, round_: Round) -> dict[bytes, Held]:
        """Adopt a logged and absorbed round; returns the entries it changed."""
        assert not round_.received, "commit before absorb"
        requests = self.durable.requests
        for block in round_.records:
            for request_id, first, count in block.requests:
                requests.add(request_id, block.origin, block.first_seq + first, count)
        round_.after.forks = self.durable.forks | round_.after.forks  # found during the round
        round_.after.fence = round_.after.fence or self.durable.fence  # set during the round
        round_.after.horizon = max(round_.after.horizon, self.durable.horizon)  # the same
        self.durable = round_.after
        return round_.overlay

    def replay(self, blocks: Sequence[Received]) -> Round:
        """Apply the first of these blocks of the own log after a restart: the round's records.

        All of them if what they change can be had with one look, else fewer, but at least one. The
        round is what each of them alone, one after the other, would have left.
        """
        keys = _keys_of(blocks)
        found = self._read_many(keys)
        while len(blocks) > 1 and len(found) < len(keys) - 1:  # too much to be held at once
            blocks = blocks[: len(blocks) // 2]
            keys = _keys_of(blocks)
            found = self._read_many(keys)
        self._read_others(keys, found)
        after = self.durable
        round_ = Round([], None, [], [block for block, _ in blocks], found, after, [*blocks])
        self.absorb(round_)
        for block in round_.records:
            _advance(after, block)
        self.commit(round_)
        return round_

    def chain_at(self, dot: Dot) -> bytes | None:
        """Chain value of the block that ends at the dot, if it is known here."""
        if self.durable.vector.get(dot[0]) == dot[1]:
            return self.durable.chains[dot[0]]
        return self._chain_at(dot)

    def reload(self, durable: Durable) -> None:
        """Go on from a state that a snapshot was joined into. What was held is repaired again."""
        own = self.origin
        assert durable.vector.get(own, 0) == self.durable.vector.get(own, 0), "own writes changed"
        self.durable = durable
        self.held = HoldBuffer(self.held.bytes_max)

    def limit(self, limits: dict[int, int]) -> None:
        """Take no more of forgotten origins than this; what was held above is dropped."""
        self.limits = limits
        for origin, seq in limits.items():
            self.held.drop_above(origin, seq)

    def check_invariants(self) -> None:
        """Assert the invariants of the module's opening comment."""
        durable = self.durable
        for origin, seq in durable.vector.items():
            logged = self._chain_at((origin, seq))
            assert seq > 0, "invariant 1"
            assert logged is None or logged == durable.chains[origin], "invariant 1"
        assert durable.vector.keys() == durable.chains.keys(), "invariant 2"

    def _write(
        self, round_: Round, requests: Sequence[Request], wall_ms: int, lww_refusal: str
    ) -> None:
        after = round_.after
        highest = max(after.hlc, wall_ms << LOGICAL_BITS) + AHEAD_MAX
        stamps = [latest_seen(request.operations) for request in requests]
        hlc = tick(max(after.hlc, *(stamp for stamp in stamps if stamp <= highest), 0), wall_ms)
        refusal = self._no_writes(hlc + sum(len(request.operations) for request in requests))
        if refusal:
            round_.outcomes.extend(refusal for _ in requests)
            return
        before = dict(after.vector)
        writer = BlockWriter(
            origin=self.origin,
            hlc=hlc,
            vector=after.vector,
            overlay=round_.overlay,
            read=self._reading(requests),
            requests=after.requests,
            siblings_max=self._siblings_max,
            now=max(wall_ms, after.horizon),
            lww_refusal=lww_refusal,
        )
        for request, stamp in zip(requests, stamps, strict=True):
            try:
                if stamp > highest:
                    raise Refused(Reason.BAD_CONTEXT, "the context bears a time no node wrote at")
                round_.outcomes.append(_added(writer, request))
            except Refused as refusal:
                round_.outcomes.append(refusal.with_traceback(None))  # it holds the round
        if not writer.ops:
            after.vector = before
            round_.overlay.clear()
            return
        before.pop(self.origin, None)
        round_.own = encode_block(
            origin=self.origin,
            first_seq=writer.first_seq,
            hlc=hlc,
            wall_ms=wall_ms,
            deps=before,
            ops=writer.ops,
            requests=writer.spans,
            previous=after.chains.get(self.origin, GENESIS),
            dep_chains=[after.chains[origin] for origin in sorted(before)],
        )
        round_.records.append(round_.own)
        _advance(after, round_.own)

    def _reading(self, requests: Sequence[Request]) -> Callable[[bytes], Held]:
        """Reads what the requests are about, all with one look."""
        first = requests[0].operations
        if len(requests) == 1 and len(first) == 1:
            return self._read
        keys = {key: None for request in requests for key in keys_of(request.operations)}
        return _Found(self._read, self._read_many(keys)).__getitem__

    def _no_writes(self, hlc: int) -> Refused | None:
        """Why nothing can be written now, if the clock is to reach ``hlc``."""
        if self.durable.fence:
            return Refused(Reason.NODE_FENCED, self.durable.fence)
        if hlc > HLC_MAX:  # a block that no replica could decode, this one included
            return Refused(
                Reason.CLOCK_OFF,
                "a received write bears the last possible time, none can come after it: find the "
                "node that wrote it (kvnode inspect) and rebuild the cluster without it",
            )
        return None

    def _receive(self, round_: Round, incoming: Iterable[Block]) -> None:
        fresh: dict[Dot, bytes] = {}
        if round_.own:
            fresh[round_.own.end] = round_.own.chain

        def chain_at(dot: Dot) -> bytes | None:
            return fresh.get(dot) or self.chain_at(dot)

        after = round_.after
        waiting = list(incoming)
        while waiting:
            for block in waiting:
                judgement = self._judge(round_, block, chain_at)
                round_.judgements.append(judgement)
                if judgement.verdict is Verdict.APPLIED:
                    fresh[block.end] = block.chain
                    _advance(after, block)
                elif judgement.verdict is Verdict.FORK:
                    self.held.drop(block.origin)
            waiting = self.held.take_ready(after.vector) if len(self.held) else []

    def _judge(self, round_: Round, block: Block, chain_at: ChainAt) -> Judgement:
        after = round_.after
        limit = self.limits.get(block.origin)
        if limit is None:
            if block.origin in after.forks:
                return Judgement(Verdict.FORK, block)
        elif block.last_seq > limit:
            return Judgement(Verdict.FORGOTTEN, block)
        judgement = judge(
            block,
            own_origin=self.origin,
            vector=after.vector,
            chain_at=chain_at,
            pruned=self._pruned,
        )
        match judgement.verdict:
            case Verdict.FORK:
                after.forks[block.origin] = judgement.reason
                if block.origin == self.origin:
                    after.fence = after.fence or judgement.reason
            case Verdict.AHEAD:
                after.fence = after.fence or judgement.reason
            case Verdict.HELD:
                if not self.held.hold(block):
                    return Judgement(Verdict.DROPPED, block)
            case Verdict.APPLIED:
                try:
                    changes = changes_of(block)
                    self._fetch(round_.overlay, changes)
                except BlockError as error:
                    return Judgement(Verdict.MALFORMED, block, str(error))
                except StateError as error:
                    return Judgement(Verdict.DAMAGED, block, str(error))
                round_.records.append(block)
                round_.received.append((block, changes))
            case _:
                pass
        return judgement

    def _fetch(self, overlay: dict[bytes, Held], changes: Changes) -> None:
        """Read what the block will change before it is logged: afterwards it must not fail."""
        wanted = dict.fromkeys(changed_keys(changes))
        keys = [key for key in wanted if key not in overlay] if overlay else wanted
        found = self._read_many(keys)
        self._read_others(keys, found)
        overlay |= found

    def _read_others(self, keys: Collection[bytes], found: dict[bytes, Held]) -> None:
        """Those that one look left out, each with its own; StateError names the first damaged."""
        if len(found) < len(keys):
            for key in keys:
                if key not in found:
                    found[key] = self._read(key)


def _keys_of(blocks: Sequence[Received]) -> dict[bytes, None]:
    return {key: None for _, changes in blocks for key in changed_keys(changes)}


def _added(writer: BlockWriter, request: Request) -> Accepted:
    operations = request.operations
    if not request.each:
        return writer.add(operations, request.request_id, again=request.again)
    assert isinstance(operations, (Puts, Increments)), "requests that are not alike"
    return writer.add_each(operations, request.each)


def _advance(durable: Durable, block: Block) -> None:
    durable.vector[block.origin] = block.last_seq
    durable.chains[block.origin] = block.chain
    durable.hlc = max(durable.hlc, block.hlc + block.count - 1)
