"""Local changes of entries that are no writes: made between rounds, not logged.

Repairs work so. A round reads entries when it is planned and installs them when it is on disk;
a change in between would be lost, so changes wait until no round is running. A crash before the
next checkpoint undoes them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping

from kvnode.core.entry import Entry
from kvnode.core.errors import Reason, Refused
from kvnode.core.hlc import HLC_MAX
from kvnode.core.repair import latest_hlc
from kvnode.core.replica import Durable
from kvnode.storage.memtable import Memtable

Change = Callable[[], Mapping[bytes, Entry]]
"""The entries to install, given the moment it is called at; what it raises its caller gets."""


class Adjustments:
    """Changes that wait for the end of a round."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Change, asyncio.Future[None]]] = deque()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, change: Change) -> asyncio.Future[None]:
        """Queue it; the future is done when it is installed."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((change, done))
        return done

    def make(self, memtable: Memtable, durable: Durable) -> None:
        """No round is running: make them all."""
        while self._waiting:
            change, done = self._waiting.popleft()
            if done.done():
                continue  # the caller has gone
            try:
                entries = change()
                hlc = max(map(latest_hlc, entries.values()), default=0)
                if hlc > HLC_MAX:  # no write could come after it
                    raise Refused(Reason.BAD_REQUEST, "a repair bears a time that no clock gets to")
            except Exception as error:
                done.set_exception(error)
                continue
            durable.hlc = max(durable.hlc, hlc)
            memtable.install(entries, sum(map(len, entries)))
            done.set_result(None)

    def refuse(self, refusal: Exception) -> None:
        """The node stops: make none."""
        while self._waiting:
            done = self._waiting.popleft()[1]
            if not done.done():
                done.set_exception(refusal)
