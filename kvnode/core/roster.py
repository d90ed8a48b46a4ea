"""Who belongs to the cluster: a replicated record that only grows.

Problem: what may be collected and what may leave the log depends on *who* could still send
something, while nodes come, go, die and come back under new identities. An error here loses data.

Idea: the roster travels with every hello and report, and a report says nothing about its sender's
vector to a node that has not merged the roster it came with. A node changes its roster on disk
first and shows it then. Everything in it merges by union or maximum, so the order of news does not
matter. Blocks carry none of it: acknowledgements inside causally ordered blocks would wait for
the very blocks that a forget holds back.

*Join.* A newcomer is a member from the moment a roster names it, with ``joining`` set: it gets
everything and takes no client's call. Every member that learns of it writes down what it had at
that moment (an *admission*). The newcomer serves when all other members have admitted it and it
has all they had then. Why that is enough: let some member X collect a thing T, relying on a report
of member M. If M had admitted the newcomer by then, X has merged a roster with the newcomer in it
and waits for its reports too. If not, M's admission is later than the report, so it covers T, and
the newcomer had T before its first write. Either way no write of the newcomer is concurrent with T.

*Forget.* A grow-only set. A node that learns of one takes nothing from the forgotten node F any
more, and of F's blocks from others only up to what some member has acknowledged (``limit``). It
acknowledges the *whole* set, with what it holds of each; when the set grows it acknowledges again.
The forget is complete here when every remaining member has acknowledged the whole set and F's
blocks are here up to the highest of them: from then on nothing new of F can arrive anywhere, and
F is no longer waited for. Two forgets at once are therefore one larger set, in any order.

*Replace, return, restore.* A new identity that takes the place of an old one is one change: the
old origin is forgotten and names its ``successor``, which joins. Who fences the old one waits for
the new one from that moment.

*Contest.* Where members hold two histories of one forgotten origin, each of them says where it
stands, and the histories that lose are given up by who holds them (``contest.py``).

Stored and sent form: ``0x01 | msgpack [cluster id, founders, members, forgets, acks, admissions]``,
or, where there are stands, ``0x02 | msgpack [the same..., stands, reviews]``; all sorted: equal
rosters have equal bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple

import msgpack

from kvnode.core.dots import Vector, covers
from kvnode.core.errors import BlockError

VERSION = b"\x01"
VERSION_WITH_STANDS = b"\x02"
ROSTER_BYTES_MAX = 8 << 20
"""Each new identity of a node leaves about 150 bytes for ever: room for tens of thousands."""
ROSTERS_KEPT = 4
"""Decoded ones: peers show the same roster at every connection."""


class Member(NamedTuple):
    """One node under one identity. Only the node itself changes its row, raising ``version``."""

    version: int
    name: str
    address: str
    joining: bool


class Forget(NamedTuple):
    """Why an origin is no member any more."""

    at_ms: int
    by: int
    """Origin of the node that was told to forget it."""
    successor: int
    """The origin that takes its place, 0 if none."""


class Held(NamedTuple):
    """What a member has of a forgotten origin: its last seq and the chain value there."""

    seq: int
    chain: bytes


class Stand(NamedTuple):
    """What a member held of a contested origin when it took nothing more of it: never changed,
    but for rows and set-aside rows, which are added (``contest.py``).
    """

    seq: int
    chain: bytes
    votes: bool
    """It was serving then. A node that is only joining holds what it was given."""
    floor: int
    """Its log lacks the blocks up to here."""
    rows: Mapping[int, bytes]
    """Where others' histories end -> this one's chain value there, zeros if no block ends."""
    aside: Mapping[int, bytes] = {}
    """The same of the history it wrote itself, set aside, and issues again; empty if none."""


@dataclass(frozen=True, slots=True)
class Roster:
    """See the module. Never changed in place."""

    cluster_id: bytes
    founders: frozenset[str] = frozenset()
    """Names the cluster begins with; until each was met nothing is collected or cut."""
    members: Mapping[int, Member] = field(default_factory=dict)
    forgets: Mapping[int, Forget] = field(default_factory=dict)
    acks: Mapping[int, Mapping[int, Held]] = field(default_factory=dict)
    """member -> forgotten origin -> what the member holds of it."""
    admissions: Mapping[int, Mapping[int, Vector]] = field(default_factory=dict)
    """newcomer -> member -> what the member had when it learned of the newcomer."""
    stands: Mapping[int, Mapping[int, Stand]] = field(default_factory=dict)
    """contested origin -> member -> where it stands. Those of forgotten members stay."""
    reviews: Mapping[int, Mapping[int, int]] = field(default_factory=dict)
    """member -> other member -> how many of its acknowledgements the one has held against what it
    has itself, once there is a contest."""

    # ---- questions

    def remaining(self) -> list[int]:
        """Origins that are members now, ascending."""
        return [origin for origin in sorted(self.members) if origin not in self.forgets]

    def named(self, name: str) -> int:
        """The remaining member of that name, 0 if there is none."""
        found = [origin for origin in self.remaining() if self.members[origin].name == name]
        return found[0] if found else 0

    def unmet(self) -> list[str]:
        """Founders that were never heard of."""
        return sorted(self.founders - {member.name for member in self.members.values()})

    def limit(self, forgotten: int) -> int:
        """Up to where a forgotten origin's blocks may still be taken."""
        held = [self.acks.get(member, {}).get(forgotten) for member in self.remaining()]
        return max((one.seq for one in held if one), default=0)

    def unacknowledged(self) -> list[int]:
        """Remaining members that have not acknowledged all that is forgotten."""
        return [
            member
            for member in self.remaining()
            if self.acks.get(member, {}).keys() != self.forgets.keys()
        ]

    def pending(self, vector: Mapping[int, int]) -> list[int]:
        """Forgotten origins that are still waited for by a node with ``vector``."""
        if self.unacknowledged():
            return sorted(self.forgets)
        return [o for o in sorted(self.forgets) if vector.get(o, 0) < self.limit(o)]

    def counted(self, own: int, vector: Mapping[int, int]) -> frozenset[int] | None:
        """Others whose reports decide what is stable; None while a founder was never met."""
        if self.unmet():
            return None
        return frozenset({*self.remaining(), *self.pending(vector)} - {own})

    def waits_for(self, newcomer: int, vector: Mapping[int, int]) -> list[int]:
        """Members that keep ``newcomer``, which has ``vector``, from serving."""
        admitted = self.admissions.get(newcomer, {})
        return [
            member
            for member in self.remaining()
            if member != newcomer and not (member in admitted and covers(vector, admitted[member]))
        ]

    # ---- changes

    def with_member(self, origin: int, member: Member) -> Roster:
        """The row added or replaced."""
        return _tidy(replace(self, members={**self.members, origin: member}))

    def with_forget(self, origin: int, forget: Forget) -> Roster:
        """One more forgotten; the first one to say so stays."""
        return _tidy(replace(self, forgets={origin: forget, **self.forgets}))

    def with_acknowledgement(self, member: int, held: Mapping[int, Held]) -> Roster:
        """``member`` holds this of each forgotten origin."""
        assert held.keys() == self.forgets.keys(), "the whole set is acknowledged or nothing"
        return replace(self, acks={**self.acks, member: dict(held)})

    def with_admission(self, newcomer: int, member: int, vector: Vector) -> Roster:
        """``member`` learned of ``newcomer`` when it had ``vector``."""
        rows = {member: dict(vector), **self.admissions.get(newcomer, {})}
        return replace(self, admissions={**self.admissions, newcomer: rows})

    def with_stand(self, contested: int, member: int, stand: Stand) -> Roster:
        """``member`` stands there; maybe with more rows than before."""
        rows = {**self.stands.get(contested, {}), member: stand}
        return replace(self, stands={**self.stands, contested: rows})

    def with_review(self, member: int) -> Roster:
        """``member`` has compared all that the others have acknowledged with what it has."""
        seen = {one: len(self.acks.get(one, {})) for one in self.remaining()}
        return replace(self, reviews={**self.reviews, member: seen})

    def merge(self, other: Roster) -> Roster:
        """What both know. The rosters must be of one cluster."""
        assert self.cluster_id == other.cluster_id
        members = dict(self.members)
        for origin, member in other.members.items():
            members[origin] = max(members.get(origin, member), member)
        forgets = dict(self.forgets)
        for origin, forget in other.forgets.items():
            forgets[origin] = max(forgets.get(origin, forget), forget)
        acks = dict(self.acks)
        for origin, held in other.acks.items():
            acks[origin] = max(acks.get(origin, held), held, key=_ack_order)
        admissions = {newcomer: dict(rows) for newcomer, rows in self.admissions.items()}
        for newcomer, rows in other.admissions.items():
            mine = admissions.setdefault(newcomer, {})
            for origin, vector in rows.items():
                mine[origin] = _maximum(mine.get(origin, {}), vector)
        founders = self.founders | other.founders
        stands = {contested: dict(rows) for contested, rows in self.stands.items()}
        for contested, found in other.stands.items():
            known = stands.setdefault(contested, {})
            for origin, stand in found.items():
                known[origin] = _join_stands(known.get(origin, stand), stand)
        reviews = dict(self.reviews)
        for origin, seen in other.reviews.items():
            reviews[origin] = _maximum(reviews.get(origin, {}), seen)
        return _tidy(
            Roster(self.cluster_id, founders, members, forgets, acks, admissions, stands, reviews)
        )


