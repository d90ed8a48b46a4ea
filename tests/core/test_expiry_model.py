"""Random lives of a few replicas whose values expire, against what the history says.

Every replica has a clock of its own that is set at will, forwards and back. They write, take each
other's blocks, move their horizons to what their clock says, collect what is stable, join each
other's states and restart. At any moment a replica has to show exactly what the writes it has
received make of each key at its ``now``; replicas with one vector have one digest, as of any time
that their horizons have passed.
"""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from kvnode.core.dots import Covered, Dot
from kvnode.core.operations import Delete, Operation, Put
from kvnode.core.types import LWW_REGISTER, SIBLINGS
from kvnode.storage.digest_reading import range_digests
from tests.core.memory_node import WALL_MS, MemoryNode

NODES = 3
SPAN_MS = 20
"""Clocks and deadlines are within so many ms."""
KEYS = {SIBLINGS: b"s", LWW_REGISTER: b"r"}
MODES = ("observed", "blind", "token")
EVERYTHING = [(b"", b"")]

node_numbers = st.integers(0, NODES - 1)
times = st.integers(0, SPAN_MS)
kinds = st.sampled_from([SIBLINGS, LWW_REGISTER])
steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("put"),
            node_numbers,
            kinds,
            st.sampled_from(MODES),
            st.sampled_from([0, 2, 2, 9]),
        ),
        st.tuples(st.just("delete"), node_numbers, kinds),
        st.tuples(st.just("pull"), node_numbers, node_numbers),
        st.tuples(st.just("meet"), node_numbers),
        st.tuples(st.just("clock"), node_numbers, times),
        st.tuples(st.just("collect"), node_numbers),
        st.tuples(st.just("merge"), node_numbers, node_numbers),
        st.tuples(st.just("restart"), node_numbers),
    ),
    min_size=12,
    max_size=24,
)


class Written(NamedTuple):
    """A put, or a delete with nothing for a value, as the history has it."""

    key: bytes
    kind: int
    value: bytes | None
    deadline: int
    replaced: frozenset[Dot]
    stamp: tuple[int, int, int]


class World:
    """The replicas and all that was written."""

    def __init__(self) -> None:
        self.nodes = [MemoryNode(origin + 1) for origin in range(NODES)]
        self.written: dict[Dot, Written] = {}

    def step(self, name: str, number: int, *more: object) -> None:
        """One step, if it is possible now."""
        node = self.nodes[number]
        match name, more:
            case "put", (int(kind), str(mode), int(ttl)):
                self._put(node, kind, mode, ttl)
            case "delete", (int(kind),):
                self._write(node, Delete(KEYS[kind]), kind, 0)
            case "pull", (int(other),):
                node.pull(self.nodes[other])
            case "meet", ():
                for peer in self.nodes:
                    node.pull(peer)
                for peer in self.nodes:
                    peer.pull(node)
            case "merge", (int(other),):
                node.merge(self.nodes[other])
            case "clock", (int(time),):
                node.wall_ms = WALL_MS + time
            case "collect", ():
                self._collect(node)
            case "restart", ():
                node.restart()
            case _:
                raise AssertionError(name)

    def _put(self, node: MemoryNode, kind: int, mode: str, ttl: int) -> None:
        key, deadline = KEYS[kind], node.now + ttl if ttl else 0
        value = b"%d:%d" % (node.origin, node.vector.get(node.origin, 0) + 1)
        context = node.context(key) if mode == "token" else None
        blind = mode == "blind" and kind == SIBLINGS
        self._write(node, Put(key, value, kind, context, blind, deadline), kind, deadline)

    def _write(self, node: MemoryNode, operation: Operation, kind: int, deadline: int) -> None:
        before = node.entry(operation.key)
        held = frozenset(before[SIBLINGS][0]) if SIBLINGS in before else frozenset()
        shown = node.shown(operation.key)
        accepted = node.write(operation)
        dot = (node.origin, accepted.first_seq)
        if isinstance(operation, Put):
            replaced = frozenset() if operation.blind else held
            value = operation.value
        elif shown:
            replaced, value = held, None
        else:
            return  # who sees nothing deletes nothing
        stamp = (accepted.hlc, *dot)
        self.written[dot] = Written(operation.key, kind, value, deadline, replaced, stamp)

    def _collect(self, node: MemoryNode) -> None:
        """As the collector does, whose horizon is what its clock says."""
        node.checkpoint(node.wall_ms)
        others = [other for other in self.nodes if other is not node]
        for other in others:
            node.hear(other)
        node.collect(node.stability.stable(node.vector, [other.origin for other in others]))

    def expected(self, node: MemoryNode, kind: int) -> list[bytes]:
        """What the writes that the replica has received make of the key."""
        seen = Covered(node.vector)
        writes = {d: w for d, w in self.written.items() if d in seen and w.kind == kind}
        if kind == LWW_REGISTER:
            last = max(writes.values(), key=lambda write: write.stamp, default=None)
            left = [] if last is None else [last]
        else:
            gone = {dot for write in writes.values() for dot in write.replaced}
            left = [write for dot, write in writes.items() if dot not in gone]
        alive = [w for w in left if not w.deadline or w.deadline > node.now]
        return sorted(write.value for write in alive if write.value is not None)

    def check(self) -> None:
        for node in self.nodes:
            for kind, key in KEYS.items():
                assert node.shown(key) == self.expected(node, kind), (node.origin, key)
        for one in self.nodes:
            for other in self.nodes:
                if one.vector == other.vector:
                    past = max(one.replica.durable.horizon, other.replica.durable.horizon)
                    assert one.live(past) == other.live(past)

    def check_digests(self) -> None:
        """All receive everything; whatever was collected where, the digests are equal."""
        for node in self.nodes:
            for source in self.nodes:
                node.merge(source)
        self.check()
        for node in self.nodes:
            node.checkpoint()
        latest = max(node.replica.durable.horizon for node in self.nodes)
        for past in {latest, WALL_MS + SPAN_MS // 2, WALL_MS + 2 * SPAN_MS}:
            found = [range_digests(node.state, EVERYTHING, past) for node in self.nodes]
            if past >= latest:
                assert len({str(each.digests) for each in found}) == 1, past


@settings(max_examples=40, deadline=None)
@given(steps)
def test_replicas_show_what_their_history_and_clock_say(
    life: list[tuple[str, int, *tuple[object, ...]]],
) -> None:
    world = World()
    for step in life:
        world.step(*step)
        world.check()
    world.check_digests()
