"""Any sequence of writes, pulls, crashes, full disks, checkpoints, collections keeps the promises.

Three nodes over the in-memory storage. After every step each node shows what the history says
(``tests/laws/history.py``); nodes with equal vectors are equal byte for byte in what is live,
whether they collect or, as the third, never do; a request id is done once wherever its block has
arrived; a crash loses nothing that was logged and shows all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from kvnode.core.accepted import Accepted
from kvnode.core.dots import Dot
from kvnode.core.errors import Refused
from kvnode.core.replica import Request, Round
from kvnode.core.types import COUNTERS, G_COUNTER, LWW_REGISTER, PN_COUNTER, SIBLINGS
from kvnode.storage.interfaces import DiskFullError
from tests.core.memory_node import WALL_MS, MemoryNode, converge
from tests.laws.history import Ask, History, Read

ORIGINS = (1, 2, 3)
HOME = {b"g": G_COUNTER, b"p": PN_COUNTER, b"r": LWW_REGISTER, b"s": SIBLINGS, b"t": SIBLINGS}
"""The type that is mostly written under a key; without it most writes would be refused."""
node_numbers = st.integers(0, 2)


class Wish(NamedTuple):
    """An operation before its context is chosen."""

    key: bytes
    kind: int
    """0: the key's home type."""
    amount: int | None
    mode: str


wishes = st.builds(
    Wish,
    st.sampled_from(sorted(HOME)),
    st.sampled_from([0, 0, 0, 0, 0, 0, G_COUNTER, PN_COUNTER, LWW_REGISTER, SIBLINGS]),
    st.one_of(st.integers(1, 9), st.integers(-9, -1), st.none()),
    st.sampled_from(["observed", "blind", "explicit"]),
)
batches = st.lists(wishes, min_size=1, max_size=3)


class Sent(NamedTuple):
    """A request as its client remembers it, to send it again."""

    asks: list[Ask]
    request_id: bytes
    first: Dot