def _ack_order(held: Mapping[int, Held]) -> tuple[int, list[tuple[int, Held]]]:
    """A member's acknowledgements only grow; the rest makes the order total."""
    return len(held), sorted(held.items())


def _join_stands(a: Stand, b: Stand) -> Stand:
    """Of one member: what differs between them are rows that one of them has not heard of."""
    first = max(a, b, key=lambda stand: (stand[:4], sorted(stand.rows.items())))
    return first._replace(rows={**a.rows, **b.rows}, aside={**a.aside, **b.aside})


def _maximum(a: Mapping[int, int], b: Mapping[int, int]) -> dict[int, int]:
    return {origin: max(a.get(origin, 0), b.get(origin, 0)) for origin in a.keys() | b.keys()}


def _tidy(roster: Roster) -> Roster:
    """Without admissions of nodes that have joined or are forgotten, and without what forgotten
    nodes have acknowledged or reviewed: nothing asks for any of it.
    """
    waiting = {
        newcomer: rows
        for newcomer, rows in roster.admissions.items()
        if newcomer not in roster.forgets
        and (newcomer not in roster.members or roster.members[newcomer].joining)
    }
    acks = {one: held for one, held in roster.acks.items() if one not in roster.forgets}
    reviews = {
        one: {other: count for other, count in seen.items() if other not in roster.forgets}
        for one, seen in roster.reviews.items()
        if one not in roster.forgets
    }
    if (
        waiting.keys() == roster.admissions.keys()
        and acks.keys() == roster.acks.keys()
        and reviews == roster.reviews
    ):
        return roster
    return replace(roster, admissions=waiting, acks=acks, reviews=reviews)


