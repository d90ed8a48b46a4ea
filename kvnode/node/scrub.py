"""A node's data is looked at while it runs: soon after the start, and then now and then.

A start looks at nothing that it does not need, unless there is a reason (``storage/ending.py``).
What is damaged and was not asked for is found here (``storage/soundness.py``): damaged entries are
logged and in the status until a look finds none; files that cannot be used stop the node, and its
next start looks first and says so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from kvnode.config import Config
from kvnode.node.ambient import Ambient
from kvnode.storage.directory import DataDirectory
from kvnode.storage.interfaces import StorageError
from kvnode.storage.soundness import Found, Undecided

logger = logging.getLogger(__name__)
FIRST_SPREAD = 3.0
"""The first look begins up to so many times as late as it may."""


class Scrub:
    """See the module."""

    def __init__(
        self,
        config: Config,
        ambient: Ambient,
        directory: DataDirectory,
        fail: Callable[[BaseException], None],
    ) -> None:
        """``fail``: the node cannot go on."""
        self.looks = 0
        """That came to an end, since the start."""
        self._config = config
        self._ambient = ambient
        self._directory = directory
        self._fail = fail
        self._found = Found()
        self._looking: asyncio.Future[Found] | None = None

    @property
    def begun(self) -> bool:
        """Whether any look has begun."""
        return self._looking is not None

    def problem(self) -> str:
        """For the status; empty if nothing was found."""
        damaged = self._found.damaged
        return f"{damaged} stored entries fail their checksum: run kvnode repair" if damaged else ""

    async def run(self) -> None:
        """Look, until cancelled or until something is found that ends the node."""
        # members that were started together, on one machine maybe, are not to look together
        spread = self._ambient.chance.uniform(1.0, FIRST_SPREAD)
        await asyncio.sleep(self._config.scrub_first_ms / 1000 * spread)
        while True:
            try:
                await self._look()
            except Undecided as error:
                logger.warning("whether the stored data is whole could not be told: %s", error)
            except StorageError as error:
                self._fail(error)
                return
            await asyncio.sleep(self._config.scrub_interval_s)

    async def _look(self) -> None:
        self._looking = asyncio.ensure_future(self._ambient.in_thread(self._directory.look))
        self._found = await asyncio.shield(self._looking)
        self.looks += 1

    async def close(self) -> None:
        """Return when no look runs any more."""
        self._directory.stop_looking()
        if self._looking is not None:
            await asyncio.wait((self._looking,))
            self._looking.exception()