class Nodes(RuleBasedStateMachine):
    """See the module."""

    reads = Bundle("reads")
    sent = Bundle("sent")

    def __init__(self) -> None:
        super().__init__()
        self.nodes = [MemoryNode(origin, hold_bytes_max=2_000) for origin in ORIGINS]
        self.history = History()
        self.wall_ms = WALL_MS
        self._made = 0

    @initialize(target=reads)
    def read_nothing(self) -> Read:
        return self.history.read(self.nodes[0], b"s")

    @rule(target=reads, number=node_numbers, key=st.sampled_from(sorted(HOME)))
    def read(self, number: int, key: bytes) -> Read:
        return self.history.read(self.nodes[number], key)

    @rule(target=sent, number=node_numbers, batch=batches, read=reads)
    def write(self, number: int, batch: list[Wish], read: Read) -> Sent:
        node, asks, request_id = self.nodes[number], self._asks(batch, read), self._id()
        (outcome,) = self.history.submit(node, [asks], ids=[request_id], wall_ms=self.wall_ms)
        first = outcome.first_seq if isinstance(outcome, Accepted) else 0
        return Sent(asks, request_id, (node.origin, first))

    @rule(number=node_numbers, group=st.lists(batches, min_size=2, max_size=3), read=reads)
    def write_group(self, number: int, group: list[list[Wish]], read: Read) -> None:
        """Several requests in one block, one of them possibly refused."""
        requests = [self._asks(batch, read) for batch in group]
        self.history.submit(self.nodes[number], requests, wall_ms=self.wall_ms)

    @rule(number=node_numbers, sent=sent, times=st.integers(1, 2))
    def retry(self, number: int, sent: Sent, times: int) -> None:
        """The same id again, at a node that has its block: the first outcome, nothing new."""
        node = self.nodes[number]
        if not 0 < sent.first[1] <= node.vector.get(sent.first[0], 0):
            node = self.nodes[ORIGINS.index(sent.first[0])]
        if not sent.first[1]:
            return
        again = Request([ask.operation for ask in sent.asks], sent.request_id)
        round_ = node.commit([again] * times)
        for outcome in round_.outcomes:
            assert isinstance(outcome, Accepted)
            assert outcome.repeated
            assert (outcome.origin, outcome.first_seq) == sent.first
        assert round_.own is None

    @rule(number=node_numbers, batch=batches, read=reads)
    def write_twice_in_one_round(self, number: int, batch: list[Wish], read: Read) -> None:
        """A retry that overtakes the commit of the first is in the same block."""
        request_id = self._id()

        def commit(requests: Sequence[Request]) -> Round:
            round_ = self.nodes[number].commit([*requests, *requests], wall_ms=self.wall_ms)
            first, second = round_.outcomes
            if isinstance(first, Accepted):
                assert isinstance(second, Accepted)
                assert second.repeated
                assert second.first_seq == first.first_seq
            else:
                assert isinstance(second, Refused)
            round_.outcomes = [first]
            return round_

        asks = self._asks(batch, read)
        self.history.submit(self.nodes[number], [asks], ids=[request_id], commit=commit)

    @rule(number=node_numbers, batch=batches, read=reads)
    def crash_between_log_and_answer(self, number: int, batch: list[Wish], read: Read) -> None:
        """Logged is done: after the restart the write is there, though nobody was told."""
        node = self.nodes[number]

        def commit(requests: Sequence[Request]) -> Round:
            round_ = node.replica.plan(requests, [], self.wall_ms)
            if round_.records:
                node.log.append(round_.records)
            node.restart()
            return round_

        self.history.submit(node, [self._asks(batch, read)], commit=commit)

    @rule(number=node_numbers, source=node_numbers, batch=batches, read=reads)
    def disk_full(self, number: int, source: int, batch: list[Wish], read: Read) -> None:
        """A round that could not be logged has not happened."""
        node = self.nodes[number]
        before = node.encoded(), node.vector, node.replica.durable.hlc
        node.log.full = True
        with pytest.raises((DiskFullError, Refused)):  # noqa: PT012 - one of two ways
            (outcome,) = self.history.submit(node, [self._asks(batch, read)])
            if isinstance(outcome, Refused):
                raise outcome
        with pytest.raises(DiskFullError):  # noqa: PT012
            node.pull(self.nodes[source])
            raise DiskFullError  # there was nothing to pull
        node.log.full = False
        assert before == (node.encoded(), node.vector, node.replica.durable.hlc)

    @rule(source=node_numbers, number=node_numbers)
    def pull(self, source: int, number: int) -> None:
        self.nodes[number].pull(self.nodes[source])

    @rule(number=node_numbers, order=st.lists(st.integers(0, 5), min_size=1, max_size=6))
    def arrive(self, number: int, order: list[int]) -> None:
        """Of what the others have, some blocks: lost ones, some twice, in any order."""
        node = self.nodes[number]
        raws = sorted({raw for other in self.nodes for raw in _newest(other, node)})
        node.receive([raws[index] for index in order if index < len(raws)])
        node.receive([raw for _, raw in node.log.replay(max(0, node.log.last_arrival - 2))])

    @rule(source=node_numbers, number=node_numbers)
    def report(self, source: int, number: int) -> None:
        if source != number:
            self.nodes[number].hear(self.nodes[source])

    @rule(number=st.integers(0, 1))
    def collect(self, number: int) -> None:
        node = self.nodes[number]
        members = [origin for origin in ORIGINS if origin != node.origin]
        node.collect(node.stability.stable(node.vector, members))

    @rule(number=st.integers(0, 1))
    def meet(self, number: int) -> None:
        """All exchange everything they have and their reports, and one collects."""
        for node in self.nodes:
            for other in self.nodes:
                node.pull(other)
        for node in self.nodes:
            for other in self.nodes:
                if other is not node:
                    node.hear(other)
        self.collect(number)

    @rule(number=node_numbers, full=st.booleans(), restart=st.booleans())
    def checkpoint(self, number: int, *, full: bool, restart: bool) -> None:
        """Perhaps without room for it, perhaps with a crash behind it: nothing changes."""
        node = self.nodes[number]
        before = node.live(), node.vector, node.replica.durable.chains, node.replica.durable.hlc
        if full:
            node.state.full = True
            with pytest.raises(DiskFullError):
                node.checkpoint()
            node.state.full = False
        else:
            node.checkpoint()
        if restart:
            node.restart()
        durable = node.replica.durable
        assert before == (node.live(), node.vector, durable.chains, durable.hlc)

    @rule(step_ms=st.sampled_from([-3_600_000, -1, 1, 50]))
    def step_clock(self, step_ms: int) -> None:
        """Also backwards, also over a restart."""
        self.wall_ms += step_ms

    @invariant()
    def nodes_show_what_the_history_says(self) -> None:
        for node in self.nodes:
            self.history.check(node)

    @precondition(lambda self: len(self.history.events) > 0)
    @invariant()
    def equal_vectors_mean_equal_bytes(self) -> None:
        first, second, third = self.nodes
        for a, b in ((first, second), (second, third), (first, third)):
            if a.vector == b.vector:
                assert a.live() == b.live()

    def teardown(self) -> None:
        converge(self.nodes)
        for node in self.nodes:
            self.history.check(node)
            node.replica.check_invariants()
            assert node.live() == self.nodes[0].live()
            assert len(node.replica.held) == 0

    def _asks(self, batch: list[Wish], read: Read) -> list[Ask]:
        return [self._ask(wish, read) for wish in batch]

    def _ask(self, wish: Wish, read: Read) -> Ask:
        key = read.key if wish.mode == "explicit" else wish.key
        kind = wish.kind or HOME[key]
        payload: Any = wish.amount
        context: Any = "observed"
        if payload is not None:
            self._made += 1
            if kind not in COUNTERS:
                payload = b"%d" % self._made
            elif kind == G_COUNTER:
                payload = abs(payload)
            if kind == SIBLINGS and wish.mode == "blind":
                context = "blind"
        if wish.mode == "explicit":
            context = read
        if payload is None and self._made % 2:
            kind = 0
        return Ask(key, kind, payload, context)

    def _id(self) -> bytes:
        self._made += 1
        return self._made.to_bytes(16, "big")


def _newest(source: MemoryNode, target: MemoryNode) -> list[bytes]:
    return source.log.lacking(target.vector, 1 << 30)[0][-2:]


TestNodes = Nodes.TestCase
TestNodes.settings = settings(stateful_step_count=60)