def encode_roster(roster: Roster) -> bytes:
    """The stored and sent form."""
    fields: list[object] = [
        roster.cluster_id,
        sorted(roster.founders),
        [[origin, *member] for origin, member in sorted(roster.members.items())],
        [[origin, *forget] for origin, forget in sorted(roster.forgets.items())],
        [
            [member, [[origin, *held] for origin, held in sorted(rows.items())]]
            for member, rows in sorted(roster.acks.items())
        ],
        [
            [newcomer, [[m, sorted(vector.items())] for m, vector in sorted(rows.items())]]
            for newcomer, rows in sorted(roster.admissions.items())
        ],
    ]
    if roster.stands:
        fields += [
            [
                [contested, [[member, *_flat(stand)] for member, stand in sorted(rows.items())]]
                for contested, rows in sorted(roster.stands.items())
            ],
            [[one, sorted(seen.items())] for one, seen in sorted(roster.reviews.items())],
        ]
    packed: bytes = msgpack.packb(fields)
    return (VERSION_WITH_STANDS if roster.stands else VERSION) + packed


def _flat(stand: Stand) -> list[object]:
    return [*stand[:4], sorted(stand.rows.items()), sorted(stand.aside.items())]


def roster_hash(raw: bytes) -> bytes:
    """8 bytes that tell rosters apart."""
    return blake2b(raw, digest_size=8).digest()


@lru_cache(ROSTERS_KEPT)
def decode_roster(raw: bytes) -> Roster:
    """The inverse of ``encode_roster``; BlockError if it is none."""
    if raw[:1] not in (VERSION, VERSION_WITH_STANDS) or len(raw) > ROSTER_BYTES_MAX:
        raise BlockError("roster of an unknown version or size")
    try:
        fields = msgpack.unpackb(raw[1:])
        if raw[:1] == VERSION:
            fields += [[], []]
        cluster_id, founders, members, forgets, acks, admissions, stands, reviews = fields
        roster = Roster(
            _bytes(cluster_id, 16),
            frozenset(_text(name) for name in founders),
            {_number(row[0]): _member(*row[1:]) for row in members},
            {_number(row[0]): Forget(*map(_number, row[1:])) for row in forgets},
            {
                _number(member): {
                    _number(origin): Held(_number(seq), _bytes(chain, 16))
                    for origin, seq, chain in rows
                }
                for member, rows in acks
            },
            {
                _number(newcomer): {
                    _number(member): {_number(o): _number(s) for o, s in vector}
                    for member, vector in rows
                }
                for newcomer, rows in admissions
            },
            {
                _number(contested): {_number(row[0]): _stand(*row[1:]) for row in rows}
                for contested, rows in stands
            },
            {
                _number(one): {_number(member): _number(count) for member, count in seen}
                for one, seen in reviews
            },
        )
    except BlockError:
        raise
    except Exception as error:  # msgpack and unpacking raise many types on bytes from outside
        raise BlockError(f"roster of unknown form: {error}") from error
    if encode_roster(roster) != raw:
        raise BlockError("roster of unknown form: it is not in order")
    return roster


def _member(version: Any, name: Any, address: Any, joining: Any) -> Member:
    if type(joining) is not bool:
        raise BlockError("roster of unknown form")
    return Member(_number(version), _text(name), _text(address), joining)


def _stand(seq: Any, chain: Any, votes: Any, floor: Any, rows: Any, aside: Any) -> Stand:
    if type(votes) is not bool:
        raise BlockError("roster of unknown form")
    ends = [{_number(at): _bytes(value, 16) for at, value in pairs} for pairs in (rows, aside)]
    return Stand(_number(seq), _bytes(chain, 16), votes, _number(floor), *ends)


def _number(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise BlockError("roster of unknown form: a number is expected")
    return value


def _text(value: Any) -> str:
    if type(value) is not str or len(value) > 300:
        raise BlockError("roster of unknown form: a short text is expected")
    return value


def _bytes(value: Any, size: int) -> bytes:
    if type(value) is not bytes or len(value) != size:
        raise BlockError(f"roster of unknown form: {size} bytes are expected")
    return value
