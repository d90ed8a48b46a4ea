"""One run: hosts, network and clients under one plan, and what came of it.

Phase one plays the plan's steps. Then everything is healed, all that should run is started, and the
cluster must converge within ``ROUNDS_MAX`` anti-entropy rounds. What clients were told goes to the
checkers as a history.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import shutil
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from kvnode.config import Config
from kvnode.core.accepted import Accepted
from kvnode.core.dots import Vector
from kvnode.core.replica import Durable, Request, Round
from kvnode.node.node import Node, Reborn
from tests.checkers.history import Call, Fault, Finding, History
from tests.sim import loop as virtual
from tests.sim.ambient import EPOCH_MS
from tests.sim.checks import Checks
from tests.sim.clients import Client
from tests.sim.ending import Ending
from tests.sim.hosts import Host
from tests.sim.loop import Process, VirtualLoop
from tests.sim.network import Network
from tests.sim.plan import Plan, Step
from tests.sim.programs import Program
from tests.sim.records import Records
from tests.sim.steps import Steps
from tests.sim.tuning import tuned
from tests.sim.watch import Watch

FOUNDED_S = 60.0
OBSERVE_S = 1.0
EVENTS_MAX = 3_000_000
"""Callbacks of one run; more mean that something runs in circles."""


@dataclass(slots=True)
class Result:
    """What came of a run."""

    plan: Plan
    findings: list[Finding] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    trace: list[str] = field(default_factory=list)
    history: History = field(default_factory=History)


class World:
    """See the module."""

    def __init__(self, plan: Plan, loop: VirtualLoop, folder: Path, *, traced: bool) -> None:
        self.plan = plan
        self.seed = plan.seed
        self.loop = loop
        self.folder = folder
        self.result = Result(plan)
        self.counts = self.result.counts
        self.history = self.result.history
        self.history.epoch_ms = EPOCH_MS
        self.chance = Random(f"{plan.seed}/world")
        self.network = Network(loop, Random(f"{plan.seed}/network"), self.counts)
        self.hosts: dict[str, Host] = {}
        self.programs: dict[str, Program] = {}
        self.deadlines: dict[bytes, float] = {}
        """Request id of a program's write -> when its caller gives it up, virtual seconds."""
        self.checks = Checks(self)
        self.graveyard: list[tuple[Process, Node | None, list[asyncio.Task[Any]]]] = []
        self.founded_s = 0.0
        self.lost: dict[int, int] = {}
        """Origin -> the last of its writes that cannot have been lost, where some can."""
        self.reissued: set[int] = set()
        self.clocks_set = 0
        """How often a wall clock was set, or its pace."""
        self._latest_clock = 0.0
        self.over = False
        """What is said from now on is not of this run."""
        self._traced = traced
        self._number = 0
        self.records = Records(self)

    # ---- time and trace

    def now_ms(self) -> float:
        """Since the run began."""
        return round(self.loop.time() * 1000, 3)

    def latest_clock(self) -> float:
        """The most that any wall clock has said so far. To be asked before one is set, too."""
        walls = (host.machine.wall_ms() for host in self.hosts.values())
        self._latest_clock = max(self._latest_clock, *walls)
        return self._latest_clock

    def number(self) -> int:
        """Of the next call."""
        self._number += 1
        return self._number

    def tell(self, who: str, text: str) -> None:
        """A line of the trace."""
        if self._traced and not self.over:
            text = text.replace(str(self.folder), "")  # its name is another one every time
            self.result.trace.append(f"{self.now_ms():>11.3f} {who:<8} {text}")

    def finding(self, checker: str, text: str) -> None:
        """Something that should not be."""
        if self.over:
            return
        self.tell("FINDING", f"{checker}: {text}")
        self.result.findings.append(Finding(checker, text))

    def crashed(self, who: str, error: BaseException) -> None:
        """Production code raised what it should not."""
        self.finding("crash", f"{who}: {type(error).__name__}: {error}")

    def program(self, name: str) -> Program:
        """The one of that name."""
        if name not in self.programs:
            self.programs[name] = Program(self, name)
        return self.programs[name]

    # ---- what hosts tell

    def at(self, address: str) -> Host:
        """Who has this address."""
        return self.hosts[address.partition(":")[0]]

    def origin_at(self, name: str) -> int:
        """The origin that writes there now, 0 if nobody does."""
        node = self.hosts[name].node
        return node.replicator.origin if node else 0

    def host(self, name: str, *, join: bool = False, as_name: str = "") -> Host:
        """A new host, down."""
        others = [] if join else [each for each in self.plan.nodes if each not in (name, as_name)]
        config = Config(
            name=as_name or name,
            cluster="sim",
            listen=f"{name}:1",
            advertise=f"{name}:1",
            data=str(self.folder / name),
            peers={other: f"{other}:1" for other in others},
            join=join,
            **self.plan.settings,  # type: ignore[arg-type]
        )
        self.hosts[name] = host = Host(self, name, config, self.folder)
        return host

    def begun(self, host: Host, node: Node) -> None:
        """A node was opened, and will run."""
        host.origin = node.replicator.origin
        self.tell(host.name, f"opens as {host.origin:016x} with {node.vector}")
        self.records.begun(host, node)
        if node.directory.identity.pristine:
            self.counts["path: copied directory found out when opened"] += 1
        self.checks.begun(host, node)
        told = node.engine.on_commit

        def committed(round_: Round) -> None:
            if round_.own is not None:
                self.records.note(round_.own)
            self.checks.committed(host, node, round_)
            told(round_)

        node.engine.on_commit = committed
        enqueue = node.engine.enqueue

        def queued(request: Request, size: int) -> asyncio.Future[tuple[Accepted, Vector]]:
            self.checks.queued(host, request)
            return enqueue(request, size)

        node.engine.enqueue = queued  # type: ignore[method-assign]
        replica = node.engine.replica
        reload = replica.reload

        def reloaded(durable: Durable) -> None:
            reload(durable)
            self.checks.reloaded(host, node)

        replica.reload = reloaded  # type: ignore[method-assign]

    def ended(self, host: Host, node: Node) -> None:
        """A node has stopped or was killed."""
        if isinstance(node.failure, Reborn) and node._begins_anew:  # noqa: SLF001
            self.reissued.add(int(node.directory.identity.retired[-1], 16))
            host.keeps_vector = {}
        counts, engine = self.counts, node.engine
        counts["path: checkpoint written"] += engine.checkpoints.made
        counts["path: garbage collected"] += node.collector.entries_collected
        counts["path: log cut"] += engine.log.first_arrival > 1
        counts["path: register lost and journalled"] += len(engine.journal)
        counts["path: ended with a round on its way to disk"] += engine._running is not None  # noqa: SLF001

    def stopped_by_itself(self, host: Host, failure: BaseException | None) -> None:
        """A node could not start, or could not go on."""
        if self.over:
            return
        self.counts["path: node stopped by itself"] += 1
        self.counts["path: copy of a running node turned away"] += "is a copy of" in str(failure)
        self.tell(host.name, f"stopped: {failure}")

    # ---- what clients tell

    def record(self, call: Call) -> None:
        """A call has ended."""
        self.history.calls.append(call)
        self.counts[f"client: {call.outcome}"] += 1
        self.counts["path: retry recognised"] += call.repeated
        if call.outcome != "ok":
            self.counts[f"{call.outcome}: {call.reason}"] += 1
        if not self._traced:
            return
        self.tell(
            f"client{call.client}",
            f"call {call.number} at {call.node}: {call.outcome} {call.reason} "
            f"{[(w.action, w.key, w.value or w.amount, w.mode) for w in call.writes]} "
            f"{call.dots} {call.vector} {_shown(call)}",
        )

    def fault(self, kind: str, *nodes: str, lasts_ms: float = 0.0, detail: str = "") -> None:
        """Something was done to the cluster."""
        now = self.now_ms()
        self.history.faults.append(Fault(kind, nodes, now, now + lasts_ms, detail))
        self.counts[f"fault: {kind}"] += 1
        self.tell("WORLD", f"{kind} {','.join(nodes)} {detail}")

    # ---- the run

    async def run(self) -> Result:
        """Play the plan."""
        for name in self.plan.nodes:
            self.host(name).start()
        if not await self.until(self._founded, FOUNDED_S):
            self.finding("founding", f"no cluster after {FOUNDED_S} s")
            return self.result
        self.founded_s = self.loop.time()
        steps = Steps(self)
        clients: dict[int, Client] = {}
        playing = [
            asyncio.create_task(self._play(step, steps, clients)) for step in self.plan.steps
        ]
        observing = asyncio.create_task(self._observe())
        await asyncio.sleep(self.plan.lasts_ms / 1000)
        await asyncio.gather(*playing)
        await Ending(self, steps).run()
        for program in self.programs.values():
            await program.close()
        observing.cancel()
        self.records.complete()
        return self.result

    async def _play(self, step: Step, steps: Steps, clients: dict[int, Client]) -> None:
        await asyncio.sleep(step.at_ms / 1000)
        if step.ask is None:
            await steps.play(step)
            return
        client = clients.get(step.ask.client)
        if client is None:
            client = clients[step.ask.client] = Client(self, step.ask)
        await client.play(step.ask)

    async def _observe(self) -> None:
        while True:
            await asyncio.sleep(OBSERVE_S)
            self.checks.observe()
            if self.loop.steps > EVENTS_MAX:
                raise virtual.Stuck(f"{EVENTS_MAX} events")

    def _founded(self) -> bool:
        nodes = [self.hosts[name].node for name in self.plan.nodes]
        return all(
            node is not None
            and node.membership.place == "serving"
            and node.membership.counted() is not None
            for node in nodes
        )

    async def until(self, condition: Callable[[], object], within_s: float) -> bool:
        """Wait for it; whether it came."""
        until_s = self.loop.time() + within_s
        while not condition():
            if self.loop.time() > until_s:
                return False
            await asyncio.sleep(0.1)
        return True

    def bury(self) -> None:
        """Let everything go."""
        for _, _, tasks in self.graveyard:
            for task in tasks:
                task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001
        self.graveyard.clear()
        self.hosts.clear()


