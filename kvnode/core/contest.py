"""Which of two histories of one origin the cluster keeps, and who has to give up the other.

Problem: a directory was cloned and both copies wrote under one origin F. Some members took the one
history, some the other. What they wrote since builds on what they hold, so neither side can take
anything of the other any more, and no one node sees both sides.

Idea: F has to be forgotten first (its own node notices the clone and comes back as another; or
``kvnode forget``). Every acknowledgement of a forget says what its member holds of F. Who holds
more than such an acknowledgement tells, and no block of its own ends there with that chain value,
has the proof of two histories, and opens the *contest*: it says in the roster where it stands. Who
learns of a contest takes nothing more of F, then takes a stand too: what it holds of F, whether it
serves (only then it votes), and the chain values its history has where the others' histories end.
So everybody can tell from the roster alone whose history is a part of whose.

Once there is a contest, members also say whose acknowledgements they have *reviewed*, in the same
change of the roster as the contests they open therefore.

``decide``, a function of the roster: as soon as all remaining members have acknowledged all that
is forgotten, have reviewed what all others acknowledged, and have taken a stand in each contest
(so no contest is overlooked), the contests are decided one after the other,
by origin. The longest histories compete, those no other continues; the one with the most voters on
it wins, then the smaller chain value. Who stands elsewhere loses and is out of the next contest.
A loser comes back as another node (``node/returning.py``), empty; its directory is set aside, and
what only it has acknowledged is issued again. A contest is over when no loser remains; until then
nobody takes anything of F, so no part of a losing history gets to a new place meanwhile.

Why no two decisions contradict each other, whatever the order of news (K: the set of forgotten
origins and of contests a decision was made with). A decision counts when a loser acts on it. From
then on it acknowledges nothing and takes no stand (it is *returning*, durably, before anybody
hears of it). Let A act on K1 and B on K2, both members in both. A's roster had B's acknowledgement
of exactly the forgotten of K1, and B's of A's. A member's acknowledged set only grows, and ends
when it acts: so the forgotten are the same in both; by the same argument about stands so are the
contests. Stands do not change. The members could differ by a newcomer only: it votes only if it
was serving, so after each of the others had admitted it, hence known it, so it is in both. The two
decisions were made with the same votes and are one. If A is not a member in K2 it was forgotten:
it has come back as another and holds nothing that competes, or it was forgotten by an operator.

Why some member always holds the winning history whole, and each contest ends: each of the decided
winners is the history of a survivor, and survivors of one contest alone compete in the next. What
stays of a history is what the last survivors hold: its longest holder may have lost another. A
decision after some losers are gone is the same one: it lost voters only on the sides that lost.

*The forked origin's own acknowledged writes* on a losing history are issued again exactly once:
by the node that wrote them, if it came back by itself and has that history set aside (it says so
in its stand), else by the one *heir* among the losers that hold it: the longest, with most of it in
its log, with the smallest origin. The stands of those that came back are kept for that.

Limits. A loser that holds writes of some other forgotten node that no winner has (they build on
the losing history) stays where it is and says so: nobody could issue them again. Of a node that is
gone but not forgotten yet, only its own directory is thought to matter: forget first what is gone.
An heir that is lost before it has issued them again loses them, as a lost disk does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kvnode.core.roster import Roster, Stand

NO_BLOCK = bytes(16)
"""Row of a stand where none of its blocks ends."""


@dataclass(frozen=True, slots=True)
class Decision:
    """All contests of a roster."""

    winners: Mapping[int, Stand]
    """contested origin -> the end of the history that stays."""
    losers: frozenset[int]
    """Remaining members that have to give up theirs."""


def is_part(one: Stand, of: Stand) -> bool:
    """Whether one history is the beginning of the other, as far as is known."""
    return not one.seq or (one.seq <= of.seq and of.rows.get(one.seq) == one.chain)


def decide(roster: Roster) -> Decision | None:
    """Who wins and who loses; None while somebody has yet to say where it stands."""
    remaining = roster.remaining()
    if roster.stands and (roster.unacknowledged() or not _all_reviewed(roster)):
        return None
    survivors = frozenset(remaining)
    for _, stands in sorted(roster.stands.items()):
        if not all(one in stands for one in remaining):
            return None
        if not _comparable([stands[one] for one in remaining]):
            return None
        winner = _winner([stands[one] for one in survivors])
        survivors = frozenset(one for one in survivors if is_part(stands[one], winner))
    winners = {
        contested: max((stands[one] for one in survivors), key=lambda stand: stand.seq)
        for contested, stands in roster.stands.items()
    }
    return Decision(winners, frozenset(remaining) - survivors)


def unsettled(roster: Roster) -> frozenset[int]:
    """Contested origins of which nothing may be taken now."""
    decision = decide(roster)
    return frozenset(roster.stands) if decision is None or decision.losers else frozenset()


def heirloom(roster: Roster, decision: Decision, loser: int) -> list[int]:
    """Contested origins whose losing history ``loser`` has to issue again, too."""
    return [
        contested
        for contested, winner in decision.winners.items()
        if not is_part(roster.stands[contested][loser], winner)
        and _heir(roster, contested, winner, loser) == loser
    ]


def bereaved(roster: Roster, decision: Decision, loser: int) -> list[int]:
    """Forgotten origins, not contested, of which the loser has what nobody could issue again."""
    acks = roster.acks
    winners = [one for one in roster.remaining() if one not in decision.losers]
    return [
        origin
        for origin, held in sorted(acks.get(loser, {}).items())
        if origin not in roster.stands
        and not _came_back(roster, origin)
        and held.seq > max(acks[one][origin].seq for one in winners)
    ]


def _heir(roster: Roster, contested: int, winner: Stand, loser: int) -> int:
    """Who issues the loser's history of the contested origin again."""
    stands = roster.stands[contested]
    mine = stands[loser]
    for member in roster.remaining():
        if member in stands and stands[member].aside.get(mine.seq) == mine.chain:
            return member
    holders = [
        one
        for one, stand in stands.items()
        if not is_part(stand, winner)
        and (is_part(stand, mine) or is_part(mine, stand))
        and (one in roster.remaining() or _gave_up(roster, contested, winner, one))
    ]
    return min(holders, key=lambda one: (-stands[one].seq, stands[one].floor, one))


