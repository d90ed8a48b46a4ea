"""How a simulated client's requests reach a node: each as a call of its own, or through a program.

A *program* is a process that uses the asyncio client, one for each node or pair of nodes, and
several simulated clients are its tasks. All of that client is the production one: what comes
together shares a call (``lanes.py``), in columns if it is alike (``alike.py``), goes with others on
one stream to the node (``pipeline.py``), is asked for again there when a reply was lost, and of the
next node while it is certain that nothing was done (``failover.py``). Only its channels are played.
So a call of a program may hide several attempts under one request id.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import grpc
from grpc_status import rpc_status

from kvnode.client.alike import HEADS_BYTES_MAX
from kvnode.client.failover import Failover
from kvnode.client.lanes import Entry
from kvnode.client.loops import LoopDriver
from kvnode.client.reads import Wish
from kvnode.client.states import value_of
from kvnode.client.values import NotReplicated, Receipt, vector_of
from kvnode.core.dots import covers
from kvnode.errors import Behind, DeadlineExceeded, KvnodeError, OutcomeUnknown, RequestRefused
from kvnode.rpc.link import link_error
from kvnode.v1 import kv_pb2 as pb
from kvnode.v1 import types_pb2
from kvnode.v1.kv_pb2_grpc import KeyValueStub
from tests.sim.channel import PlayedChannel
from tests.sim.plan import Ask

if TYPE_CHECKING:
    from tests.sim.hosts import Host
    from tests.sim.world import World

Outcome = Literal["ok", "refused", "unknown"]
UNSENT = "UNREACHABLE"
"""Reason of a call that no node ever got."""
SHOULD_NOT_BE = frozenset({"INTERNAL", "STATE_DAMAGED", "BROKEN"})
"""Reasons that are findings."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a client was told."""

    outcome: Outcome
    reason: str = ""
    reply: Any = None
    done: pb.Shortfall | None = None
    """What was done, though not as it was asked for."""
    words: str = ""
    node: str = ""
    """Who did it, or may have; empty: who was asked."""


class Way(Protocol):
    """How requests of one client reach nodes."""

    async def write(self, host: Host, ask: Ask, request: pb.WriteRequest) -> Said:
        """One write."""
        ...

    async def read(self, host: Host, ask: Ask, request: pb.BatchGetRequest) -> Said:
        """Some keys."""
        ...


