"""Simulated clients: each a session with one call open at a time, all of it recorded.

A client speaks to nodes through the generated stubs. What it does is in the schedule; what it
learns on the way (contexts, outcomes) decides only how, never whether.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import grpc

from kvnode.core.dots import covers
from kvnode.rpc.link import link_error
from kvnode.v1 import kv_pb2 as pb
from kvnode.v1 import types_pb2
from kvnode.v1.kv_pb2_grpc import KeyValueStub
from tests.checkers.history import Call, Dot, Seen, Type, Vector, Written
from tests.sim.channel import PlayedChannel
from tests.sim.plan import Ask, Change

if TYPE_CHECKING:
    from tests.sim.hosts import Host
    from tests.sim.world import World

WIRE: dict[Type, Any] = {"GCOUNTER": 1, "PNCOUNTER": 2, "LWW": 3, "SIBLINGS": 4}
Outcome = Literal["ok", "refused", "unknown"]
RETRIES_MAX = 3
RETRY_S = 0.4
UNSENT = "UNREACHABLE"
"""Reason of a call that no node ever got."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a client has seen of a key."""

    token: bytes
    dots: frozenset[Dot]
    vector: Vector
    shown: frozenset[Type] = frozenset()
    """Types that showed a value."""

    def seen(self, change: Change) -> Vector:
        """What the context says its reader had seen: who saw no value deletes none."""
        counts = change.type in ("GCOUNTER", "PNCOUNTER")
        named = change.type in self.shown or not (counts or change.action == "delete")
        return self.vector if named else {}


