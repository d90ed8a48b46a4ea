"""Who may talk to this node, and who is who.

========================================  =====================================================
the other side                            answer
========================================  =====================================================
another cluster, id or protocol           refused (WRONG_CLUSTER)
runs under this node's own origin, or     refused (ALREADY_RUNNING): a copy of a data directory
under one that is connected from          is in use twice; the second one must not write
another process
is in the roster                          welcome
is in the roster as forgotten             told so, nothing is taken from it
is in a roster under another name         refused (NAME_TAKEN): no directory changes its name
takes the place of a member              welcome
not in this roster, but knows this node   welcome: others took it in, its roster says so
a founder that was never met              welcome: it is one now
the new identity of an origin that was   refused (FORGOTTEN): what it has may be more than the
forgotten before                         others agreed on
anybody else under a name that is taken   refused (NAME_TAKEN): it lost its data directory, and
                                          somebody has to say that it takes the old one's place
========================================  =====================================================

The same holds the other way round: a node that meets a cluster which knows another node under its
name finds itself displaced, and waits to be taken in.

A node with another secret is welcome: what it has is worth more than that clients cannot take their
contexts from one to the other, and to change a secret node by node it has to be. But both say so.
"""

from __future__ import annotations

import logging
from hashlib import blake2b

from kvnode.core.errors import BlockError, Reason, Refused
from kvnode.core.report import PROTOCOL, Hello
from kvnode.core.roster import Roster, decode_roster
from kvnode.node.founding import NO_CLUSTER
from kvnode.node.membership import Membership

logger = logging.getLogger(__name__)


