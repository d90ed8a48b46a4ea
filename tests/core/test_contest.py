"""Which of two histories stays: the rule, and that any order of news leads to one outcome."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from hashlib import blake2b
from random import Random

import pytest

from kvnode.core.contest import (
    NO_BLOCK,
    Decision,
    bereaved,
    decide,
    heirloom,
    unsettled,
)
from kvnode.core.dots import covers
from kvnode.core.errors import BlockError
from kvnode.core.roster import (
    Forget,
    Held,
    Member,
    Roster,
    Stand,
    decode_roster,
    encode_roster,
)

CLUSTER = bytes(16)
F, G = 100, 200
"""Origins that were forgotten."""


def chain_of(history: str) -> bytes:
    """A chain value covers all before it; one letter is one block of one write."""
    return blake2b(history.encode(), digest_size=16).digest() if history else NO_BLOCK


def stand(history: str, *ends: int, votes: bool = True, floor: int = 0, aside: str = "") -> Stand:
    """Where a holder of ``history`` stands; a dot in it is a seq where no block ends."""
    rows = {end: row(history, end) for end in {*ends, len(history)} - {0} if end <= len(history)}
    asides = {end: chain_of(aside[:end]) for end in ends if end <= len(aside)}
    return Stand(len(history), chain_of(history), votes, floor, rows, asides)


def row(history: str, end: int) -> bytes:
    return NO_BLOCK if history[end - 1] == "." else chain_of(history[:end])


def roster(histories: dict[int, str], *, origin: int = F, silent: tuple[int, ...] = ()) -> Roster:
    """Members with these histories of a forgotten origin, each with a stand but the silent."""
    members = {one: Member(1, f"m{one}", "", joining=False) for one in (*histories, origin)}
    made = Roster(CLUSTER, members=members).with_forget(origin, Forget(1, 1, 0))
    ends = [len(history) for history in histories.values()]
    for one, history in histories.items():
        held = Held(len(history), chain_of(history))
        made = made.with_acknowledgement(one, {origin: held})
        if one not in silent:
            made = made.with_stand(origin, one, stand(history, *ends))
    return reviewed(made)


def reviewed(made: Roster) -> Roster:
    """By everybody."""
    for one in made.remaining():
        made = made.with_review(one)
    return made


def decided(made: Roster) -> Decision:
    decision = decide(made)
    assert decision is not None
    return decision


# ---- the rule


def test_the_history_with_more_voters_stays() -> None:
    decision = decided(roster({1: "ccaaaa", 2: "ccb", 3: "ccbb"}))
    assert decision.losers == {1}
    assert decision.winners[F].chain == chain_of("ccbb")


def test_of_as_many_the_smaller_chain_value_stays() -> None:
    for one, other in (("ca", "cbbb"), ("cbbb", "ca")):
        decision = decided(roster({1: one, 2: other}))
        (loser,) = decision.losers
        wins, loses = (one, other) if loser == 2 else (other, one)
        assert chain_of(wins) < chain_of(loses)


def test_who_has_only_the_common_part_keeps_it() -> None:
    decision = decided(roster({1: "cca", 2: "ccb", 3: "cc", 4: "", 5: "ccb"}))
    assert decision.losers == {1}


def test_a_block_that_straddles_the_place_where_another_ends_is_another_history() -> None:
    decision = decided(roster({1: "ccb", 2: "cc.a", 3: "cc.a"}))
    assert decision.losers == {1}


def test_nothing_is_decided_before_everybody_has_said_where_it_stands() -> None:
    made = roster({1: "ca", 2: "cb", 3: "cb"}, silent=(3,))
    assert decide(made) is None
    assert unsettled(made) == {F}
    made = made.with_stand(F, 3, stand("cb", 2))
    assert decided(made).losers == {1}
    newer = made.with_forget(9, Forget(1, 1, 0))
    assert decide(newer) is None, "somebody has not acknowledged that"


def test_nothing_is_decided_while_a_row_is_missing() -> None:
    made = roster({1: "ca", 2: "cbbb"})
    made = made.with_stand(F, 2, stand("cbbb"))
    assert decide(made) is None


def test_a_newcomer_has_no_vote_but_can_lose() -> None:
    made = roster({1: "ca", 2: "cb", 3: "cb", 4: "ca", 5: "ca"})
    for newcomer in (4, 5):
        made = made.with_stand(F, newcomer, stand("ca", 2, votes=False))
    assert decided(made).losers == {1, 4, 5}


def test_contests_are_decided_one_after_the_other_so_that_somebody_is_left() -> None:
    """Each of two members wins one of two contests: only one of them may have to go."""
    for seed in range(20):
        a, b = f"a{seed}", f"b{seed}"
        both = roster({1: a, 2: b})
        second = roster({1: b, 2: a}, origin=G)
        both = both.merge(second)
        for one, history in ((1, a), (2, b)):
            other = {a: b, b: a}[history]
            held = {F: Held(2, chain_of(history)), G: Held(2, chain_of(other))}
            both = both.with_acknowledgement(one, held)
        both = reviewed(both)
        assert len(decided(both).losers) == 1


def test_the_longest_history_with_most_of_its_log_is_issued_again_by_one() -> None:
    histories = {1: "ca", 2: "caaa", 3: "caaa", 4: "cb", 5: "cb", 6: "cb", 7: "cb"}
    made = roster(histories).with_stand(F, 2, stand("caaa", 2, floor=3))
    decision = decided(made)
    assert decision.losers == {1, 2, 3}
    assert {one: heirloom(made, decision, one) for one in (1, 2, 3)} == {1: [], 2: [], 3: [F]}


def test_the_node_that_wrote_it_issues_it_again_if_it_has_it_aside() -> None:
    made = roster({1: "ca", 2: "cb", 3: "cb", 4: ""})
    made = made.with_stand(F, 4, stand("", 2, votes=False, aside="caa"))
    assert heirloom(made, decided(made), 1) == []
    made = roster({1: "ca", 2: "cb", 3: "cb", 4: ""})
    made = made.with_stand(F, 4, stand("", 2, votes=False, aside="cbb"))
    assert heirloom(made, decided(made), 1) == [F]


def test_who_came_back_already_stays_the_heir() -> None:
    """Else the next one to go would issue the same again."""
    made = roster({1: "caa", 2: "ca", 3: "cb", 4: "cb", 5: "cb"})
    assert heirloom(made, decided(made), 1) == [F]
    back = made.with_forget(1, Forget(2, 6, 6)).with_member(6, Member(1, "m1", "", joining=True))
    for one in back.remaining():
        held = {F: back.acks.get(one, {}).get(F, Held(0, NO_BLOCK)), 1: Held(0, NO_BLOCK)}
        back = back.with_acknowledgement(one, held)
    back = reviewed(back.with_stand(F, 6, stand("", votes=False)))
    decision = decided(back)
    assert decision.losers == {2}
    assert heirloom(back, decision, 2) == []
    restored = back.with_stand(F, 6, stand("caa", 2, votes=False))  # with what it had
    decision = decided(restored)
    assert decision.losers == {2, 6}
    assert heirloom(restored, decision, 6) == [F]
    operator = back.with_forget(6, Forget(3, 3, 0))
    for one in operator.remaining():
        acks = {**operator.acks[one], 6: Held(0, NO_BLOCK)}
        operator = operator.with_acknowledgement(one, acks)
    operator = reviewed(operator)
    assert heirloom(operator, decided(operator), 2) == []


def test_who_alone_has_the_writes_of_a_node_that_is_gone_is_told() -> None:
    made = roster({1: "ca", 2: "cb", 3: "cb"}).with_forget(9, Forget(1, 2, 0))
    for one, seq in ((1, 7), (2, 5), (3, 6)):
        held = {F: made.acks[one][F], 9: Held(seq, chain_of("x"))}
        made = made.with_acknowledgement(one, held)
    assert decide(made) is None, "nobody has compared that with what it has"
    made = reviewed(made)
    assert bereaved(made, decided(made), 1) == [9]
    came_back = replace(made, forgets={**made.forgets, 9: Forget(2, 8, 8)})
    assert bereaved(came_back, decided(came_back), 1) == []
    less = made.with_acknowledgement(1, {**made.acks[1], 9: Held(6, chain_of("x"))})
    assert bereaved(less, decided(less), 1) == []


# ---- as part of the roster


def test_stands_travel_with_the_roster_and_only_grow() -> None:
    made = roster({1: "cca", 2: "ccb"})
    raw = encode_roster(made)
    assert decode_roster(raw) == made
    fewer = made.with_stand(F, 1, stand("cca", aside="c"))
    merged = fewer.merge(made)
    assert merged == made.merge(fewer) == made
    plain = Roster(CLUSTER)
    assert encode_roster(plain)[:1] == b"\x01", "as before there were stands"
    with pytest.raises(BlockError):
        decode_roster(raw[:1] + encode_roster(plain)[1:])


# ---- any order of news


@dataclass
class Node:
    """One identity: what it holds of F and G, and its roster."""

    origin: int
    roster: Roster
    histories: dict[int, str]
    gone: bool = False
    """It gave up, and has not come back yet."""
    inherits: list[int] = field(default_factory=list)

    def step(self) -> None:
        """Its duties, as ``node/membership.py`` has them."""
        if self.gone or self.origin in self.roster.forgets:
            return
        made, own = self.roster, self.origin
        if made.acks.get(own, {}).keys() != made.forgets.keys():
            made = made.with_acknowledgement(own, {one: self.held(one) for one in made.forgets})
        joining = self.roster.members[own].joining
        for contested in (F, G):
            stands = made.stands.get(contested, {})
            if contested in made.forgets and (stands or self.contradicted(made, contested)):
                before = stands.get(own) or stand(self.histories[contested], votes=not joining)
                ends = [other.seq for other in (*stands.values(), before)]
                rows = stand(self.histories[contested][: before.seq], *ends).rows
                made = made.with_stand(contested, own, before._replace(rows=rows))
        if made.stands:
            made = made.with_review(own)
        for other in made.remaining():
            if made.members[other].joining and own not in made.admissions.get(other, {}):
                made = made.with_admission(other, own, self.vector)
        if joining and not unsettled(made) and not made.waits_for(own, self.vector):
            made = made.with_member(own, made.members[own]._replace(version=2, joining=False))
        self.roster = made
        decision = decide(made)
        if decision is not None and own in decision.losers:
            self.inherits = heirloom(made, decision, own)
            self.gone = True

    @property
    def vector(self) -> dict[int, int]:
        return {one: len(history) for one, history in self.histories.items() if history}

    def held(self, origin: int) -> Held:
        history = self.histories.get(origin, "")
        return Held(len(history), chain_of(history))

    def contradicted(self, made: Roster, origin: int) -> bool:
        history = self.histories[origin]
        acks = [made.acks.get(one, {}).get(origin) for one in made.remaining()]
        return any(
            one and 0 < one.seq <= len(history) and chain_of(history[: one.seq]) != one.chain
            for one in acks
        )

    def take(self, other: Node, origin: int) -> None:
        """One more block of the origin, if it fits and may be taken."""
        mine, theirs = self.histories[origin], other.histories[origin]
        limit = self.roster.limit(origin) if origin in self.roster.forgets else 99
        if origin in unsettled(self.roster) or len(mine) >= min(limit, len(theirs)):
            return
        if theirs.startswith(mine):
            self.histories[origin] = theirs[: len(mine) + 1]


class Cluster:
    """Nodes that exchange rosters, and blocks of two forked origins, in random order."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        count = rng.randint(2, 6)
        members = {one: Member(1, f"m{one}", "", joining=False) for one in (*range(count), F, G)}
        common = Roster(CLUSTER, members=members)
        self.written = {F: ["c", "caa", "caaaa", "cbb", "cb"], G: ["c", "cd", "cee", "", "c"]}
        self.nodes = [
            Node(one, common, {origin: rng.choice(self.written[origin]) for origin in (F, G)})
            for one in range(count)
        ]
        self.known = {
            (origin, node.histories[origin][:end])
            for node in self.nodes
            for origin in (F, G)
            for end in range(1, len(node.histories[origin]) + 1)
        }
        self.given_up: list[Node] = []
        self.excused: set[tuple[int, str]] = set()
        """Given up before it was known that their writer is gone."""

    def alive(self) -> list[Node]:
        return [node for node in self.nodes if not node.gone]

    def event(self) -> None:
        rng = self.rng
        node, other = rng.choice(self.nodes), rng.choice(self.nodes)
        chance = rng.random()
        if chance < 0.02:
            node.roster = node.roster.with_forget(rng.choice([F, G]), Forget(1, node.origin, 0))
        elif chance < 0.3 and not node.gone:
            node.step()
        elif chance < 0.6 and not (node.gone or other.gone):
            node.roster = node.roster.merge(other.roster)
        elif chance < 0.8 and not (node.gone or other.gone):
            if other.origin not in node.roster.forgets:
                node.take(other, rng.choice([F, G]))
        elif node.gone:
            self.come_back(node)

    def meet(self) -> None:
        """Everybody hears of everybody, and takes what it can."""
        for node in list(self.nodes):
            if node.gone:
                self.come_back(node)
                continue
            for other in self.alive():
                node.roster = node.roster.merge(other.roster)
                for origin in (F, G):
                    for _ in range(5):
                        if other.origin not in node.roster.forgets:
                            node.take(other, origin)
            node.step()

    def come_back(self, node: Node) -> None:
        new = 10 + len(self.nodes) + len(self.given_up)
        self.given_up.append(node)
        self.excused |= {
            (origin, history[:end])
            for origin, history in node.histories.items()
            for end in range(1, len(history) + 1)
            if origin not in node.roster.forgets
        }
        self.nodes.remove(node)
        row = Member(1, f"m{new}", "", joining=True)
        made = node.roster.with_forget(node.origin, Forget(1, new, new)).with_member(new, row)
        self.nodes.append(Node(new, made, {F: "", G: ""}))


