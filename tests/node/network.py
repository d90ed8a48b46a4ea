"""Several nodes in one event loop, joined by links that a test can cut: everything but gRPC.

Engine, membership and replicator are the real ones over the in-memory log and state. A link calls
the other side's replicator as its service would. ``cut`` is one direction and drops what is on its
way; streams over it end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

from kvnode.config import Config
from kvnode.core.dots import Dot
from kvnode.core.entry import Entry
from kvnode.core.errors import Refused
from kvnode.core.operations import Operation
from kvnode.core.replica import Request, Round
from kvnode.core.report import Hello, Meeting, Report
from kvnode.core.roster import Forget, Member
from kvnode.node.engine import Engine
from kvnode.node.founding import founding_roster
from kvnode.node.handshake import Handshake
from kvnode.node.intake import Intake
from kvnode.node.levels import Levels
from kvnode.node.membership import Membership
from kvnode.node.peers import Peer
from kvnode.node.replicator import Replicator
from kvnode.rpc.link import LinkError, Pulled
from kvnode.storage.memory import MemoryLog, MemoryState

TICK_MS = 10
CLUSTER = "played"


class Stream:
    """A push stream to a node, as ``rpc/link.py`` has it."""

    def __init__(self, network: Network, source: str, target: str) -> None:
        self._network = network
        self._way = (source, target)
        self._answers: asyncio.Queue[tuple[Report, Hello | None] | LinkError] = asyncio.Queue()
        self._served: tuple[Intake, Peer] | None = None
        network.streams.append(self)

    async def send(
        self, report: Report, position: int, blocks: Sequence[bytes], hello: Hello | None
    ) -> None:
        target = self._network.reach(*self._way)
        try:
            if self._served is None:
                assert hello is not None
                peer = target.introduce(hello)
                self._served = (target.intake(peer, hello), peer)
            intake, peer = self._served
            await intake.finish(intake.begin(report, position, blocks))
            shown = target.hello() if hello else None
            self._answers.put_nowait((target.report(peer), shown))
        except Refused as refusal:
            raise LinkError(refusal.message, refused=True, reason=refusal.reason) from refusal

    async def receive(self) -> tuple[Report, Hello | None]:
        answer = await self._answers.get()
        if isinstance(answer, LinkError):
            raise answer
        self._network.reach(*reversed(self._way))
        return answer

    def fail_if(self, way: tuple[str, str]) -> None:
        """End it if it runs over this direction."""
        if way in (self._way, (self._way[1], self._way[0])):
            self._answers.put_nowait(LinkError("cut"))

    def close(self) -> None:
        if self._served:
            intake, _ = self._served
            intake.close()
            self._served = None
        if self in self._network.streams:
            self._network.streams.remove(self)


class PlayedLink:
    """From one node to the node of a name."""

    def __init__(self, network: Network, source: str, target: str) -> None:
        self._network = network
        self._way = (source, target)

    def push(self) -> Stream:
        return Stream(self._network, *self._way)

    async def pull(
        self,
        hello: Hello,
        report: Report,
        have: Mapping[int, int],
        bytes_max: int,
        _idle_s: float,
    ) -> AsyncIterator[Pulled]:
        target = self._network.reach(*self._way)
        try:
            peer = target.introduce(hello)
            target.learn(peer, hello.origin, report)
            first: Hello | None = target.hello()
            async for found in target.lacking(dict(have), bytes_max):
                self._network.reach(*reversed(self._way))
                yield Pulled(target.report(peer), first, found.blocks, found.complete, found.floor)
                first = None
        except Refused as refusal:
            raise LinkError(refusal.message, refused=True, reason=refusal.reason) from refusal

    async def meet(self, hello: Hello, about: Dot, _deadline_s: float) -> Meeting:
        target = self._network.reach(*self._way)
        return target.met(hello, about)

    async def close(self) -> None:
        """Nothing is open."""


class PlayedNode:
    """One node."""

    def __init__(
        self, network: Network, name: str, origin: int, peers: Sequence[str], *, join: bool = False
    ) -> None:
        self.name, self.origin = name, origin
        config = Config(
            name=name,
            cluster=CLUSTER,
            peers={peer: f"{peer}:1" for peer in peers},
            heartbeat_interval_ms=TICK_MS,
            anti_entropy_interval_ms=TICK_MS,
            reconnect_interval_ms=TICK_MS,
            relay_interval_ms=TICK_MS,
            peer_timeout_ms=60_000,
        )
        self.log, self.state = MemoryLog(), MemoryState()
        self.engine = Engine(config, origin, self.log, self.state)
        roster = founding_roster(origin, name, CLUSTER, list(peers), join=join)
        self.membership = Membership(self.engine, name, roster, found=False)
        self.replicator = Replicator(
            self.engine,
            self.membership,
            Handshake(CLUSTER, self.membership),
            open_link=lambda address: PlayedLink(network, name, address.partition(":")[0]),  # type: ignore[arg-type,return-value]
        )
        self.levels = Levels(self.engine, self.replicator)
        self.replicator.on_report = self.levels.look
        self.engine.on_commit = self._committed

    async def write(self, *operations: Operation) -> Dot:
        """As a client of this node; the last operation's dot."""
        refusal = self.membership.refusal()
        if refusal:
            raise refusal
        accepted, _ = await self.engine.submit(Request(operations), 100)
        return accepted.origin, accepted.first_seq + len(operations) - 1

    def _committed(self, round_: Round) -> None:
        self.replicator.committed(round_)
        self.levels.look()

    def entry(self, key: bytes) -> Entry:
        """What it keeps."""
        return self.engine.memtable.read(key)

    async def start(self) -> None:
        """Replicate; others reach it under its name."""
        self.replicator.start()
        await self.membership.introduce_as(f"{self.name}:1")

    async def close(self) -> None:
        """Stop."""
        await self.replicator.close()
        await self.engine.close()