def _shown(call: Call) -> str:
    return "; ".join(
        f"{s.key.decode()}: {s.counters or ''}{s.lww or ''}{sorted(s.siblings.items()) or ''}"
        for s in call.seen
    )


def play(plan: Plan, *, traced: bool = False) -> Result:
    """Run a plan."""
    shm = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="kvnode-sim-", dir=shm if shm.is_dir() else None))
    collecting, hook = gc.isenabled(), sys.unraisablehook
    gc.disable()  # it would run finalizers at moments of its own
    worlds: list[World] = []

    async def main(loop: VirtualLoop) -> Result:
        world = World(plan, loop, folder, traced=traced)
        worlds.append(world)
        watch = Watch(world, traced=traced)
        loop.set_exception_handler(watch.uncaught)
        logger = logging.getLogger("kvnode")
        level, propagate = logger.level, logger.propagate
        logger.addHandler(watch)
        logger.setLevel(logging.INFO)
        logger.propagate = False
        try:
            return await world.run()
        except virtual.Stuck as stuck:
            world.finding("stuck", str(stuck))
            return world.result
        except Exception:  # of the simulator itself: it has a seed too
            world.finding("simulator", traceback.format_exc(limit=-4))
            return world.result
        finally:
            logger.removeHandler(watch)
            logger.setLevel(level)
            logger.propagate = propagate
            world.over = True
            for host in world.hosts.values():
                host.kill()
            sys.unraisablehook = lambda _: None  # see _forget

    try:
        with tuned(plan):
            return virtual.run(main)
    except virtual.Stuck:
        worlds[0].finding("stuck", "nothing is ready and no timer is set")
        return worlds[0].result
    finally:
        _forget(worlds)
        sys.unraisablehook = hook
        if collecting:
            gc.enable()
        shutil.rmtree(folder, ignore_errors=True)


def _forget(worlds: list[World]) -> None:
    """Let killed tasks go without a word: what they would say in the end is not of this world."""
    below = logging.root.manager.disable
    logging.disable()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tasks that were killed before their first step
        while worlds:
            worlds.pop().bury()
        gc.collect()
    logging.disable(below)
