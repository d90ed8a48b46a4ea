"""Random histories: three nodes that exchange blocks now and then, and a reader that changes nodes.

The reader keeps what a read model would, and checks after every step what ``core/watch.py``
promises. ``wrote`` is the truth it is compared with.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from itertools import permutations

import pytest

from kvnode.core.block import decode_block
from kvnode.core.dots import Covered, Dot, Vector
from kvnode.core.errors import Reason, Refused
from kvnode.core.operations import Delete, Increment, Operation, Put
from kvnode.core.types import G_COUNTER, LWW_REGISTER, SIBLINGS
from kvnode.core.watch import Cursor, decode_cursor
from kvnode.v1 import types_pb2

from .watchers import Node, Response, Responses, run, small_steps, step, visible

PREFIX = b"p/"
ROUNDS = 400


@dataclass
class Truth:
    """Every write with the prefix, by its dot."""

    known: dict[Dot, Vector] = field(default_factory=dict)
    """What its writer had, it included."""
    block: dict[Dot, frozenset[Dot]] = field(default_factory=dict)
    """All writes with the prefix of its block."""
    key: dict[Dot, bytes] = field(default_factory=dict)

    def learn(self, node: Node, before: Vector) -> None:
        """What the node has written since."""
        raws, _ = node.log.lacking(before, 1 << 30)
        for raw in raws:
            block = decode_block(raw)
            if block.origin != node.engine.replica.origin:
                continue
            dots = {
                (block.origin, block.first_seq + index): op[1]
                for index, op in enumerate(block.ops)
                if isinstance(op, list) and op[1].startswith(PREFIX)
            }
            for dot, key in dots.items():
                self.known[dot] = {**block.deps, block.origin: dot[1]}
                self.block[dot] = frozenset(dots)
                self.key[dot] = key


class Reader:
    """A read model, and all that it must never see."""

    def __init__(self, truth: Truth) -> None:
        self.truth = truth
        self.rows: dict[bytes, types_pb2.KeyState] = {}
        self.told: set[Dot] = set()
        self.order: list[Dot] = []
        """The last writes of all changes."""
        self.token = b""
        self.begun: Vector | None = None
        self.node: Node | None = None
        self.stream: Responses | None = None
        self.moments = 0
        self.moves = 0
        self.refusals: list[Reason] = []

    async def follow(self, node: Node) -> None:
        """Go on at this node."""
        await self.leave()
        self.node, self.moves = node, self.moves + 1
        self.stream = node.watch(PREFIX, since=self.token, existing=not self.token)

    async def leave(self) -> None:
        if self.stream is not None:
            await self.stream.aclose()
        self.stream = None

    async def read(self) -> None:
        """One step."""
        if self.stream is None:
            return
        try:
            response = await step(self.stream)
        except Refused as error:
            refusal = error
        else:
            self.take(response)
            return
        assert refusal.facts["token"] == self.token.hex()
        self.refusals.append(refusal.reason)
        self.stream = None

    def take(self, response: Response) -> None:
        for change in response.changes:
            key = change.state.key
            dots = [(write.dot.origin, write.dot.seq) for write in change.writes]
            for dot in dots:
                assert self.truth.key[dot] == key
                assert dot not in self.told, "told twice"
                self.told.add(dot)
            if dots:
                assert not [
                    dot for dot in self.order if dots[-1] in Covered(self.truth.known[dot])
                ], "told after what was written with knowledge of it"
                self.order.append(dots[-1])
            before = self.rows.get(key, types_pb2.KeyState()).g_counter.value
            assert change.state.g_counter.value >= before, "older than it was shown"
            self.rows[key] = change.state
        self.token = response.token
        shown = Covered(self.cursor.shown)
        if self.begun is None:
            self.begun = self.cursor.shown
        for dot in self.told:
            assert self.truth.block[dot] <= self.told, "half a block"
        missing = [dot for dot in self.truth.known if dot in shown and dot not in self.told]
        assert all(dot in Covered(self.begun) for dot in missing), "left out"
        if response.current:
            self.moments += 1
            assert self.node is not None
            assert self.visible() == self.node.states(PREFIX), "not the state of one moment"

    @property
    def cursor(self) -> Cursor:
        """What the token says."""
        return decode_cursor(self.token, PREFIX, b"default")

    def visible(self) -> dict[bytes, types_pb2.KeyState]:
        return {key: state for key, state in self.rows.items() if visible(state)}


def batch(rng: random.Random) -> list[Operation]:
    """A few writes; counters only grow."""
    made: list[Operation] = []
    for _ in range(rng.choice((1, 1, 2, 5))):
        number = rng.randrange(4)
        prefix = rng.choice((PREFIX, PREFIX, b"other/"))
        match rng.randrange(4):
            case 0:
                made.append(Increment(prefix + b"count%d" % number, 1, G_COUNTER))
            case 1:
                key, value = prefix + b"last%d" % number, b"%d" % rng.randrange(100)
                made.append(Put(key, value, LWW_REGISTER))
            case 2:
                key, value = prefix + b"all%d" % number, b"%d" % rng.randrange(100)
                made.append(Put(key, value, SIBLINGS))
            case 3:
                made.append(Delete(prefix + rng.choice((b"last%d", b"all%d")) % number))
    return made


async def play(rng: random.Random, nodes: list[Node], truth: Truth, reader: Reader) -> None:
    """One thing happens."""
    match rng.randrange(20):
        case 0 | 1 | 2:
            node = rng.choice(nodes)
            for _ in range(rng.choice((1, 1, 8))):  # often more than a step
                before = node.vector
                await node.write(*batch(rng))
                truth.learn(node, before)
        case 3 | 4:
            receiver, sender = rng.sample(nodes, 2)
            await receiver.pull(sender, rng.choice((1, 3, 1_000)))
        case 5:
            await reader.follow(rng.choice(nodes))
        case 6 if rng.random() < 0.5:
            await reader.leave()
        case _:
            await reader.read()


@pytest.mark.parametrize("seed", range(12))
def test_a_reader_that_changes_nodes_misses_nothing_and_sees_nothing_twice(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_steps(monkeypatch)
    rng = random.Random(seed)

    async def test() -> None:
        nodes = [Node(origin) for origin in (11, 22, 33)]
        truth = Truth()
        reader = Reader(truth)
        for _ in range(ROUNDS):
            await play(rng, nodes, truth, reader)
        for receiver, sender in [*permutations(nodes, 2)] * 2:
            await receiver.pull(sender)
        await reader.follow(rng.choice(nodes))
        final = reader.moments
        while reader.moments == final:
            await reader.read()
        await reader.leave()
        assert reader.begun is not None
        assert reader.told >= {dot for dot in truth.known if dot not in Covered(reader.begun)}
        assert reader.visible() == nodes[0].states(PREFIX)
        assert reader.moments > 2
        assert reader.moves > 5
        assert set(reader.refusals) <= {Reason.WATCH_AHEAD}
        for node in nodes:
            assert node.watching.count == 0
            await node.engine.close()

    run(test)