class Handshake:
    """Makes this node's hello and judges others'."""

    def __init__(self, cluster: str, membership: Membership, secret: bytes = b"") -> None:
        """``secret``: what keys the hash in context tokens."""
        self.cluster = cluster
        self._secret_check = blake2b(digest_size=8, key=secret, person=b"kvnode.hello").digest()
        self._other_secrets: set[str] = set()
        """Names of the members that have another one."""
        self.incarnation = membership.engine.ambient.draw_id()
        self._membership = membership

    def hello(self) -> Hello:
        """Who this node is."""
        membership = self._membership
        return Hello(
            self.cluster,
            membership.name,
            membership.origin,
            self.incarnation,
            membership.raw,
            secret_check=self._secret_check,
        )

    def problem(self) -> str:
        """Which members have another secret, in words."""
        names = ", ".join(map(repr, sorted(self._still_members(self._other_secrets))))
        return names and (
            f'the setting "secret" of {names} is not the same as here: contexts and watch tokens '
            "that one hands out are refused by the other"
        )

    def check(self, hello: Hello) -> None:
        """Take the roster of a welcome node.

        Raises:
            Refused: see the table.
        """
        self.check_protocol(hello)
        membership = self._membership
        own, mine, theirs = membership.origin, membership.roster, _roster(hello)
        if hello.origin == own:
            raise Refused(
                Reason.ALREADY_RUNNING,
                f"node {hello.name!r} has this node's origin id: the address leads back here, or "
                "a copy of this data directory is running",
            )
        if theirs.cluster_id == NO_CLUSTER:
            raise Refused(
                Reason.JOINING,
                f"node {hello.name!r} is not a member yet: kvnode join {hello.name}=HOST:PORT",
            )
        if hello.origin not in theirs.members and hello.origin not in mine.members:
            raise Refused(
                Reason.JOINING, f"node {hello.name!r} is not a member under its new identity yet"
            )
        _check_name(hello, mine, theirs)
        if own not in theirs.members:
            if mine.cluster_id == NO_CLUSTER:
                raise Refused(
                    Reason.JOINING,
                    f"node {membership.name!r} waits to be taken in: "
                    f"kvnode join {membership.name}=HOST:PORT",
                )
            if membership.place == "founding" and theirs.named(membership.name):
                membership.displaced()
                raise Refused(
                    Reason.JOINING, f"node {membership.name!r} lost its data: see kvnode replace"
                )
            if theirs.named(membership.name):
                raise self._stranger(hello, mine, theirs)
            if (
                hello.origin not in mine.members
                and hello.name not in mine.unmet()
                and not self._comes_back(hello, theirs)
            ):
                raise self._stranger(hello, mine, theirs)
        if hello.origin not in mine.members:
            for old, forget in theirs.forgets.items():
                if forget.successor == hello.origin and old in membership.wanted.forgets:
                    raise Refused(
                        Reason.FORGOTTEN,
                        f"node {hello.name!r} was forgotten as {old:016x} and cannot come back "
                        "with what it has: start it with an empty data directory",
                    )
        membership.merge(hello.roster)
        self._compare_secrets(hello)

    def check_protocol(self, hello: Hello) -> None:
        """Raises Refused unless it is a node of this cluster's name and version."""
        own = self._membership.name
        if hello.cluster != self.cluster:
            raise Refused(
                Reason.WRONG_CLUSTER,
                f"node {hello.name!r} is of cluster {hello.cluster!r}, this one "
                f"({own!r}) of {self.cluster!r}",
            )
        if hello.protocol != PROTOCOL:
            raise Refused(
                Reason.WRONG_CLUSTER,
                f"node {hello.name!r} speaks replication protocol {hello.protocol}, this one "
                f"{PROTOCOL}: run the same version",
            )
        if not hello.origin or not hello.name or not hello.incarnation:
            raise Refused(Reason.WRONG_CLUSTER, "a hello names a node, its origin and its start")

    def _compare_secrets(self, hello: Hello) -> None:
        if not hello.secret_check or hello.secret_check == self._secret_check:
            self._other_secrets.discard(hello.name)
        elif hello.name not in self._other_secrets:
            self._other_secrets = self._still_members({*self._other_secrets, hello.name})
            logger.warning("%s", self.problem())

    def _still_members(self, names: set[str]) -> set[str]:
        """As the roster will be: at a first meeting it is not on disk yet."""
        return {name for name in names if self._membership.wanted.named(name)}

    def _comes_back(self, hello: Hello, theirs: Roster) -> bool:
        """Whether it takes the place of a member: also when all of a cluster were restored."""
        wanted = self._membership.wanted
        return any(
            forget.successor == hello.origin and old in wanted.members and old not in wanted.forgets
            for old, forget in theirs.forgets.items()
        )

    def _stranger(self, hello: Hello, mine: Roster, theirs: Roster) -> Refused:
        own, taken = self._membership.name, mine.named(hello.name)
        if taken == hello.origin:  # to them this node is another one
            return Refused(
                Reason.NAME_TAKEN,
                f"node {hello.name!r} knows node {own!r} as {theirs.named(own):016x}, not as "
                f"{self._membership.origin:016x}: one of them has not heard yet what became of it",
            )
        if taken or any(member.name == hello.name for member in mine.members.values()):
            return Refused(
                Reason.NAME_TAKEN,
                f"the cluster knows node {hello.name!r} as {taken:016x}, not as "
                f"{hello.origin:016x}: if it lost its data, run kvnode replace {hello.name}",
            )
        return Refused(
            Reason.WRONG_CLUSTER,
            f"node {hello.name!r} is not a member of the cluster of {self._membership.name!r}: "
            f"start it with --join and run kvnode join {hello.name}=HOST:PORT",
        )


def _check_name(hello: Hello, mine: Roster, theirs: Roster) -> None:
    known = mine.members.get(hello.origin) or theirs.members[hello.origin]
    if hello.name != known.name:
        raise Refused(
            Reason.NAME_TAKEN, f"the cluster knows {hello.origin:016x} as node {known.name!r}"
        )


def _roster(hello: Hello) -> Roster:
    try:
        return decode_roster(hello.roster)
    except BlockError as error:
        raise Refused(Reason.BAD_REQUEST, str(error)) from error