def _came_back(roster: Roster, origin: int) -> bool:
    """Whether its own directory has taken its place, and issues again what it wrote."""
    forget = roster.forgets.get(origin)
    return forget is not None and forget.successor == forget.by != 0


def _gave_up(roster: Roster, contested: int, winner: Stand, member: int) -> bool:
    """Whether it lost, and came back without the losing history."""
    if not _came_back(roster, member):
        return False
    successor = roster.forgets[member].successor
    stand = roster.stands[contested].get(successor)
    if stand is None or is_part(stand, winner):
        return True
    return successor in roster.forgets and _gave_up(roster, contested, winner, successor)


def _all_reviewed(roster: Roster) -> bool:
    """Whether each remaining member has reviewed all that the others have acknowledged."""
    remaining = roster.remaining()
    acknowledged = {one: len(roster.acks.get(one, {})) for one in remaining}
    reviews = [roster.reviews.get(one, {}) for one in remaining]
    return all(seen.get(one, 0) >= acknowledged[one] for seen in reviews for one in remaining)


def _comparable(stands: Iterable[Stand]) -> bool:
    """Whether each has a row where each shorter one ends."""
    ends = {stand.seq for stand in stands} - {0}
    return all(end in stand.rows for stand in stands for end in ends if end <= stand.seq)


def _winner(stands: list[Stand]) -> Stand:
    competing = {
        (stand.seq, stand.chain): stand
        for stand in stands
        if all(is_part(other, stand) or not is_part(stand, other) for other in stands)
    }

    def rank(stand: Stand) -> tuple[int, bytes]:
        return -sum(one.votes and is_part(one, stand) for one in stands), stand.chain

    return min(competing.values(), key=rank)
