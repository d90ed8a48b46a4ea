"""The end of a run: everything is healed, and then the cluster must come together.

Within ``ROUNDS_MAX`` anti-entropy rounds every member serves, all have one vector, all forgets are
complete, and nothing waits. Then what each shows becomes part of the history.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc

from kvnode.core.errors import Refused
from kvnode.v1 import kv_pb2 as pb
from kvnode.v1.kv_pb2_grpc import KeyValueStub
from tests.checkers.history import Dot, Final
from tests.sim.channel import PlayedChannel
from tests.sim.checks import live_digest
from tests.sim.clients import ReadingClock, seen_of
from tests.sim.steps import OPERATOR, Steps

if TYPE_CHECKING:
    from kvnode.node.node import Node
    from tests.sim.hosts import Host
    from tests.sim.world import World

ROUNDS_MAX = 80
JOURNAL_WHOLE_ROWS = 1_000
"""A journal of so many rows holds all that a run can make lose."""
QUIET_S = 2.0
WATCHED_S = 120.0
"""Enough for a watch to be turned away by all nodes some times, and to begin anew."""


class Ending:
    """See the module."""

    def __init__(self, world: World, steps: Steps) -> None:
        self._world = world
        self._steps = steps

    async def run(self) -> None:
        """Heal, wait, look."""
        world = self._world
        world.tell("WORLD", "everything is healed")
        self._heal()
        round_s = world.plan.settings["anti_entropy_interval_ms"] / 1000
        left = ROUNDS_MAX
        while (problem := self._problem()) and left:
            left -= 1
            await self._help()
            await asyncio.sleep(round_s)
        world.counts["rounds to converge"] += ROUNDS_MAX - left
        if problem:
            world.finding("convergence", f"after {ROUNDS_MAX} rounds: {problem}")
            return
        await self._look()

    def _heal(self) -> None:
        world = self._world
        world.latest_clock()
        world.clocks_set += 1
        world.network.heal_all()
        for host in list(world.hosts.values()):
            machine = host.machine
            machine.full = machine.broken = False
            machine.job_s = (0.0005, 0.004)
            machine.offset_ms, machine.drift = 0.0, 0.0
            if host.process is not None and host.process.stopped:
                world.loop.resume(host.process)
            if host.retired:
                host.kill()

    async def _help(self) -> None:
        """What an operator does when he sees what is going on."""
        world = self._world
        for host in world.hosts.values():
            if not host.running and not host.retired:
                host.start()
            if host.leaving and host.node and host.node.membership.place == "forgotten":
                host.retired = True  # the answer to who told it so got lost
                host.kill()
            if host.node is not None:
                self._drop(host.node)
        serving = [
            host.name
            for host in world.hosts.values()
            if host.node is not None and host.node.membership.place == "serving"
        ]
        for errand in self._steps.errands:
            others = [name for name in serving if name != errand.host.name]
            if not errand.done and others:
                problem = await errand.ask(others[0])
                world.tell(OPERATOR, f"{errand.what} {errand.host.name}: {problem or 'ok'}")
                errand.done = not problem or "no member" in problem or "already" in problem

    def _drop(self, node: Node) -> None:
        """Blocks that came damaged and were lost with the disk of who sent them, as status says."""
        vector, limits = node.engine.vector, node.engine.replica.limits
        for record in node.quarantine.records():
            missing = {o: seq for o, seq in record.awaits.items() if seq > vector.get(o, 0)}
            if missing and all(seq > limits.get(o, seq) for o, seq in missing.items()):
                self._world.tell(OPERATOR, f"drops the record of {missing}, which nobody has")
                node.quarantine.remove(record.number)

    def _members(self) -> list[tuple[Host, Node]]:
        return [
            (host, host.node)
            for host in self._world.hosts.values()
            if not host.retired and host.node is not None
        ]

    def _problem(self) -> str:
        """What is not as it should be in the end; empty if nothing is."""
        for host in self._world.hosts.values():
            if host.node is None and not host.retired:
                return f"{host.name} is down: {host.refusal}"
        for errand in self._steps.errands:
            if not errand.done:
                return f"{errand.what} {errand.host.name} is not done"
        members = self._members()
        origins = {node.replicator.origin for _, node in members}
        for host, node in members:
            problem = _problem_of(node, origins)
            if problem:
                return f"{host.name}: {problem}"
        vectors = {host.name: dict(node.vector) for host, node in members}
        first = next(iter(vectors.values()), {})
        if any(vector != first for vector in vectors.values()):
            return f"vectors differ: {vectors}"
        return ""

    async def _look(self) -> None:
        world = self._world
        keys = sorted(
            {
                key
                for step in world.plan.steps
                if step.ask
                for key in (*step.ask.keys, *(change.key for change in step.ask.changes))
            }
            or {b"nothing"}
        )
        await asyncio.sleep(QUIET_S)
        await self._watched()
        world.checks.observe()
        stored: dict[int, dict[str, object]] = {}
        for host, node in self._members():
            channel = PlayedChannel(world.network, OPERATOR, host)
            stub = KeyValueStub(channel)  # type: ignore[no-untyped-call]
            clock = ReadingClock(world, host)
            try:
                reply = await stub.BatchGet(pb.BatchGetRequest(keys=keys), timeout=5)
            except grpc.aio.AioRpcError as error:
                world.finding("end", f"{host.name} is not read: {error.details()}")
                continue
            digest = live_digest(node)
            world.history.finals.append(
                Final(
                    host.name,
                    dict(node.vector),
                    digest,
                    seen_of(reply.states),
                    world.now_ms(),
                    journal_of(node),
                    clock.told(),
                )
            )
            assert host.process is not None
            checkpoint = host.process.run(world.loop.create_task, node.engine.checkpoints.current())
            try:
                await checkpoint
            except Refused as refusal:
                world.finding("checkpoint", f"{host.name}: {refusal.message}")
            horizon = node.engine.replica.durable.horizon
            stored.setdefault(horizon, {})[host.name] = node.engine.checkpoints.state.total()[1]
        for digests in stored.values():
            if len(set(digests.values())) > 1:
                world.finding("digest", f"stored digests differ: {digests}")
        for origin in world.lost.keys() - self._forgotten():
            del world.lost[origin]
        for _, node in self._members():  # two histories: either may be the one issued again
            world.reissued |= node.membership.roster.stands.keys()

    async def _watched(self) -> None:
        """Every watch comes to its end."""
        vector = dict(self._members()[0][1].vector)
        watchers = self._steps.watchers
        if not await self._world.until(lambda: all(w.has(vector) for w in watchers), WATCHED_S):
            self._world.finding("watches", f"not told everything after {WATCHED_S} s")
        for watcher in watchers:
            await watcher.finish()

    def _forgotten(self) -> set[int]:
        for _, node in self._members():
            return set(node.membership.roster.forgets)
        return set()


def _problem_of(node: Node, origins: set[int]) -> str:
    """Of one node, among members with these origins."""
    membership, engine = node.membership, node.engine
    refusal = membership.refusal()
    problems = [
        refusal.message if refusal else "",
        node.replicator.lww_refusal(),
        engine.replica.durable.fence,
        node.quarantine.problem(engine.names),
        "has writes to issue again" if node.directory.identity.aside else "",
    ]
    pending = membership.roster.pending(node.vector)
    if pending:
        missing = membership.roster.unacknowledged()
        problems.append(f"the forgets of {pending} are not complete, {missing} to acknowledge")
    remaining = set(membership.roster.remaining())
    if remaining != origins:
        problems.append(f"knows {sorted(remaining)} as members, not {sorted(origins)}")
    return next(filter(None, problems), "")


def journal_of(node: Node) -> frozenset[Dot] | None:
    """The losers in its journal; None if old ones may have made room."""
    journal = node.engine.journal
    if node.config.journal_rows_max < JOURNAL_WHOLE_ROWS:
        return None
    rows, _ = journal.page(b"", 0, node.config.journal_rows_max, 1 << 30)
    return frozenset(loser.dot for _, loser in rows)
