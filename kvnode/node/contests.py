"""This node's part in contests between two histories of one origin (``core/contest.py``).

A contest is opened, and a stand taken, in three steps that no commit may come between: nothing
more of the origin is taken (the replica's limits), the round that runs is finished, and what is
held then is said in the roster. The stand is on disk before it is shown, and limits follow from it
at every start.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kvnode.core.contest import NO_BLOCK, bereaved, decide, heirloom, is_part, unsettled
from kvnode.core.roster import Held, Roster, Stand

if TYPE_CHECKING:
    from kvnode.node.engine import Engine


@dataclass(frozen=True, slots=True)
class Lost:
    """What it means for a node that its history lost."""

    reason: str
    inherited: list[int]
    """Origins whose lost history it has to issue again with its own."""
    apart: str
    """If set: why it keeps its history all the same."""


class Contests:
    """What one node holds against what the others say they hold. Soft state."""

    def __init__(self, engine: Engine) -> None:
        self.asides: Mapping[int, Mapping[int, bytes]] | None = {}
        """Of the histories set aside that this node issues again: origin -> end -> chain value.
        None while they are being read: no stand is taken until then."""
        self._engine = engine
        self._own = engine.replica.origin
        self._opening: set[int] = set()
        """Contested origins without a stand of this node as yet."""
        self._fitting: set[tuple[int, Held]] = set()
        """What others hold and this node has, too."""

    def running(self, roster: Roster) -> frozenset[int]:
        """Contested origins of which nothing may be taken now."""
        return unsettled(roster) | self._opening

    def limits(self, roster: Roster) -> dict[int, int]:
        """Forgotten origin -> the last seq of it that may be taken."""
        limits = {origin: roster.limit(origin) for origin in roster.forgets}
        for contested in self.running(roster):
            stand = roster.stands.get(contested, {}).get(self._own)
            held = stand.seq if stand else self._engine.vector.get(contested, 0)
            limits[contested] = min(limits.get(contested, held), held)
        return limits

    def due(self, roster: Roster) -> bool:
        """Whether a stand has to be taken; nothing of those origins is taken from now on.

        The caller puts the limits up, and waits until no round runs, before ``take_stands``.
        """
        if self.asides is None or self._engine.pausing is not None:
            return False
        found = {*roster.stands, *self.contradicted(roster)}
        self._opening = {one for one in found if self._own not in roster.stands.get(one, {})}
        return bool(self._opening)

    def take_stands(self, roster: Roster, *, votes: bool) -> Roster:
        """Say where this node stands, in every contest, and what it has where others stand."""
        engine = self._engine
        durable = engine.replica.durable
        for contested in sorted({*roster.stands, *self._opening}):
            stands = roster.stands.get(contested, {})
            stand = stands.get(self._own)
            if stand is None:
                if contested not in self._opening:
                    continue
                seq = durable.vector.get(contested, 0)
                chain = durable.chains.get(contested, NO_BLOCK)
                floor = engine.log.floor.get(contested, 0)
                stand = Stand(seq, chain, votes, floor, {seq: chain} if seq else {}, {})
            ends = {other.seq for other in stands.values()} | {stand.seq}
            rows = {
                end: engine.replica.chain_at((contested, end)) or NO_BLOCK
                for end in ends - stand.rows.keys() - {0}
                if end <= stand.seq
            }
            aside = (self.asides or {}).get(contested, {})
            found = {end: aside[end] for end in ends & aside.keys()}
            stand = stand._replace(rows={**stand.rows, **rows}, aside={**stand.aside, **found})
            if stand != stands.get(self._own):
                roster = roster.with_stand(contested, self._own, stand)
        if roster.stands and self.asides is not None and engine.pausing is None:
            reviewed = roster.with_review(self._own)
            roster = reviewed if reviewed.reviews != roster.reviews else roster
        return roster

    def taken(self, roster: Roster) -> None:
        """The roster is on disk: what it says does not have to be remembered here."""
        self._opening = {
            one for one in self._opening if self._own not in roster.stands.get(one, {})
        }

    def lost(self, roster: Roster) -> Lost | None:
        """What has to follow, if this node's history lost."""
        decision = decide(roster)
        own = self._own
        if decision is None or own not in decision.losers:
            return None
        elsewhere = [
            roster.members[contested].name
            for contested, winner in decision.winners.items()
            if not is_part(roster.stands[contested][own], winner)
        ]
        gone = [roster.members[one].name for one in bereaved(roster, decision, own)]
        return Lost(
            f"copies of one directory wrote two histories of {', '.join(elsewhere)}, and the "
            "members keep the one that this node does not have",
            heirloom(roster, decision, own),
            "the members keep another history than this node, which stays apart: nobody else has "
            f"all that {', '.join(gone)} wrote, and none of those is a member any more"
            if gone
            else "",
        )

    def agreed(self, roster: Roster, origin: int) -> bool:
        """Whether all that is left of a forgotten origin is here, and nobody has anything else."""
        if origin not in roster.members:
            return True
        acks = [roster.acks.get(member, {}) for member in roster.remaining()]
        return (
            origin in roster.forgets
            and all(origin in held for held in acks)
            and not self.running(roster)
            and self._engine.vector.get(origin, 0) >= roster.limit(origin)
            and origin not in self.contradicted(roster)
        )

    def waits_for(self, roster: Roster, origin: int) -> str:
        """Why that is not agreed yet, in words; empty if it is."""
        if self.agreed(roster, origin):
            return ""
        name = f"{roster.members[origin].name} ({origin:016x})"
        if origin not in roster.forgets:
            return f"the members to replace {name}"
        silent = sorted(
            roster.members[one].name
            for one in roster.remaining()
            if origin not in roster.acks.get(one, {})
        )
        if silent:
            return f"{', '.join(silent)} to say what they have of {name}"
        if self.running(roster) or origin in self.contradicted(roster):
            return f"the members to decide between two histories of {name}"
        return f"all that the members have of {name} to arrive here"

    def contradicted(self, roster: Roster) -> Iterator[int]:
        """Forgotten origins of which a member holds what is not a part of what is held here."""
        for origin in roster.forgets.keys() - roster.stands.keys():
            held = [roster.acks.get(member, {}).get(origin) for member in roster.remaining()]
            if any(one is not None and self._contradicts(origin, one) for one in held):
                yield origin

    def _contradicts(self, origin: int, held: Held) -> bool:
        engine = self._engine
        if not 0 < held.seq <= engine.vector.get(origin, 0) or (origin, held) in self._fitting:
            return False
        chain = engine.replica.chain_at((origin, held.seq))
        pruned = chain is None and held.seq < engine.log.pruned.get(origin, 0)
        if pruned or chain == held.chain:
            self._fitting.add((origin, held))
            return False
        return True
