"""Simulated clients: each a session with one call open at a time, all of it recorded.

What it does is in the schedule; what it learns on the way (contexts, outcomes) decides only how,
never whether. How its requests reach a node is in ``programs.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kvnode.core.dots import covers
from kvnode.rpc.replication_codec import vector_to_wire
from kvnode.v1 import kv_pb2 as pb
from kvnode.v1 import types_pb2
from tests.checkers.history import Call, Dot, Seen, Type, Vector, Written
from tests.sim.plan import Ask, Change
from tests.sim.programs import SHOULD_NOT_BE, OwnCalls, Said, Way

if TYPE_CHECKING:
    from tests.sim.hosts import Host
    from tests.sim.world import World

WIRE: dict[Type, Any] = {"GCOUNTER": 1, "PNCOUNTER": 2, "LWW": 3, "SIBLINGS": 4}
RETRIES_MAX = 3
SESSIONS_APART = 1_000
"""Between the numbers of one client's sessions, which are clients of their own to the checkers."""
RETRY_S = 0.4
BEHIND_MAX = 2
"""So often in a row a session's token is too new for the nodes; then a new session begins."""
LEVELS: dict[str, pb.Durability] = {
    "fsync": pb.DURABILITY_FSYNC,
    "quorum": pb.DURABILITY_QUORUM,
    "all": pb.DURABILITY_ALL,
}


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

    def __init__(self, world: World, first: Ask) -> None:
        """``first``: any of its requests says who it is."""
        self._world = world
        self.number = first.client
        self.name = f"client{first.client}"
        self._way: Way = OwnCalls(world, self.name)
        if first.program:
            self._way = world.program(first.program)
        self._contexts: dict[bytes, Context] = {}
        self._free = asyncio.Lock()
        self._asked = 0
        self._session: Vector = {}
        """All that was read and written."""
        self._behind = 0
        """How often in a row a node did not have that."""
        self._lives = 0

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
                if outcome == "done" or attempt == ask.retries:
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

    def _operation(self, written: Written, ttl_ms: int) -> pb.Operation:
        kind = WIRE[written.type]
        token = self._contexts[written.key].token if written.mode == "context" else b""
        match written.action:
            case "put":
                blind = written.mode == "blind"
                put = pb.Put(
                    key=written.key, value=written.value, type=kind, context=token, blind=blind,
                    ttl_ms=ttl_ms or None,
                )  # fmt: skip
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
            operations=[
                self._operation(each, change.ttl_ms)
                for each, change in zip(written, ask.changes, strict=True)
            ],
            request_id=request_id,
            options=self._options(ask),
        )
        call, said = await self._ask(ask, node, request)
        call = replace(call, writes=written, request=request_id, durability=ask.durability)
        reply = said.reply
        if reply is not None and deaf:
            self._world.counts["fault: answer lost on its last hop"] += 1
            call = replace(call, outcome="unknown", reason="LOST")
        elif reply is not None:
            dots = tuple((each.dot.origin, each.dot.seq) for each in reply.results)
            call = replace(call, dots=dots, vector=_vector(reply.session), repeated=reply.repeated)
            self._met(call.vector)
            for each, result in zip(written, reply.results, strict=True):
                if each.action == "put" and each.type == "SIBLINGS":
                    own = frozenset({(result.dot.origin, result.dot.seq)})
                    if not reply.repeated:
                        self._contexts[each.key] = Context(
                            result.context, own, _vector(reply.session)
                        )
                else:
                    self._contexts.pop(each.key, None)
        elif said.done is not None and not (deaf or said.done.repeated):
            # it is done, where it was taken, and waits for nobody to undo it
            origin, seq = said.done.first.origin, said.done.first.seq
            dots = tuple((origin, seq + index) for index in range(len(written)))
            call = replace(call, outcome="ok", dots=dots, durability="fsync")
            self._world.counts["client: done, and not yet where it was to be"] += 1
            self._met({origin: dots[-1][1]})
        self._world.record(call)
        return "done" if call.outcome == "ok" and not call.reason else self._told(call)

    def _told(self, call: Call) -> str:
        """As a client sees it: what is not where it was to be may be sent again."""
        return "unknown" if call.outcome == "ok" else call.outcome

    def _options(self, ask: Ask) -> pb.WriteOptions:
        options = pb.WriteOptions()
        if ask.durability in LEVELS:
            options.durability = LEVELS[ask.durability]
        else:
            options.replicas = int(ask.durability)
        if ask.session:
            options.after.CopyFrom(vector_to_wire(self._session))
        return options

    def _met(self, vector: Vector) -> None:
        """The session has seen that."""
        for origin, seq in vector.items():
            self._session[origin] = max(seq, self._session.get(origin, 0))

    def _refused(self, reason: str) -> None:
        """A session that names what nobody has any more (of a lost disk) comes to an end."""
        self._behind = self._behind + 1 if reason == "BEHIND" else 0
        if self._behind == BEHIND_MAX:
            self._world.counts["client: session given up"] += 1
            self._behind, self._session = 0, {}
            self._lives += 1

    async def _read(self, ask: Ask) -> None:
        request = pb.BatchGetRequest(keys=list(ask.keys))
        if ask.session:
            request.options.after.CopyFrom(vector_to_wire(self._session))
        call, said = await self._ask(ask, ask.node, request)
        reply = said.reply
        if reply is not None:
            vector = _vector(reply.session)
            seen = tuple(_seen(state) for state in reply.states)
            call = replace(call, seen=seen, vector=vector)
            self._met(vector)
            for state, shown in zip(reply.states, seen, strict=True):
                dots = frozenset(shown.siblings)
                types: frozenset[Type] = frozenset(shown.counters)
                if shown.lww is not None:
                    types |= {"LWW"}
                self._contexts[state.key] = Context(state.context, dots, vector, types)
        self._world.record(call)

    async def _ask(
        self, ask: Ask, node: str, request: pb.WriteRequest | pb.BatchGetRequest
    ) -> tuple[Call, Said]:
        """What is to be recorded of it, and what was said."""
        world = self._world
        host: Host = world.hosts[node]
        started_ms = world.now_ms()
        number = world.number()
        session = self.number + SESSIONS_APART * self._lives
        token = dict(self._session) if ask.session else None
        clock = ReadingClock(world, host)
        if isinstance(request, pb.WriteRequest):
            said = await self._way.write(host, ask, request)
        else:
            said = await self._way.read(host, ask, request)
        if said.outcome != "ok":
            self._refused(said.reason)
        if said.reason in SHOULD_NOT_BE:
            world.finding("call", f"{said.reason} at {node}: {said.words}")
        at = said.node or node
        world.counts["path: written at the program's next node"] += at != node
        call = Call(
            number, session, at, started_ms, world.now_ms(), said.outcome, said.reason,
            token=token, clock=clock.told(at),
        )  # fmt: skip
        return call, said


class ReadingClock:
    """What the clocks say while a call is on its way."""

    def __init__(self, world: World, host: Host) -> None:
        self._world, self._host = world, host.name
        self._least = host.machine.wall_ms()
        self._set = world.clocks_set

    def told(self, by: str = "") -> tuple[float, float]:
        """No less than this on the node's, no more than that on any clock, now or before.

        ``by``: who answered, if that may be another node.
        """
        steady = self._world.clocks_set == self._set and by in ("", self._host)
        return self._least if steady else 0.0, self._world.latest_clock()


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