class Network:
    """Nodes and the directions that are cut."""

    def __init__(self) -> None:
        self.nodes: dict[str, PlayedNode] = {}
        self.streams: list[Stream] = []
        self._cut: set[tuple[str, str]] = set()

    def __getitem__(self, name: str) -> PlayedNode:
        return self.nodes[name]

    async def found(self, names: str, *, absent: str = "") -> None:
        """Nodes that found a cluster together; those ``absent`` never come."""
        for number, name in enumerate(names, 1):
            others = [other for other in names + absent if other != name]
            self.nodes[name] = PlayedNode(self, name, number, others)
        for name in names:
            await self.nodes[name].start()
        known = set(names)
        await self.until(
            lambda: all(
                {one.name for one in self[name].membership.roster.members.values()} == known
                for name in names
            )
        )

    async def newcomer(self, name: str, origin: int) -> PlayedNode:
        """A node that waits to be taken in."""
        self.nodes[name] = node = PlayedNode(self, name, origin, [], join=True)
        await node.start()
        return node

    async def join(self, sponsor: str, name: str) -> None:
        """Let ``sponsor`` take in the newcomer ``name``; returns when that is on its disk."""
        row = Member(1, name, f"{name}:1", joining=True)
        origin = self[name].origin
        await self[sponsor].membership.change(lambda roster: roster.with_member(origin, row))

    async def forget(self, teller: str, name: str) -> None:
        """Let ``teller`` forget the member ``name``."""
        forget = Forget(1, self[teller].origin, 0)
        origin = self[name].origin
        await self[teller].membership.change(lambda roster: roster.with_forget(origin, forget))

    def reach(self, source: str, target: str) -> Replicator:
        """The replicator at the other end; LinkError if it cannot be reached."""
        if (source, target) in self._cut or target not in self.nodes:
            raise LinkError(f"{source} does not reach {target}")
        return self.nodes[target].replicator

    def cut(self, some: str, others: str) -> None:
        """Cut every direction between the two groups."""
        for one in some:
            for other in others:
                for way in ((one, other), (other, one)):
                    self._cut.add(way)
                    for stream in list(self.streams):
                        stream.fail_if(way)

    def heal(self) -> None:
        """Nothing is cut any more."""
        self._cut.clear()

    async def until(self, condition: Callable[[], object]) -> None:
        """Let the nodes run until it holds; the scenario's deadline bounds it."""
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(TICK_MS / 4000)

    async def rounds(self, count: int) -> None:
        """Let every node look at its peers so often: what was to happen has happened."""
        before = {name: node.replicator.repair.rounds for name, node in self.nodes.items()}
        await self.until(
            lambda: all(
                self[name].replicator.repair.rounds >= seen + count for name, seen in before.items()
            )
        )


def play(scenario: Callable[[Network], Awaitable[None]], deadline_s: float = 100.0) -> None:
    """Run a scenario on a new network."""

    async def run() -> None:
        network = Network()
        try:
            await asyncio.wait_for(scenario(network), deadline_s)
        finally:
            for node in network.nodes.values():
                await node.close()

    asyncio.run(run())
