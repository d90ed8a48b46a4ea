"""The roster a new data directory begins with."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from kvnode.core.roster import Member, Roster
from kvnode.node.ambient import MACHINE, Chance

NO_CLUSTER = bytes(16)
"""Cluster id of a node that waits to be taken in."""


def founding_roster(
    origin: int,
    name: str,
    cluster: str,
    others: Sequence[str],
    *,
    join: bool,
    chance: Chance = MACHINE.chance,
) -> Roster:
    """The roster of a new data directory.

    Nodes that are configured with one another found a cluster together, so they must come to one
    cluster id without having met: it is made from their names. A node alone draws one.
    """
    if join:
        return Roster(NO_CLUSTER, members={origin: Member(1, name, "", joining=True)})
    founders = frozenset([name, *others])
    row = {origin: Member(1, name, "", joining=False)}
    if not others:
        return Roster(chance.randbytes(16), founders, row)
    digest = blake2b("\n".join([cluster, *sorted(founders)]).encode(), digest_size=16)
    return Roster(digest.digest(), founders, row)