class OwnCalls:
    """Each request is a call, through the generated stub."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._name = name

    async def write(self, host: Host, ask: Ask, request: pb.WriteRequest) -> Said:
        """See ``Way``."""
        return await self._call(host, "Write", request, ask.timeout_s)

    async def read(self, host: Host, ask: Ask, request: pb.BatchGetRequest) -> Said:
        """See ``Way``."""
        return await self._call(host, "BatchGet", request, ask.timeout_s)

    async def _call(self, host: Host, method: str, request: Any, timeout_s: float) -> Said:
        channel = PlayedChannel(self._world.network, self._name, host)
        stub = KeyValueStub(channel)  # type: ignore[no-untyped-call]
        try:
            return Said("ok", reply=await getattr(stub, method)(request, timeout=timeout_s))
        except grpc.aio.AioRpcError as error:
            reason, words = link_error(error).reason, error.details() or ""
            if reason == "NOT_REPLICATED":
                return Said("unknown", reason, done=_shortfall(error), words=words)
            if reason:
                return Said("refused", reason, words=words)
            if channel.last is not None and not channel.last.delivered:
                channel.last.abort()
                return Said("refused", UNSENT, words=words)
            return Said("unknown", error.code().name, words=words)


class Program:
    """See the module."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._name = name
        self._drivers: dict[tuple[Host, ...], LoopDriver] = {}
        self._expiring = {
            change.key
            for step in world.plan.steps
            if step.ask
            for change in step.ask.changes
            if change.ttl_ms
        }

    async def close(self) -> None:
        """End it; nothing of it is left then."""
        for driver in self._drivers.values():
            await driver.close()

    async def write(self, host: Host, ask: Ask, request: pb.WriteRequest) -> Said:
        """See ``Way``."""
        others = [self._world.hosts[ask.failover]] if ask.failover else []
        if any(each.HasField("increment") for each in request.operations):
            others = []  # the client sees to it that none is counted at two nodes
        driver = self._driver(host, *(other for other in others if other is not host))
        entry = self._entry(driver.failover, ask, request)
        self._world.deadlines[entry.request_id] = entry.deadline
        await driver.submit(entry)
        error = entry.error
        match error:
            case None:
                reply, node = self._reply(entry), self._at(entry.endpoint)
                if len(reply.results) != entry.operations:
                    return Said("unknown", "BROKEN", words=f"{len(reply.results)} results")
                return Said("ok", reply=reply, node=node)
            case NotReplicated():
                reply, _ = entry.reply
                done = pb.Shortfall(first=reply.first, repeated=reply.repeated)
                node = self._at(entry.endpoint)
                return Said("unknown", "NOT_REPLICATED", done=done, words=str(error), node=node)
            case OutcomeUnknown():
                node = self._at(error.endpoint)
                return Said("unknown", "LOST", words=str(error), node=node)
        return _not_done(error)

    async def read(self, host: Host, ask: Ask, request: pb.BatchGetRequest) -> Said:
        """See ``Way``."""
        driver = self._driver(host)
        failover = driver.failover
        after = request.options.after if request.options.after.entries else None
        level: Literal["session", "local"] = "local" if after is None else "session"
        lane = Wish(level, after is not None, self._apart(failover, ask, after))
        keys = tuple(request.keys)
        deadline = failover.now() + ask.timeout_s
        states, values = (
            Entry(wish, keys, sum(map(len, keys)), "the read", deadline, is_write=False)
            for wish in (lane, lane._replace(brief=True))
        )
        states.after = values.after = after
        await asyncio.gather(driver.submit(states), driver.submit(values))
        self._compare(host, states, values)
        if states.error is not None:
            return _not_done(states.error)
        shown = states.reply
        reply = pb.BatchGetResponse(states=shown.states, session=shown.reply.session)
        return Said("ok", reply=reply)

    def _compare(self, host: Host, states: Entry, values: Entry) -> None:
        """Two reads of the same keys, of which one asked for values alone.

        Where the node had applied the same for both they have to show the same: so what the
        checkers say of the one holds for the other. Only what expires may have gone between them.
        """
        world = self._world
        if values.error is not None:
            if (said := _not_done(values.error)).reason in SHOULD_NOT_BE:
                world.finding("values", f"{said.reason} at {host.name}: {said.words}")
            return
        session = vector_of(values.reply.reply.session)
        after = vector_of(values.after) if values.after is not None else {}
        gone = host.node.membership.roster.forgets if host.node is not None else {}
        if not covers(session, {one: seq for one, seq in after.items() if one not in gone}):
            world.finding("values", f"{host.name} had {session} for what comes after {after}")
        if states.error is not None or vector_of(states.reply.reply.session) != session:
            return
        world.counts["path: values read beside states"] += 1
        for key, state, value in zip(
            states.keys, states.reply.states, values.reply.states, strict=True
        ):
            shown, told = value_of(state, ()), value_of(value, ())
            if key not in self._expiring and shown != told:
                world.finding("values", f"{host.name} shows {key!r} as {shown!r} and as {told!r}")

    def _at(self, address: str) -> str:
        return self._world.at(address).name

    def _driver(self, *hosts: Host) -> LoopDriver:
        """The client with these endpoints."""
        driver = self._drivers.get(hosts)
        if driver is None:
            world = self._world
            driver = LoopDriver(Failover([host.address for host in hosts], world.loop.time))
            for host in hosts:
                channel: Any = PlayedChannel(
                    world.network, self._name, host, world.plan.streams.window
                )
                driver._wires[host.address]._channel = channel  # noqa: SLF001 - else it would dial
            self._drivers[hosts] = driver
        return driver

    def _entry(self, failover: Failover, ask: Ask, request: pb.WriteRequest) -> Entry:
        """As ``kvnode.client.writing`` makes one."""
        after = request.options.after if request.options.after.entries else None
        plain = ask.durability == "fsync" and after is None
        if plain:
            request.ClearField("options")
        lane = (
            "write",
            ask.durability,
            after is not None,
            self._apart(failover, ask, after),
        )
        keys = tuple(change.key for change in ask.changes)
        deadline = failover.now() + ask.timeout_s
        entry = Entry(lane, keys, request.ByteSize(), "the write", deadline, is_write=True)
        entry.request_id = request.request_id
        entry.after = after
        only = request.operations[0]
        alone = len(request.operations) == 1
        if alone and only.HasField("increment"):
            entry.adds = only.increment.type
        if alone and plain and only.HasField("increment"):
            entry.kind, entry.value = (only.increment.type,), only.increment.amount
        elif alone and plain and only.HasField("put") and not (only.put.context or only.put.blind):
            ttl_ms = only.put.ttl_ms if only.put.HasField("ttl_ms") else None
            entry.kind, entry.value = (only.put.type, ttl_ms), only.put.value
        if entry.kind is None:
            entry.request = request
        else:
            entry.size = len(keys[0]) + HEADS_BYTES_MAX
        return entry

    def _apart(self, failover: Failover, ask: Ask, after: types_pb2.VersionVector | None) -> Any:
        """Whose session its node may have to wait for; nobody's if it has all that."""
        return None if after is None or failover.shows(after) else ask.client

    def _reply(self, entry: Entry) -> pb.WriteResponse:
        """What it was answered, also if that went in columns."""
        reply, receipt = entry.reply
        if not isinstance(receipt, Receipt):
            response: pb.WriteResponse = reply
            return response
        self._world.counts["path: written in columns"] += 1
        dot = types_pb2.Dot(origin=receipt.dot.origin, seq=receipt.dot.seq)
        result = pb.WriteResult(dot=dot, context=receipt.context)
        return pb.WriteResponse(results=[result], session=reply.session)


def _not_done(error: KvnodeError | RuntimeError) -> Said:
    """What an error says that leaves nothing open."""
    words = str(error)
    match error:
        case Behind():
            return Said("refused", "BEHIND", words=words)
        case RequestRefused():
            return Said("refused", str(error.reason) or UNSENT, words=words)
        case DeadlineExceeded():  # of a read
            return Said("unknown", "DEADLINE_EXCEEDED", words=words)
    return Said("unknown", "BROKEN", words=f"{type(error).__name__}: {words}")


def _shortfall(error: grpc.aio.AioRpcError) -> pb.Shortfall:
    """What a node said about a write that is done."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    shortfall = pb.Shortfall()
    assert status is not None
    assert any(detail.Unpack(shortfall) for detail in status.details)
    return shortfall