@pytest.mark.parametrize("seed", range(60))
def test_any_order_of_news_ends_with_one_history_and_all_else_issued_again_once(seed: int) -> None:
    """Members hear of forgets, contests and each other's stands in any order, losers come back at
    any time and copy what they find.
    """
    cluster = Cluster(Random(seed))
    for _ in range(400):
        cluster.event()
    for node in cluster.nodes:
        for origin in (F, G):
            node.roster = node.roster.with_forget(origin, Forget(1, node.origin, 0))
    before = None
    for _ in range(60):
        now = [(node.origin, node.roster, dict(node.histories)) for node in cluster.nodes]
        if now == before:
            break
        before = now
        cluster.meet()
    first, *others = cluster.nodes
    for node in cluster.nodes:
        assert not node.roster.members[node.origin].joining
        assert covers(node.vector, first.vector)
        assert node.histories == first.histories
    assert all(node.roster == first.roster for node in others)
    kept = {(o, h[:end]) for o, h in first.histories.items() for end in range(1, len(h) + 1)}
    again = [
        (origin, node.histories[origin][:end])
        for node in cluster.given_up
        for origin in node.inherits
        for end in range(1, len(node.histories[origin]) + 1)
        if not first.histories[origin].startswith(node.histories[origin][:end])
    ]
    assert len(again) + len(kept) == len({*again, *kept}), "made twice"
    assert cluster.known - cluster.excused <= {*again, *kept}, "lost"
