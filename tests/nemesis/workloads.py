"""What the clients do, in the manner of Jepsen's workloads: each is one small step at a time.

Every step is made of calls with an explicit context or without any (blind), so that the history
alone says what each write replaced. What a node held when it took a put "of what is there now" only
the node knows.

Keys are few where clients shall meet, and used up where something grows: a key takes at most 100
siblings, and a batch's keys show one value each.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Final

from kvnode import DataType
from tests.nemesis.session import (
    Asked,
    Session,
    add,
    delete_seen,
    replace_seen,
    set_register,
)
from tests.nemesis.session import count as add_to

COUNTERS: Final = 4
"""Keys of each type of counter."""
ADDS_A_KEY: Final = 40
"""Blind puts that one set gets: far from the limit of siblings also if some are done twice."""
CARTS: Final = 5
REGISTERS: Final = 5
BATCHES_A_KEY: Final = 15
BATCH_KEYS: Final = (b"a", b"b", b"c")
CONDEMNED_MAX: Final = 50


class Board:
    """What the clients share beside the cluster: which keys are in use. Thread safe."""

    def __init__(self) -> None:
        self.adds = count()
        self.batches = count()
        self.keys = count()
        self.condemned: deque[tuple[bytes, DataType]] = deque(maxlen=CONDEMNED_MAX)
        """Keys that somebody has written and somebody may delete."""


Step = Callable[[Session, Board], None]


def counter(session: Session, _: Board) -> None:
    """Count up and down; exact in the end, whatever was retried."""
    chance = session.chance
    grows = chance.random() < 0.3
    kind = DataType.G_COUNTER if grows else DataType.PN_COUNTER
    key = b"count/%s/%d" % (b"up" if grows else b"both", chance.randrange(COUNTERS))
    if chance.random() < 0.15:
        session.read([key])
        return
    amount = chance.randint(1, 9)
    session.write([add_to(key, amount if grows or chance.random() < 0.6 else -amount, kind)])


def grow_set(session: Session, board: Board) -> None:
    """Add to a set that is one key's siblings; none of the elements may be missing."""
    number = next(board.adds) // ADDS_A_KEY
    if session.chance.random() < 0.2:
        session.read([b"set/%d" % max(0, number - session.chance.randint(0, 2))])
        return
    session.write([add(b"set/%d" % number, session.value())])


def cart(session: Session, _: Board) -> None:
    """Read, and replace or delete exactly what was read, also at nodes that lack some of it."""
    chance = session.chance
    shown = session.read([b"cart/%d" % chance.randrange(CARTS)])
    if shown is None:
        return
    if shown.states[0].siblings and chance.random() < 0.15:
        session.write([delete_seen(shown, 0, DataType.SIBLINGS)])
    else:
        session.write([replace_seen(shown, 0, session.value())])


def register(session: Session, _: Board) -> None:
    """Set, read and delete registers of which the last writer wins."""
    chance = session.chance
    key = b"last/%d" % chance.randrange(REGISTERS)
    if chance.random() < 0.6:
        session.write([set_register(key, session.value())])
        return
    shown = session.read([key])
    if shown is not None and shown.states[0].register and chance.random() < 0.25:
        session.write([delete_seen(shown, 0, DataType.LWW_REGISTER)])


def batch(session: Session, board: Board) -> None:
    """Several keys at once; a read of all of them sees the whole batch or nothing of it."""
    number = next(board.batches) // BATCHES_A_KEY
    keys = [b"batch/%d/%s" % (number, part) for part in BATCH_KEYS]
    if session.chance.random() < 0.4:
        session.read(keys)
        return
    asked: list[Asked] = [add(key, session.value()) for key in keys]
    session.write([*asked, add_to(b"batch/%d/sum" % number, 1, DataType.PN_COUNTER)])


def delete(session: Session, board: Board) -> None:
    """Make something, and delete something that another client made; neither may come back."""
    chance = session.chance
    if len(board.condemned) < CONDEMNED_MAX // 2 or chance.random() < 0.5:
        kind = chance.choice(list(DataType))
        key = b"gone/%d" % next(board.keys)
        asked = {
            DataType.SIBLINGS: lambda: add(key, session.value()),
            DataType.LWW_REGISTER: lambda: set_register(key, session.value()),
            DataType.G_COUNTER: lambda: add_to(key, chance.randint(1, 9), kind),
            DataType.PN_COUNTER: lambda: add_to(key, -chance.randint(1, 9), kind),
        }[kind]()
        session.write([asked])
        board.condemned.append((key, kind))
        return
    key, kind = chance.choice(list(board.condemned))
    shown = session.read([key])
    if shown is None or kind not in shown.states[0].types:
        return
    match chance.random():
        case draw if draw < 0.6:
            session.write([delete_seen(shown, 0, kind)])
        case _ if kind in (DataType.G_COUNTER, DataType.PN_COUNTER):
            session.write([add_to(key, chance.randint(1, 9), kind)])
        case _:
            session.read([key])


def wander(session: Session, _: Board) -> None:
    """Read and write one's own and a common key, often at another node, with the session's vector.

    The vector is what an application carries from node to node: a node that is given it waits until
    it shows all that the session has read and written.
    """
    chance = session.chance
    node = session.home if chance.random() < 0.5 else chance.choice(session.nodes)
    keys = [b"own/%d" % session.number, b"own/both"]
    shown = session.read(keys, node, token=dict(session.token))
    if shown is None:
        return
    session.see(shown.vector)
    position = 0 if chance.random() < 0.7 else 1
    asked = [replace_seen(shown, position, session.value())]
    done = session.write(asked, node, token=dict(session.token))
    session.see(done.vector)


WORKLOADS: Final[dict[str, Step]] = {
    "counter": counter,
    "set": grow_set,
    "cart": cart,
    "register": register,
    "batch": batch,
    "delete": delete,
    "session": wander,
}
