"""What each kind of step does to the world."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc

from kvnode.rpc.link import link_error
from kvnode.v1 import membership_pb2 as pb
from kvnode.v1.membership_pb2_grpc import MembershipStub
from tests.sim.channel import PlayedChannel
from tests.sim.network import LATENCY_S
from tests.sim.plan import Step
from tests.sim.watchers import Watcher

if TYPE_CHECKING:
    from kvnode.core.dots import Vector
    from tests.sim.hosts import Host
    from tests.sim.world import World

OPERATOR = "operator"
CALL_S = 12.0
HEARD_S = 1.3
"""A heartbeat's interval, and a little."""


@dataclass(slots=True)
class Errand:
    """A change of the membership that an operator has begun and will see through."""

    what: str
    host: Host
    ask: Callable[[str], Coroutine[Any, Any, str]]
    """Asks a node of that name; empty if it was done, else why not."""
    done: bool = False
    at: str = ""
    """Who did it."""


class Steps:
    """See the module."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.errands: list[Errand] = []
        self.watchers: list[Watcher] = []
        self._copies: dict[str, tuple[Path, Vector, int]] = {}
        """Host -> a copy of its directory, with what it has and its origin."""
        self._kinds: dict[str, Callable[[Step], Coroutine[Any, Any, None]]] = {
            "cut": self._cut,
            "cut one way": self._cut,
            "cut pair": self._cut_pair,
            "lose": self._spoil,
            "repeat": self._spoil,
            "flip a bit": self._spoil,
            "slow link": self._slow_link,
            "slow disk": self._slow_disk,
            "kill": self._kill,
            "stop": self._stop,
            "pause": self._pause,
            "clock step": self._clock,
            "clock drift": self._clock,
            "disk full": self._disk,
            "disk error": self._disk,
            "checkpoint": self._checkpoint,
            "join": self._join,
            "wipe": self._wipe,
            "forget": self._forget,
            "leave": self._leave,
            "copy": self._copy,
            "restore": self._restore,
            "clone": self._clone,
            "watch": self._watch,
        }

    async def play(self, step: Step) -> None:
        """Do it, and undo it when its time is over."""
        await self._kinds[step.kind](step)

    async def _watch(self, step: Step) -> None:
        self.watchers.append(Watcher(self.world, len(self.watchers), step.prefix))

    # ---- network

    async def _cut(self, step: Step) -> None:
        group = set(step.nodes)
        rest = [name for name in self.world.hosts if name not in group]
        ways = [(one, other) for one in sorted(group) for other in rest]
        if step.kind == "cut":
            ways += [(other, one) for one, other in ways]
        await self._hold(step, ways)

    async def _cut_pair(self, step: Step) -> None:
        one, other = step.nodes
        await self._hold(step, [(one, other), (other, one)])

    async def _hold(self, step: Step, ways: list[tuple[str, str]]) -> None:
        network = self.world.network
        self._fault(step, "silent" if step.flag else "aloud")
        for way in ways:
            network.cut(*way, silent=step.flag)
        await asyncio.sleep(step.lasts_ms / 1000)
        for way in ways:
            network.heal(*way)

    async def _spoil(self, step: Step) -> None:
        way = self.world.network.way(*step.nodes[:2])
        self._fault(step)
        match step.kind:
            case "flip a bit":
                way.corrupt += 1
            case "lose":
                way.loss = step.amount
                await asyncio.sleep(step.lasts_ms / 1000)
                way.loss = 0.0
            case _:
                way.repeat = step.amount
                await asyncio.sleep(step.lasts_ms / 1000)
                way.repeat = 0.0

    async def _slow_link(self, step: Step) -> None:
        (name,) = step.nodes
        others = [other for other in self.world.hosts if other != name]
        ways = [(name, other) for other in others] + [(other, name) for other in others]
        self._fault(step)
        for way in ways:
            self.world.network.way(*way).latency_s = (step.amount / 2, step.amount)
        await asyncio.sleep(step.lasts_ms / 1000)
        for way in ways:
            self.world.network.way(*way).latency_s = LATENCY_S

    # ---- machines and processes

    async def _slow_disk(self, step: Step) -> None:
        machine = self.world.hosts[step.nodes[0]].machine
        before = machine.job_s
        self._fault(step)
        machine.job_s = (step.amount / 4, step.amount)
        await asyncio.sleep(step.lasts_ms / 1000)
        machine.job_s = before

    async def _kill(self, step: Step) -> None:
        host = self.world.hosts[step.nodes[0]]
        if not host.running:
            return
        self._fault(step)
        host.kill()
        await self._start_after(host, step.lasts_ms)

    async def _stop(self, step: Step) -> None:
        host = self.world.hosts[step.nodes[0]]
        if not host.running:
            return
        self._fault(step)
        await host.stop()
        await self._start_after(host, step.lasts_ms)

    async def _start_after(self, host: Host, ms: float) -> None:
        await asyncio.sleep(ms / 1000)
        if not host.running and not host.retired:
            host.start()

    async def _pause(self, step: Step) -> None:
        process = self.world.hosts[step.nodes[0]].process
        if process is None or process.stopped:
            return
        self._fault(step)
        process.stopped = True
        await asyncio.sleep(step.lasts_ms / 1000)
        self.world.loop.resume(process)

    async def _clock(self, step: Step) -> None:
        machine = self.world.hosts[step.nodes[0]].machine
        self._fault(step, f"{step.amount:g}")
        self.world.latest_clock()
        self.world.clocks_set += 1
        if step.kind == "clock step":
            machine.offset_ms += step.amount
        else:
            machine.set_drift(step.amount)

    async def _disk(self, step: Step) -> None:
        machine = self.world.hosts[step.nodes[0]].machine
        self._fault(step)
        if step.kind == "disk error":
            machine.broken = True
            await asyncio.sleep(step.lasts_ms / 1000)
            machine.broken = False
            host = self.world.hosts[step.nodes[0]]
            await self._start_after(host, 200)
        else:
            machine.full = True
            await asyncio.sleep(step.lasts_ms / 1000)
            machine.full = False

    async def _checkpoint(self, step: Step) -> None:
        host = self.world.hosts[step.nodes[0]]
        node, process = host.node, host.process
        if node is None or process is None or process.stopped:
            return
        if not node.closing.is_set():
            self._fault(step)
            process.run(node.engine.checkpoints.start)

    # ---- membership

    async def _join(self, step: Step) -> None:
        name, sponsor = step.nodes
        host = self.world.host(name, join=True)
        self._fault(step)
        host.start()
        await self._run_errand(self._taking_in(host, "Join"), sponsor)

    async def _wipe(self, step: Step) -> None:
        name, sponsor = step.nodes
        host = self.world.hosts[name]
        if host.retired or self._busy(host):
            return
        self._fault(step)
        host.kill()
        self.disk_lost(host, {})
        host.wipe()
        host.keeps_vector = {}
        if not step.flag:  # else its operator thinks that it founds a cluster
            host.config = replace(host.config, join=True)
        errand = self._taking_in(host, "Replace")
        self.errands.append(errand)
        await self._start_after(host, step.lasts_ms)
        await self._run_errand(errand, sponsor)

    def _taking_in(self, host: Host, how: str) -> Errand:
        async def ask(node: str) -> str:
            kind = pb.JoinRequest if how == "Join" else pb.ReplaceRequest
            return await self.operate(node, how, kind(name=host.config.name, address=host.address))

        return Errand(how, host, ask)

    async def _forget(self, step: Step) -> None:
        name, teller = step.nodes
        host = self.world.hosts[name]
        if host.retired or self._busy(host) or len(self._members()) < 3:
            return
        self._fault(step, "running" if step.flag else "dead")
        if not step.flag:
            host.kill()
        host.retired = True
        self.disk_lost(host, {})

        async def ask(node: str) -> str:
            if node == name:
                return "cannot forget itself"
            return await self.operate(node, "Forget", pb.ForgetRequest(name=name))

        await self._run_errand(Errand("Forget", host, ask), teller)

    async def _leave(self, step: Step) -> None:
        host = self.world.hosts[step.nodes[0]]
        if host.retired or self._busy(host) or len(self._members()) < 2:
            return
        self._fault(step)
        host.leaving = True
        problem = await self.operate(host.name, "Leave", pb.LeaveRequest())
        node = host.node
        if not problem or (node is not None and node.membership.place == "forgotten"):
            host.retired = True
            self.world.counts["path: leave done"] += 1

    def _members(self) -> list[Host]:
        return [host for host in self.world.hosts.values() if not host.retired]

    def _busy(self, host: Host) -> bool:
        """Whether something is being done about its membership."""
        return any(not errand.done and errand.host is host for errand in self.errands)

    async def _run_errand(self, errand: Errand, at: str) -> None:
        if errand not in self.errands:
            self.errands.append(errand)
        for _ in range(3):
            problem = await errand.ask(at)
            self.world.tell(
                OPERATOR, f"{errand.what} {errand.host.name} at {at}: {problem or 'ok'}"
            )
            if not problem:
                errand.done, errand.at = True, at
                self.world.counts[f"path: {errand.what.lower()} done"] += 1
                return
            await asyncio.sleep(1.0)

    async def operate(self, node: str, method: str, request: Any) -> str:
        """As an operator at that node: why it did not work, empty if it did."""
        channel = PlayedChannel(self.world.network, OPERATOR, self.world.hosts[node])
        stub = MembershipStub(channel)  # type: ignore[no-untyped-call]
        try:
            await getattr(stub, method)(request, timeout=CALL_S)
        except grpc.aio.AioRpcError as error:
            return str(link_error(error)) or error.code().name
        return ""

    # ---- copies of directories

    def disk_lost(self, host: Host, keeps: Vector) -> None:
        """What only this disk had is lost, but for what is kept.

        It may have been the only one to know whom it was told to forget: the operator looks.
        """
        for errand in self.errands:
            if errand.what == "Forget" and errand.at == host.name:
                errand.done = False
        world = self.world
        origins = {*world.lost, host.origin} - {0}
        others = [other for other in world.hosts.values() if other is not host]
        for origin in origins:
            held = max(
                [keeps.get(origin, 0)]
                + [other.keeps_vector.get(origin, 0) for other in others if not other.retired]
            )
            world.lost[origin] = min(held, world.lost.get(origin, held))

    async def _copy(self, step: Step) -> None:
        host = self.world.hosts[step.nodes[0]]
        if not (host.data / "v1").exists() or host.node is None or host.retired:
            return
        target = self.world.folder / f"copy-of-{host.name}"
        host.copy_to(target)
        self._copies[host.name] = target, dict(host.keeps_vector), host.origin
        self._fault(step)

    async def _restore(self, step: Step) -> None:
        host = self.world.hosts[step.nodes[0]]
        copy = self._copies.get(host.name)
        if copy is None or host.retired or self._busy(host) or copy[2] != host.origin:
            return
        if step.flag and self._nobody_knows(host, copy[1]):
            return  # nobody could tell that numbers are used twice: a documented limit
        self._fault(step, "below the file system" if step.flag else "")
        host.kill()
        self.disk_lost(host, copy[1])
        host.put_back(copy[0], below=step.flag)
        host.keeps_vector = dict(copy[1])
        await self._start_after(host, step.lasts_ms)

    def _nobody_knows(self, host: Host, copied: Vector) -> bool:
        """Whether the host has written since, and no other has any of it."""
        others = [other for other in self.world.hosts.values() if other is not host]
        held = max((other.keeps_vector.get(host.origin, 0) for other in others), default=0)
        return held <= copied.get(host.origin, 0) < host.keeps_vector.get(host.origin, 0)

    async def _clone(self, step: Step) -> None:
        host = self.world.hosts[step.nodes[0]]
        copy = self._copies.get(host.name)
        if copy is None or not host.running or host.retired or copy[2] != host.origin:
            return
        others = [other for other in self.world.hosts.values() if other is not host]
        if not all(self._hears(other, host) for other in others):
            return  # of whom nothing is heard counts as gone: by design its copy takes its place
        self._fault(step)
        clone = self.world.host(f"{host.name}c", as_name=host.name)
        clone.retired = True
        shutil.copytree(copy[0], clone.data)
        clone.keeps_vector = dict(copy[1])
        clone.start()
        await asyncio.sleep(step.lasts_ms / 1000)
        clone.kill()

    def _hears(self, listener: Host, host: Host) -> bool:
        """Whether it has just heard of the other, so that nothing of it can be cut for long."""
        node = listener.node
        if node is None:
            return False
        since_s = node.engine.ambient.monotonic() - HEARD_S
        peers = node.replicator.peers.values()
        return any(peer.origin == host.origin and peer.heard > since_s for peer in peers)

    def _fault(self, step: Step, detail: str = "") -> None:
        self.world.fault(step.kind, *step.nodes, lasts_ms=step.lasts_ms, detail=detail)


def names(hosts: Iterable[Host]) -> list[str]:
    """Of hosts, in order."""
    return [host.name for host in hosts]
