"""Coming back under a new identity, after the data directory was copied or put back.

The directory has a new origin already (``storage/directory.py``). Before it takes the old one's
place, a member has to say two things:

- *Is the old one running?* Then this is a copy of a running node's directory. Members hear of a
  stopped process until they time out, so it is believed only after a while.
- *Is what is here under the old origin a part of what the cluster has, or the other way round?*
  The chain value where the shorter of the two ends tells. If so, the new identity joins with all
  it has; its own older writes, if some are missing here, come back with everything else. If not,
  this directory wrote under the old origin while another did. Its history is the losing one: it is
  set aside, the node begins anew, empty, and then issues again what only it had (``reissue.py``).
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Literal

from kvnode.core.errors import BlockError
from kvnode.core.report import Meeting
from kvnode.core.roster import decode_roster
from kvnode.rpc.link import Link, LinkError

if TYPE_CHECKING:
    from kvnode.node.replicator import Replicator

logger = logging.getLogger(__name__)
Verdict = Literal["welcome", "running", "forked", "forgotten"]


class Returning:
    """Asks the members until one has answered."""

    def __init__(self, replicator: Replicator, *, forked: bool) -> None:
        """``forked``: a member has already said that it has another history."""
        self._replicator = replicator
        self._membership = replicator.membership
        self._config = replicator.engine.config
        self._forked = forked

    async def ask(self) -> Verdict:
        """What those members say that answer; waits until one does, and says something final."""
        old = self._membership.returning_from
        addresses = self._addresses()
        if not addresses:
            return "welcome"
        running_until = time.monotonic() + 3 * self._config.peer_timeout_ms / 1000
        while True:
            meetings = [
                meeting
                for name, address in addresses.items()
                if (meeting := await self._meet(name, address, old))
            ]
            if any(meeting.running for meeting in meetings):
                self._membership.problem = "the node this directory was copied from is running"
                if time.monotonic() > running_until:
                    return "running"
            elif meetings:
                self._membership.problem = ""
                return self._judge(max(meetings, key=lambda meeting: meeting.seq), old)
            else:
                running_until = time.monotonic() + 3 * self._config.peer_timeout_ms / 1000
                self._membership.problem = "no member answers: " + ", ".join(addresses)
            await asyncio.sleep(self._config.reconnect_interval_ms / 1000)

    def _judge(self, meeting: Meeting, old: int) -> Verdict:
        if old in decode_roster(meeting.hello.roster).forgets:
            return "forgotten"
        replica = self._replicator.engine.replica
        have = replica.durable.vector.get(old, 0)
        if meeting.seq <= have:
            fits = not meeting.seq or replica.chain_at((old, meeting.seq)) == meeting.chain
        else:
            fits = not have or replica.durable.chains[old] == meeting.chain_at
        return "welcome" if fits and not self._forked else "forked"

    def _addresses(self) -> dict[str, str]:
        roster, dialled = self._membership.roster, self._config.peers
        return {
            member.name: dialled.get(member.name, member.address)
            for origin, member in roster.members.items()
            if origin in roster.remaining() and member.name != self._membership.name
        }

    async def _meet(self, name: str, address: str, old: int) -> Meeting | None:
        have = self._replicator.engine.vector.get(old, 0)
        link = Link(
            address,
            reconnect_ms=self._config.reconnect_interval_ms,
            keepalive_ms=self._config.peer_timeout_ms,
        )
        try:
            deadline_s = self._config.peer_timeout_ms / 1000
            meeting = await link.meet(self._replicator.hello(), (old, have), deadline_s)
            theirs = decode_roster(meeting.hello.roster)
        except (LinkError, BlockError) as error:
            logger.info("%s at %s does not answer: %s", name, address, error)
            return None
        finally:
            await link.close()
        mine = self._membership.roster
        if theirs.cluster_id != mine.cluster_id or meeting.hello.name != name:
            logger.warning("at %s is another node than %s", address, name)
            return None
        return meeting
