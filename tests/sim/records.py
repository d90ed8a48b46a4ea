"""What only the driver of a run can know of its history, and the checkers want to be told.

It looks into the nodes' logs: where each request went, also when its caller was never answered, and
what a node had applied before each of its writes.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import TYPE_CHECKING

from kvnode.core.block import Block, decode_block
from kvnode.core.types import LWW_REGISTER, SIBLINGS
from kvnode.node.node import Node
from tests.checkers.history import Call, Dot, Vector, Written
from tests.checkers.judge import judge

FIELDS_WITH_DEADLINE = {LWW_REGISTER: 4, SIBLINGS: 5}
"""Of a logged put whose value expires."""

if TYPE_CHECKING:
    from tests.sim.hosts import Host
    from tests.sim.world import World


class Records:
    """Of one run."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._hosts: dict[int, str] = {}
        """Origin -> the host whose node writes under it."""
        self._before: dict[Dot, Vector] = {}
        """First dot of an own block -> what its node had applied before."""
        self._made: dict[bytes, list[tuple[Dot, int]]] = {}
        """Request id -> where it went, and how many operations."""
        self._deadlines: dict[Dot, int] = {}
        """Of the values that expire."""

    def begun(self, host: Host, node: Node) -> None:
        """A node was opened: it may have own blocks that it died over."""
        self._hosts[host.origin] = host.name
        known = max((seq for origin, seq in self._before if origin == host.origin), default=0)
        log = node.engine.log
        if not log.last_arrival:
            return
        for _, raw in log.replay(log.first_arrival - 1):
            block = decode_block(raw)
            if block.origin == host.origin and block.first_seq > known:
                self.note(block)
                self._world.counts["path: on disk, and nobody was told"] += 1

    def note(self, block: Block) -> None:
        """A node's own block is on its disk."""
        first = (block.origin, block.first_seq)
        self._before[first] = {**block.deps, block.origin: block.first_seq - 1}
        for seq, op in enumerate(block.ops, block.first_seq):
            if isinstance(op, list) and len(op) == FIELDS_WITH_DEADLINE.get(op[0]):
                self._deadlines[block.origin, seq] = op[-1]
        self._world.counts["path: several requests in one block"] += len(block.requests) > 1
        for request_id, offset, count in block.requests:
            dot = (block.origin, block.first_seq + offset)
            where = self._made.setdefault(request_id, [])
            if (dot, count) not in where:
                where.append((dot, count))

    def complete(self) -> None:
        """The run is over: fill in the history, and let the checkers judge it."""
        world, history = self._world, self._world.history
        calls = []
        taken = {call.dots for call in history.calls if call.dots and not call.repeated}
        for told in sorted(history.calls, key=lambda call: call.number):
            unknown = told.writes and told.outcome == "unknown"
            call = self._find_out(told, taken) if unknown else told
            if call.repeated and call.dots not in taken:  # of what the client asked by itself
                taken.add(call.dots)
                call = replace(call, repeated=False)
            if call.dots and not call.repeated:
                before = self._before_dot(call.dots[0])
                call = replace(call, before=before, writes=self._with_deadlines(call))
                if call.outcome == "ok" and not call.vector:  # done, and told so without a vector
                    call = replace(call, vector={**(before or {}), **dict(call.dots)})
            calls.append(call)
        history.calls = calls
        history.settled = True
        history.reissued = frozenset(world.reissued)
        history.lost_origins = dict(world.lost)
        self._check_retries()
        for verdict in judge(history):
            world.result.findings += verdict.findings

    def _with_deadlines(self, call: Call) -> tuple[Written, ...]:
        return tuple(
            replace(written, deadline_ms=self._deadlines.get(dot))
            for written, dot in zip(call.writes, call.dots, strict=True)
        )

    def _check_retries(self) -> None:
        """A node that has applied a request does not take it again."""
        for request_id, where in sorted(self._made.items()):
            for (first, _), (again, _) in permutations(where, 2):
                before = self._before_dot(again) or {}
                seen = before.get(first[0], 0) >= first[1]
                if seen and not {first[0], again[0]} & self._world.reissued:
                    text = f"request {request_id!r} was taken as {first} and {again}"
                    self._world.finding("retries", text)

    def _find_out(self, call: Call, taken: set[tuple[Dot, ...]]) -> Call:
        """Of a call with an unknown outcome, where it went, if anywhere."""
        for (origin, seq), count in self._made.get(call.request, []):
            dots = tuple((origin, seq + n) for n in range(count))
            if dots not in taken and self._hosts[origin] == call.node:
                taken.add(dots)
                return replace(call, dots=dots)
        return call

    def _before_dot(self, dot: Dot) -> Vector | None:
        firsts = [seq for origin, seq in self._before if origin == dot[0] and seq <= dot[1]]
        return self._before[dot[0], max(firsts)] if firsts else None
