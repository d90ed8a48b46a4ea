"""Coming back under a new identity, after the data directory was copied or put back.

The directory has a new origin already (``storage/directory.py``). Before it takes the old one's
place, every member has to answer (it could not join without them anyway) and say two things:

- *Is the old one running?* Then this is a copy of a running node's directory. Members hear of a
  stopped process until they time out, so it is believed only after a while. A node that is known
  to have written on another branch is not called a copy: what it wrote must not be thrown away.
- *Is what is here under the old origin a part of what the cluster has, or the other way round?*
  The chain value where the shorter of the two ends tells. If so, the new identity joins with all
  it has; its own older writes, if some are missing here, come back with everything else. If not,
  this directory wrote under the old origin while another did. Its history is the losing one: it is
  set aside, the node begins anew, empty, and then issues again what only it had (``reissue.py``).
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Literal

from kvnode.core.errors import BlockError
from kvnode.core.report import Meeting
from kvnode.core.roster import decode_roster
from kvnode.rpc.link import LinkError

if TYPE_CHECKING:
    from kvnode.node.replicator import Replicator

logger = logging.getLogger(__name__)
Verdict = Literal["welcome", "running", "forked", "forgotten"]


class Returning:
    """Asks the members until all have answered."""

    def __init__(self, replicator: Replicator, *, forked: bool, pristine: bool) -> None:
        """What is known of the directory.

        Args:
            forked: a member has already said that it has another history.
            pristine: nothing was written since it was copied, so it cannot have forked. That
                decides where a member has forgotten the chain value (``Log.prune``).
        """
        self._replicator = replicator
        self._membership = replicator.membership
        self._config = replicator.engine.config
        self._monotonic = replicator.engine.ambient.monotonic
        self._forked = forked
        self._pristine = pristine

    async def ask(self) -> Verdict:
        """What the members say; waits for all that were not forgotten."""
        old = self._membership.returning_from
        patience_s = 3 * self._config.peer_timeout_ms / 1000
        running_until = self._monotonic() + patience_s
        forgotten: set[int] = set()
        while True:
            asked = self._members(forgotten)
            if not asked:
                return "welcome"
            answers = {origin: await self._meet(origin, old) for origin in asked}
            meetings = [meeting for meeting in answers.values() if meeting]
            for meeting in meetings:
                forgotten |= decode_roster(meeting.hello.roster).forgets.keys()
            silent = [asked[origin] for origin, meeting in answers.items() if not meeting]
            if old in forgotten:
                return "forgotten"
            if any(meeting.running for meeting in meetings) and not self._forked:
                self._membership.problem = "the node this directory was copied from is running"
                if self._monotonic() > running_until:
                    return "running"
            elif silent:
                running_until = self._monotonic() + patience_s
                self._membership.problem = f"no answer from {', '.join(silent)}: every member " + (
                    "has to say that this node does not run elsewhere (or kvnode forget it)"
                )
            else:
                self._membership.problem = ""
                return "welcome" if all(self._fits(one, old) for one in meetings) else "forked"
            await asyncio.sleep(self._config.reconnect_interval_ms / 1000)

    def _fits(self, meeting: Meeting, old: int) -> bool:
        """Whether one of the two histories of the old origin is a part of the other."""
        if self._forked:
            return False
        replica = self._replicator.engine.replica
        have = replica.durable.vector.get(old, 0)
        if meeting.seq <= have:
            if not meeting.seq:
                return True
            mine, theirs = replica.chain_at((old, meeting.seq)) or b"", meeting.chain
        else:
            if not have:
                return True
            mine, theirs = replica.durable.chains[old], meeting.chain_at
        return mine == theirs or (self._pristine and not (mine and theirs))

    def _members(self, forgotten: set[int]) -> dict[int, str]:
        """Origin -> name of the members that have to answer."""
        roster = self._membership.roster
        return {
            origin: roster.members[origin].name
            for origin in roster.remaining()
            if origin not in forgotten and roster.members[origin].name != self._membership.name
        }

    async def _meet(self, member: int, old: int) -> Meeting | None:
        name = self._membership.roster.members[member].name
        address = self._config.peers.get(name, self._membership.roster.members[member].address)
        have = self._replicator.engine.vector.get(old, 0)
        link = self._replicator.connections.open_link(address)
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
