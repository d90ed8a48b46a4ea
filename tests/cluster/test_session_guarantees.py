"""The four session guarantees, for users that change nodes at random during cuts (P7).

A user does something at one node and goes on at another. With a session's token each of the four
holds: the second node shows what it must, or waits for it, or says what it lacks. Without a token
each is violated again and again, which shows that these tests could see it.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto

import pytest

from cluster.processes import LocalCluster
from kvnode import Behind, Client, DeadlineExceeded, OutcomeUnknown
from tests.cluster.convergence import wait_for

pytestmark = pytest.mark.cluster

ROUNDS = 16
IMPATIENCE_S = 0.25
"""Of a call that a cut node cannot answer."""
PATIENCE_S = 15.0

Clients = dict[str, Client]


class Verdict(Enum):
    """What a user saw."""

    KEPT = auto()
    VIOLATED = auto()
    REFUSED = auto()
    """The second node said that it lacks something, or the time was over before it could."""


@dataclass
class User:
    """Goes from node to node, with what it has seen, or (``keeps`` is False) without."""

    clients: Clients
    keeps: bool
    timeout_s: float = IMPATIENCE_S
    token: bytes = b""

    def put(self, node: str, key: str, value: str) -> None:
        """Write at a node."""
        if not self.keeps:
            self.clients[node].put(key, value)
            return
        with self.clients[node].session(self.token) as mine:
            mine.put(key, value, timeout_s=self.timeout_s)
            self.token = mine.token

    def sees(self, node: str, key: str) -> bool:
        """Read at a node."""
        if not self.keeps:
            return self.clients[node].get(key, default=None) is not None
        with self.clients[node].session(self.token) as mine:
            found = mine.get(key, default=None, timeout_s=self.timeout_s)
            self.token = mine.token
            return found is not None


def shows(client: Client, *keys: str) -> list[bool]:
    """What somebody without a session sees, in one moment."""
    return [bool(state.siblings) for state in client.batch_get(keys)]


# Each is one round: what the user does at node ``a``, then at ``b``, under keys of the round's own;
# True if the guarantee was kept.


def read_your_writes(user: User, a: str, b: str, tag: str) -> bool:
    """Who has written sees it."""
    user.put(a, f"{tag}/mine", "v")
    return user.sees(b, f"{tag}/mine")


def monotonic_reads(user: User, a: str, b: str, tag: str) -> bool:
    """What was seen once does not vanish."""
    user.clients[a].put(f"{tag}/theirs", "v")
    assert user.sees(a, f"{tag}/theirs")
    return user.sees(b, f"{tag}/theirs")


def monotonic_writes(user: User, a: str, b: str, tag: str) -> bool:
    """Nobody sees a user's second write without the first."""
    user.put(a, f"{tag}/first", "v")
    user.put(b, f"{tag}/second", "v")
    first, second = shows(user.clients[b], f"{tag}/first", f"{tag}/second")
    assert second
    return first


def writes_follow_reads(user: User, a: str, b: str, tag: str) -> bool:
    """Nobody sees an answer without the question that its writer had read."""
    user.clients[a].put(f"{tag}/question", "v")
    assert user.sees(a, f"{tag}/question")
    user.put(b, f"{tag}/answer", "v")
    question, answer = shows(user.clients[b], f"{tag}/question", f"{tag}/answer")
    assert answer
    return question


Guarantee = Callable[[User, str, str, str], bool]
GUARANTEES: list[Guarantee] = [
    read_your_writes,
    monotonic_reads,
    monotonic_writes,
    writes_follow_reads,
]


def judged(guarantee: Guarantee, user: User, a: str, b: str, tag: str) -> Verdict:
    """What became of one round."""
    try:
        kept = guarantee(user, a, b, tag)
    except (Behind, DeadlineExceeded, OutcomeUnknown):
        return Verdict.REFUSED
    return Verdict.KEPT if kept else Verdict.VIOLATED


def journeys(seed: int, names: list[str]) -> Iterator[tuple[str, str, str | None]]:
    """From which node to which a user goes, and who is cut off meanwhile."""
    chance = random.Random(seed)
    for _ in range(ROUNDS):
        a, b = chance.sample(names, 2)
        yield a, b, chance.choice([*names, None])


def walk(
    cluster: LocalCluster, clients: Clients, guarantee: Guarantee, *, keeps: bool
) -> Counter[Verdict]:
    """Many rounds of one user, at nodes and with cuts drawn by lot."""
    found: Counter[Verdict] = Counter()
    user = User(clients, keeps)
    name = f"{guarantee.__name__}/{'kept' if keeps else 'left'}"
    for number, (a, b, apart) in enumerate(journeys(GUARANTEES.index(guarantee), list(clients))):
        if apart is not None:
            cluster.isolate(apart)
        found[judged(guarantee, user, a, b, f"{name}/{number}")] += 1
        cluster.heal()
        cluster.wait_connected()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_with_its_token_a_user_may_go_anywhere(
    cluster: LocalCluster, clients: Clients, guarantee: Guarantee
) -> None:
    found = walk(cluster, clients, guarantee, keeps=True)
    assert found[Verdict.VIOLATED] == 0, found
    assert found[Verdict.KEPT] >= 3, found
    assert found[Verdict.REFUSED] >= 3, "no cut came between the two nodes"


@pytest.mark.slow
@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_without_a_token_the_guarantee_is_violated(
    cluster: LocalCluster, clients: Clients, guarantee: Guarantee
) -> None:
    found = walk(cluster, clients, guarantee, keeps=False)
    assert found[Verdict.VIOLATED] >= 3, found
    assert found[Verdict.REFUSED] == 0, found


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_a_user_with_patience_waits_for_the_heal(
    cluster: LocalCluster, clients: Clients, guarantee: Guarantee
) -> None:
    cluster.isolate("n3")
    assert judged(
        guarantee, User(clients, keeps=True), "n1", "n3", f"now/{guarantee.__name__}"
    ) is (Verdict.REFUSED)
    patient = User(clients, keeps=True, timeout_s=PATIENCE_S)
    found: list[Verdict] = []
    tag = f"later/{guarantee.__name__}"
    waiting = threading.Thread(
        target=lambda: found.append(judged(guarantee, patient, "n1", "n3", tag))
    )
    waiting.start()
    wait_for(lambda: patient.token != b"", "the first half of the round")
    assert not found, "answered during the cut"
    cluster.heal()
    waiting.join()
    assert found == [Verdict.KEPT]
