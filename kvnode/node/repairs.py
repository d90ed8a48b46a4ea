"""``repair``: heal what is damaged on this node, and keys in which members differ.

What is put in place of what, and why no value is lost, is in ``core/repair.py``. A damaged key
takes a member's entry, caught up from the own log. A key that differs under vectors that explain
nothing gets, on every member that answers, the union of what all of them hold. Each is replaced
only if it is still what was fetched: a write in between makes the repair start over.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from kvnode.core.entry import Entry, decode_entry, encode_entry
from kvnode.core.errors import Refused, StateError, quoted
from kvnode.core.repair import caught_up, common, union
from kvnode.node.comparison import CALL_S, Comparison, Member
from kvnode.node.verifier import Verifier
from kvnode.rpc.link import LinkError
from kvnode.rpc.replication_codec import vector_from_wire, vector_to_wire
from kvnode.v1 import verify_pb2 as pb

UNION_TRIES = 5
"""Of a key that is written while it is repaired."""
HEALED, FINE, NOT_HEALED = "healed", "fine", "not healed"


class Repairs:
    """One run of ``repair``."""

    def __init__(self, verifier: Verifier, members: Sequence[Member], deadline_s: float) -> None:
        self.done: list[pb.RepairedKey] = []
        self.scanned = 0
        self._verifier = verifier
        self._engine = verifier.engine
        self._members = members
        self._deadline_s = deadline_s

    async def everything(self) -> AsyncGenerator[str]:
        """Read all that is stored, heal what is damaged, then what differs."""
        damaged: list[bytes] = []
        async with aclosing(self._verifier.checked()) as segments:
            async for checked in segments:
                self.scanned, damaged = checked.keys, checked.damaged
                yield f"read {checked.keys} keys, {len(damaged)} damaged"
        for key in damaged:
            yield self._note(key, *await self._heal_damaged(key))
        await self._engine.checkpoints.current()
        comparison = Comparison(self._verifier, self._members, (b"", b""), self._deadline_s)
        async with aclosing(comparison.run(full=False)) as lines:
            async for line in lines:
                yield line
        for member in self._members:
            if member.verdict == pb.VERDICT_SILENT:
                yield f"not compared with {member.peer.name}: {member.problem}"
        async with aclosing(self._heal_differences(comparison)) as lines:
            async for line in lines:
                yield line

    async def keys(self, keys: Sequence[bytes]) -> AsyncGenerator[str]:
        """Heal these keys, whatever is wrong with them."""
        damaged = [key for key in keys if self._verifier.read(key) is None]
        for key in damaged:
            yield self._note(key, *await self._heal_damaged(key))
        await self._engine.checkpoints.current()
        others = [key for key in keys if key not in damaged]
        comparison = Comparison(self._verifier, self._members, (b"", b""), self._deadline_s)
        silent = await comparison.compare_keys(others)
        async with aclosing(self._heal_differences(comparison)) as lines:
            async for line in lines:
                yield line
        seen = {repaired.key for repaired in self.done}
        for key in others:
            if key not in seen:
                problem = f"compared with all but {', '.join(silent)}" if silent else ""
                yield self._note(key, FINE, problem)

    def _note(self, key: bytes, outcome: str, detail: str) -> str:
        self.done.append(pb.RepairedKey(key=key, outcome=outcome, detail=detail))
        return f"{quoted(key)}: {outcome}" + (f", {detail}" if detail else "")

    async def _heal_differences(self, comparison: Comparison) -> AsyncGenerator[str]:
        found: dict[bytes, str] = {}
        for member in comparison.members:
            for key, difference in member.differences.items():
                if difference.kind == "damaged there":
                    found[key] = f"damaged at {member.peer.name}: run 'kvnode repair' there"
                else:
                    found.setdefault(key, "")
        for key in sorted(found):
            if found[key]:
                yield self._note(key, NOT_HEALED, found[key])
            elif self._verifier.read(key) is None:
                yield self._note(key, *await self._heal_damaged(key))
            else:
                yield self._note(key, *await self._unite(key))
        if found:
            await self._engine.checkpoints.current()

    async def _heal_damaged(self, key: bytes) -> tuple[str, str]:
        """A member's entry, caught up, in place of the damaged one."""
        problems = []
        for member in self._members:
            name = member.peer.name
            request = pb.FetchRequest(
                keys=[key], entries=True, vector=vector_to_wire(self._engine.vector)
            )
            try:
                reply = await member.link.fetch(request, CALL_S)
                fetched = reply.keys[0]
                if fetched.digest.damaged:
                    problems.append(f"damaged at {name} too")
                    continue
                await self._reach(reply.as_of_ms)
                await self._install(key, fetched, vector_from_wire(reply.vector))
            except (LinkError, Refused, StateError) as error:
                problems.append(f"{name}: {error}")
                continue
            return HEALED, f"from {name}"
        return NOT_HEALED, "; ".join(problems) or "this node has no peers"

    async def _reach(self, horizon: int) -> None:
        """A member's entry may lack what it has let go: this node must have let go as much."""
        checkpoints = self._engine.checkpoints
        checkpoints.sweep_to(horizon)
        if self._verifier.horizon < horizon:
            await checkpoints.current()

    async def _install(self, key: bytes, fetched: pb.FetchedKey, theirs: dict[int, int]) -> None:
        entry = decode_entry(fetched.entry) if fetched.entry else {}
        removed = [(dot.origin, dot.seq) for dot in fetched.removed]

        def change() -> dict[bytes, Entry]:
            if self._verifier.read(key) is not None:
                return {}  # healed meanwhile
            seen = common(self._engine.vector, theirs)
            blocks = self._verifier.lacking(theirs)
            return {key: caught_up(key, entry, removed, seen, blocks)}

        await self._engine.adjust(change)

    async def _unite(self, key: bytes) -> tuple[str, str]:
        """On every member the union of what all hold."""
        for _ in range(UNION_TRIES):
            held: list[tuple[Member, bytes]] = []
            silent = []
            own = self._verifier.read(key)
            if own is None:
                return NOT_HEALED, "damaged here"
            expected = encode_entry(own) if own else b""
            united = own
            for member in self._members:
                try:
                    raw = await self._fetch(member, key)
                except (LinkError, Refused) as error:
                    silent.append(f"{member.peer.name} ({error})")
                    continue
                except StateError as error:
                    return NOT_HEALED, str(error)
                held.append((member, raw))
                united = union(united, decode_entry(raw) if raw else {}, self._engine.vector)
            if await self._replace(key, expected, united, held):
                missing = f"; not on {', '.join(silent)}" if silent else ""
                return HEALED, f"all values of {len(held) + 1} members{missing}"
            await asyncio.sleep(0)
        return NOT_HEALED, "it is written all the time: try again later"

    async def _fetch(self, member: Member, key: bytes) -> bytes:
        request = pb.FetchRequest(
            keys=[key], entries=True, vector=vector_to_wire(self._engine.vector)
        )
        reply = await member.link.fetch(request, CALL_S)
        fetched = reply.keys[0]
        if fetched.digest.damaged:
            raise StateError(f"damaged at {member.peer.name}: run 'kvnode repair' there")
        return fetched.entry

    async def _replace(
        self, key: bytes, expected: bytes, united: Entry, held: Sequence[tuple[Member, bytes]]
    ) -> bool:
        raw = encode_entry(united) if united else b""
        if raw != expected and not await self._verifier.replace(key, expected, united):
            return False
        for member, theirs in held:
            if theirs == raw:
                continue
            request = pb.HealRequest(key=key, expected=theirs, entry=raw)
            try:
                reply = await member.link.heal(request, CALL_S)
            except LinkError:
                return False
            if not reply.healed:
                return False
        return True
