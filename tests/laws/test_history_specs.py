"""Three replicas, any writes, pulls and collections: each always shows what the history says.

Laws and convergence tests accept a put that also removes what its client never saw, as long as
all replicas do it alike. Only a comparison with what each client had seen finds that. The third
replica never collects: what the others have let go must not make a difference (traps 4, 9, 10).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvnode.core.entry import garbage_dots, visible_types
from kvnode.core.types import COUNTERS, G_COUNTER, LWW_REGISTER, PN_COUNTER, SIBLINGS, TYPES
from tests.core.memory_node import WALL_MS, MemoryNode, converge
from tests.laws.history import SPECS, Ask, History, Read

ORIGINS = (0x11, 0x2222222222222222, 2**64 - 1)
KEYS = (b"k", b"l")


class Meant(NamedTuple):
    """An operation, its context given as the number of an earlier read."""

    key: bytes
    kind: int
    delete: bool
    amount: int
    mode: str
    read: int


class WriteStep(NamedTuple):
    node: int
    requests: list[list[Meant]]
    wall_ms: int


class ReadStep(NamedTuple):
    node: int
    key: bytes


class PullStep(NamedTuple):
    """Blocks ``order`` of what the source has go to the target: some lost, some twice."""

    source: int
    target: int
    order: list[int]
    everything: bool


class ReportStep(NamedTuple):
    """The target hears how far the source is; reports come late, or never."""

    source: int
    target: int


class MeetStep(NamedTuple):
    """A node pulls from the others, then each of the others hears from it and collects."""

    node: int


class CollectStep(NamedTuple):
    node: int


def steps(kinds: list[int], keys: tuple[bytes, ...]) -> st.SearchStrategy[list[Any]]:
    node = st.integers(0, 2)
    meant = st.builds(
        Meant,
        st.sampled_from(keys),
        st.sampled_from(kinds),
        st.sampled_from([False, False, True]),
        st.integers(-9, 9).filter(bool),
        st.sampled_from(["observed", "blind", "explicit", "explicit"]),
        st.integers(0, 5),
    )
    requests = st.lists(st.lists(meant, min_size=1, max_size=3), min_size=1, max_size=2)
    wall = st.sampled_from([WALL_MS, WALL_MS, WALL_MS + 5, WALL_MS - 3_600_000])
    write = st.builds(WriteStep, node, requests, wall)
    read = st.builds(ReadStep, node, st.sampled_from(keys))
    pull = st.builds(
        PullStep, node, node, st.lists(st.integers(0, 7), min_size=1, max_size=8), st.booleans()
    )
    report = st.builds(ReportStep, node, node)
    collect = st.builds(CollectStep, st.integers(0, 1))
    meet = st.builds(MeetStep, node)
    return st.lists(
        st.one_of(write, write, read, pull, pull, report, collect, meet), min_size=6, max_size=40
    )


class Cluster:
    """Three replicas, their history, and what clients have read."""

    def __init__(self) -> None:
        self.nodes = [MemoryNode(origin) for origin in ORIGINS]
        self.history = History()
        self.reads: list[Read] = []
        self._values = 0

    def run(self, steps: list[Any]) -> None:
        for step in steps:
            match step:
                case WriteStep():
                    requests = [[self._ask(meant) for meant in batch] for batch in step.requests]
                    node = self.nodes[step.node]
                    self.history.submit(node, requests, wall_ms=step.wall_ms)
                case ReadStep():
                    read = self.history.read(self.nodes[step.node], step.key)
                    self.reads.append(read)
                case PullStep():
                    self._pull(step)
                case ReportStep() if step.source != step.target:
                    self.nodes[step.target].hear(self.nodes[step.source])
                case MeetStep():
                    self._meet(self.nodes[step.node])
                case CollectStep():
                    self._collect(self.nodes[step.node])
            for node in self.nodes:
                self.history.check(node)
        converge(self.nodes)
        for node in self.nodes:
            self.history.check(node)
            assert node.live() == self.nodes[0].live(), "replicas differ in their live forms"
        self._check_all_goes()

    def _meet(self, node: MemoryNode) -> None:
        others = [other for other in self.nodes if other is not node]
        for other in others:
            node.pull(other)
            node.hear(other)
        for other in others:
            other.hear(node)
        for collecting in self.nodes[:2]:
            self._collect(collecting)

    def _collect(self, node: MemoryNode) -> None:
        members = [other.origin for other in self.nodes if other is not node]
        node.collect(node.stability.stable(node.vector, members))

    def _check_all_goes(self) -> None:
        """When all have the same and have said so, nothing but values is kept."""
        for node in self.nodes:
            for other in self.nodes:
                if other is not node:
                    node.hear(other)
            self._collect(node)
            self.history.check(node)
            for entry in node.entries().values():
                assert visible_types(entry, 0) == sorted(entry)
                assert not garbage_dots(entry)

    def _pull(self, step: PullStep) -> None:
        source, target = self.nodes[step.source], self.nodes[step.target]
        have = {} if step.everything else target.vector
        blocks, _ = source.log.lacking(have, 1 << 30)
        target.receive([blocks[index] for index in step.order if index < len(blocks)])

    def _ask(self, meant: Meant) -> Ask:
        payload: Any = None
        context: Any = "observed"
        if not meant.delete:
            self._values += 1
            amount = abs(meant.amount) if meant.kind == G_COUNTER else meant.amount
            payload = amount if meant.kind in COUNTERS else b"%d" % self._values
            if meant.kind == SIBLINGS and meant.mode == "blind":
                context = "blind"
        reads = [read for read in self.reads if read.key == meant.key]
        if meant.mode == "explicit" and reads:
            context = reads[-1 - meant.read % len(reads)]
        kind = 0 if meant.delete and meant.amount % 2 else meant.kind
        return Ask(meant.key, kind, payload, context)


def test_every_registered_type_has_a_specification() -> None:
    assert SPECS.keys() == TYPES.keys()


@pytest.mark.parametrize("kind", SPECS, ids=lambda kind: TYPES[kind].NAME)
def test_one_type_shows_what_its_history_says(kind: int) -> None:
    @settings(max_examples=2 * settings().max_examples)
    @given(steps([kind], KEYS[:1]))
    def search(steps: list[Any]) -> None:
        Cluster().run(steps)

    search()


@settings(max_examples=2 * settings().max_examples)
@given(steps([G_COUNTER, PN_COUNTER, LWW_REGISTER, SIBLINGS], KEYS))
def test_mixed_types_under_two_keys_show_what_their_history_says(steps: list[Any]) -> None:
    Cluster().run(steps)
