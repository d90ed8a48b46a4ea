"""What the clients of a plan ask for: all types, contexts, batches, deletes, retries, failover,
sessions, levels of durability, values that expire.

Few keys, so that clients meet; every value is written once. Some answers get lost on their last
hop, so that there is something to retry that has happened. Some calls come to one node at one
moment, so that they share a block. Clients with a session go from node to node and carry its token.
Some clients are tasks of one program, and share its connections.
"""

from __future__ import annotations

from random import Random
from typing import Any

from tests.checkers.history import Type
from tests.sim.plan import Ask, Change, Step

TYPES: tuple[Type, ...] = ("GCOUNTER", "PNCOUNTER", "LWW", "SIBLINGS")
WAYS = ("", "", "app1", "app1", "app2")
"""Some clients call by themselves, most of the others share a program's connections."""
BURSTS = 0.08
"""How often all clients of one program write something plain at one moment."""
LEVELS = ("fsync",) * 8 + ("quorum", "quorum", "all", "2")


def asks(chance: Random, nodes: list[str], lasts_ms: int, operations: int) -> list[Step]:
    """What clients ask of the nodes in that time: so many operations (writes, and keys read), or a
    few more.
    """
    steps: list[Step] = []
    clients = chance.randint(3, 8)
    keys = [(f"{kind[0].lower()}{n}".encode(), kind) for kind in TYPES for n in range(3)]
    mixed: list[tuple[bytes, Type]] = [(b"m1", kind) for kind in TYPES]
    weights = {kind: chance.choice((1, 2, 4)) for kind in TYPES}
    homes = [chance.choice(nodes) for _ in range(clients)]
    expiring = chance.choice((0.0, 0.15, 0.4))
    programs = [chance.choice(WAYS) for _ in range(clients)]
    alone = [0.3 if program else 0.6 for program in programs]
    sessions = {client for client in range(clients) if chance.random() < alone[client]}
    made = number = at_ms = 0
    node = nodes[0]
    while made < operations:
        if chance.random() < BURSTS:
            client, at_ms = chance.randrange(clients), int(chance.random() * lasts_ms)
            for each in range(clients):
                if programs[each] == programs[client]:
                    number += 1
                    cell = chance.choice(keys)
                    change = _plain(chance, cell, f"v{number}.0".encode())
                    ask = Ask(
                        number, each, homes[client], (change,), session=each in sessions,
                        retries=1, program=programs[each],
                    )  # fmt: skip
                    steps.append(Step(at_ms, "ask", ask=ask))
                    made += 1
        number += 1
        client = chance.randrange(clients)
        session = client in sessions
        timeout_s = chance.choice((0.5, 3.0))
        if chance.random() > 0.2:  # else at the moment of the one before
            at_ms = int(chance.random() * lasts_ms)
            stays = chance.random() < (0.4 if session else 0.8)
            node = homes[client] if stays else chance.choice(nodes)
        if chance.random() < 0.4:
            wanted = chance.sample(sorted({key for key, _ in keys} | {b"m1"}), chance.randint(1, 4))
            ask = Ask(
                number, client, node, keys=tuple(wanted), timeout_s=timeout_s, session=session,
                program=programs[client],
            )  # fmt: skip
            made += len(wanted)
        else:
            size = 1 if chance.random() < 0.5 else chance.randint(2, 5)
            changes = []
            for index in range(size):
                kind = chance.choices(TYPES, [weights[each] for each in TYPES])[0]
                cell = chance.choice([cell for cell in keys if cell[1] == kind])
                if chance.random() < 0.06:
                    cell = chance.choice(mixed)
                ttl_ms = int(200 * 50 ** chance.random()) if chance.random() < expiring else 0
                changes.append(_change(chance, cell, f"v{number}.{index}".encode(), ttl_ms))
            retries = chance.choice((0, 1, 2))
            failover = chance.choice(nodes) if retries and chance.random() < 0.5 else ""
            deaf = retries > 0 and chance.random() < 0.08
            ask = Ask(
                number, client, node, tuple(changes), (), retries, failover, timeout_s, deaf,
                session, chance.choice(LEVELS), programs[client],
            )  # fmt: skip
            made += size
        steps.append(Step(at_ms, "ask", ask=ask))
    return steps


def _plain(chance: Random, cell: tuple[bytes, Type], value: bytes) -> Change:
    """What goes in columns with others of its kind, if many come together."""
    key, kind = cell
    if kind in ("GCOUNTER", "PNCOUNTER"):
        return Change("increment", key, kind, amount=chance.randint(1, 9))
    return Change("put", key, kind, value)


def _change(chance: Random, cell: tuple[bytes, Type], value: bytes, ttl_ms: int) -> Change:
    key, kind = cell
    if chance.random() < 0.18:
        return Change("delete", key, kind, mode=chance.choice(("observed", "context")))
    if kind in ("GCOUNTER", "PNCOUNTER"):
        amount = chance.randint(1, 9)
        if kind == "PNCOUNTER" and chance.random() < 0.4:
            amount = -amount
        return Change("increment", key, kind, amount=amount)
    mode: Any = chance.choice(("observed", "blind", "context", "context"))
    mode = "observed" if kind == "LWW" else mode
    return Change("put", key, kind, value, mode=mode, ttl_ms=ttl_ms)
