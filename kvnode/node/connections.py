"""Whom this node dials: a link and a pusher for every peer whose address is known.

Peers are the members of the roster, dialled where the configuration or else the roster says; they
come and go with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from kvnode.node.engine import Engine
from kvnode.node.membership import Membership
from kvnode.node.peers import Peer
from kvnode.node.pusher import Pusher
from kvnode.rpc.link import Link, OpenLink
from kvnode.tls import read_credentials


@dataclass(slots=True)
class Connection:
    """What dials one peer."""

    link: Link
    pusher: Pusher
    task: asyncio.Task[None]


class Connections:
    """The peers, and what dials them."""

    def __init__(
        self,
        engine: Engine,
        membership: Membership,
        *,
        open_link: OpenLink | None,
        push: Callable[[Peer, Link], Pusher],
        on_end: Callable[[asyncio.Task[None]], None],
    ) -> None:
        """Nobody is dialled before ``start``.

        Args:
            open_link: how to reach an address; a channel by default.
            push: makes what pushes to it.
            on_end: called when a pusher has ended by itself.
        """
        self.peers: dict[str, Peer] = {}
        self._config = engine.config
        self._ambient = engine.ambient
        self._membership = membership
        self._tls = read_credentials(self._config.tls) if self._config.tls else None
        self.open_link = open_link or self._open_channel
        """How to reach the node at an address."""
        self._push = push
        self._on_end = on_end
        self._connections: dict[str, Connection] = {}
        self._closing_links: set[asyncio.Task[None]] = set()
        self._started = False

    def start(self) -> None:
        """Dial from now on."""
        self._started = True
        self.reconcile()

    async def close(self) -> None:
        """Close the links."""
        for name in list(self._connections):
            self._disconnect(name)
        await asyncio.gather(*self._closing_links)

    def reconcile(self) -> None:
        """Let the peers be what the roster says, once started also dialled."""
        wanted = self._addresses()
        for name in sorted(self.peers.keys() - wanted.keys()):
            del self.peers[name]
            self._disconnect(name)
        for name, address in wanted.items():
            peer = self.peers.setdefault(name, Peer(name, address, self._ambient))
            if peer.address != address:
                peer.address = address
                self._disconnect(name)
            origin = self._membership.roster.named(name)
            if origin and peer.origin != origin:
                peer.start_over(origin)
            if self._started and address and name not in self._connections:
                self._connect(peer)

    def members(self) -> dict[str, Peer]:
        """The peers that are, or are to be, members."""
        return {name: self.peers[name] for name in self._addresses() if name in self.peers}

    def notify(self) -> None:
        """There is something to push."""
        for connection in self._connections.values():
            connection.pusher.notify()

    def unanswered(self, peer: Peer) -> int:
        """Messages pushed to the peer that it has not answered."""
        connection = self._connections.get(peer.name)
        return connection.pusher.unanswered if connection else 0

    def link(self, peer: Peer) -> Link | None:
        """The link to a peer; None if there is none, as its address is not known."""
        connection = self._connections.get(peer.name)
        return connection.link if connection else None

    def _open_channel(self, address: str) -> Link:
        return Link.open(
            address,
            reconnect_ms=self._config.reconnect_interval_ms,
            keepalive_ms=self._config.peer_timeout_ms,
            tls=self._tls,
        )

    def _addresses(self) -> dict[str, str]:
        """Where to dial whom; empty if that is not known. A returning node is nobody yet."""
        if self._membership.place == "returning":
            return {}
        roster, dialled = self._membership.roster, self._config.peers
        addresses = {
            roster.members[origin].name: roster.members[origin].address
            for origin in roster.remaining()
            if origin != self._membership.origin
        }
        addresses.update(dict.fromkeys(roster.unmet(), ""))
        return {name: dialled.get(name, address) for name, address in addresses.items()}

    def _connect(self, peer: Peer) -> None:
        link = self.open_link(peer.address)
        pusher = self._push(peer, link)
        task = asyncio.create_task(pusher.run(), name=f"push {peer.name}")
        task.add_done_callback(self._on_end)
        self._connections[peer.name] = Connection(link, pusher, task)

    def _disconnect(self, name: str) -> None:
        connection = self._connections.pop(name, None)
        if connection is None:
            return

        async def close() -> None:
            connection.task.remove_done_callback(self._on_end)
            connection.task.cancel()
            await asyncio.gather(connection.task, return_exceptions=True)
            await connection.link.close()

        task = asyncio.create_task(close(), name=f"close {name}")
        self._closing_links.add(task)
        task.add_done_callback(self._closing_links.discard)