class Client:
    """One session."""

    def __init__(self, world: World, number: int) -> None:
        self._world = world
        self.number = number
        self.name = f"client{number}"
        self._contexts: dict[bytes, Context] = {}
        self._free = asyncio.Lock()
        self._asked = 0

    async def play(self, ask: Ask) -> None:
        """One write with its retries, or one read."""
        async with self._free:
            if not ask.changes:
                await self._read(ask)
                return
            self._asked += 1
            request_id = f"{self.number:04d}/{ask.number:011d}".encode()
            written = tuple(self._written(change, ask) for change in ask.changes)
            node = ask.node
            counts = any(each.action == "increment" for each in written)
            bound = 0  # the only origin that an increment of unknown outcome may be sent to again
            for attempt in range(RETRIES_MAX):
                deaf = ask.deaf and not attempt
                origin = self._world.origin_at(node)
                outcome = await self._write(ask, node, request_id, written, deaf=deaf)
                if outcome == "ok" or attempt == ask.retries:
                    return
                if outcome == "refused" and not ask.failover:
                    return
                await asyncio.sleep(RETRY_S)
                if counts and outcome == "unknown":
                    bound = bound or origin
                if not bound:
                    node = ask.failover or node
                elif self._world.origin_at(node) != bound:
                    return  # elsewhere it could be counted twice
                self._world.counts["client: retries"] += 1

    def _written(self, change: Change, ask: Ask) -> Written:
        known = self._contexts.get(change.key)
        if known is not None and change.type in ("GCOUNTER", "PNCOUNTER"):
            # A context leaves out what it saw deleted: a node without that delete still shows it.
            nodes = {ask.node, ask.failover} - {""}
            has_all = (covers(self._world.hosts[n].keeps_vector, known.vector) for n in nodes)
            known = known if all(has_all) else None
        written = Written(change.action, change.key, change.type, change.value, change.amount)
        if change.mode == "context" and known is not None:
            return replace(written, mode="context", context=known.dots, seen=known.seen(change))
        return replace(written, mode="blind" if change.mode == "blind" else "observed")

    def _operation(self, written: Written) -> pb.Operation:
        kind = WIRE[written.type]
        token = self._contexts[written.key].token if written.mode == "context" else b""
        match written.action:
            case "put":
                blind = written.mode == "blind"
                put = pb.Put(
                    key=written.key, value=written.value, type=kind, context=token, blind=blind
                )
                return pb.Operation(put=put)
            case "increment":
                count = pb.Increment(key=written.key, amount=written.amount, type=kind)
                return pb.Operation(increment=count)
            case "delete":
                return pb.Operation(delete=pb.Delete(key=written.key, type=kind, context=token))

    async def _write(
        self,
        ask: Ask,
        node: str,
        request_id: bytes,
        written: tuple[Written, ...],
        *,
        deaf: bool,
    ) -> str:
        request = pb.WriteRequest(
            operations=[self._operation(each) for each in written], request_id=request_id
        )
        call = await self._call(node, "Write", request, ask.timeout_s)
        call = replace(call, writes=written, request=request_id)
        reply = self._reply
        if reply is not None and deaf:
            self._world.counts["fault: answer lost on its last hop"] += 1
            call = replace(call, outcome="unknown", reason="LOST")
        elif reply is not None:
            dots = tuple((each.dot.origin, each.dot.seq) for each in reply.results)
            call = replace(call, dots=dots, vector=_vector(reply.session), repeated=reply.repeated)
            for each, result in zip(written, reply.results, strict=True):
                if each.action == "put" and each.type == "SIBLINGS":
                    own = frozenset({(result.dot.origin, result.dot.seq)})
                    if not reply.repeated:
                        self._contexts[each.key] = Context(
                            result.context, own, _vector(reply.session)
                        )
                else:
                    self._contexts.pop(each.key, None)
        self._world.record(call)
        return call.outcome

    async def _read(self, ask: Ask) -> None:
        request = pb.BatchGetRequest(keys=list(ask.keys))
        call = await self._call(ask.node, "BatchGet", request, ask.timeout_s)
        reply = self._reply
        if reply is not None:
            vector = _vector(reply.session)
            seen = tuple(_seen(state) for state in reply.states)
            call = replace(call, seen=seen, vector=vector)
            for state, shown in zip(reply.states, seen, strict=True):
                dots = frozenset(shown.siblings)
                types: frozenset[Type] = frozenset(shown.counters)
                if shown.lww is not None:
                    types |= {"LWW"}
                self._contexts[state.key] = Context(state.context, dots, vector, types)
        self._world.record(call)

    async def _call(self, node: str, method: str, request: Any, timeout_s: float) -> Call:
        """Ask; the reply is in ``_reply``."""
        world = self._world
        host: Host = world.hosts[node]
        channel = PlayedChannel(world.network, self.name, host)
        started_ms = world.now_ms()
        number = world.number()
        self._reply: Any = None
        outcome: Outcome = "ok"
        reason = ""
        try:
            stub = KeyValueStub(channel)  # type: ignore[no-untyped-call]
            self._reply = await getattr(stub, method)(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            reason = link_error(error).reason
            outcome = "refused" if reason else "unknown"
            if not reason:
                reason = error.code().name
                if channel.last is not None and not channel.last.delivered:
                    channel.last.abort()
                    outcome, reason = "refused", UNSENT
            if reason in ("INTERNAL", "STATE_DAMAGED"):
                world.finding("call", f"{method} at {node}: {error.details()}")
        return Call(number, self.number, node, started_ms, world.now_ms(), outcome, reason)


def _vector(message: types_pb2.VersionVector) -> Vector:
    return {entry.origin: entry.seq for entry in message.entries}


def _seen(state: types_pb2.KeyState) -> Seen:
    counters: dict[Type, int] = {}
    if state.HasField("g_counter"):
        counters["GCOUNTER"] = state.g_counter.value
    if state.HasField("pn_counter"):
        counters["PNCOUNTER"] = state.pn_counter.value
    lww = None
    if state.HasField("lww_register"):
        stored = state.lww_register
        lww = ((stored.dot.origin, stored.dot.seq), stored.value)
    siblings = {(each.dot.origin, each.dot.seq): each.value for each in state.siblings.values}
    return Seen(state.key, siblings, lww, counters)


def seen_of(states: Sequence[types_pb2.KeyState]) -> dict[bytes, Seen]:
    """Key -> what is shown of it."""
    return {state.key: _seen(state) for state in states}
