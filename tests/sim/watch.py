"""What nodes log during a run: counted as paths that were taken, and told in the trace."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from tests.sim.loop import PROCESS

if TYPE_CHECKING:
    from tests.sim.world import World

PATHS = {
    "a snapshot at arrival": "path: snapshot made",
    "the snapshot of %s is merged": "path: snapshot merged",
    "snapshot of %s: going on": "path: snapshot resumed",
    "the snapshot of %s was interrupted": "path: snapshot interrupted",
    "the snapshot of %s is given up": "path: snapshot given up",
    "peer %s connected": "path: push stream opened",
    "snapshot of %s: about": "path: snapshot begun",
    "quarantined block": "path: block quarantined",
    "a good copy of block": "path: quarantine settled",
    "issued again": "path: writes issued again",
    "the old data directory": "path: directory set aside",
    "no more calls are taken": "path: identity lost",
    "checkpoint put off": "path: checkpoint put off",
    "the roster cannot be written": "path: roster put off",
    "the log cannot be cut": "path: log cut put off",
    "the log reached log_bytes_max": "path: log cut over a member's head",
    "writes are refused from now on": "path: own origin fenced",
    "the cluster knows %r under another": "path: node displaced",
}
UNHEARD_OF = ("bug in the handling", "has other data under the same")
"""What no node should ever have to say."""


class Watch(logging.Handler):
    """See the module."""

    def __init__(self, world: World, *, traced: bool) -> None:
        super().__init__(logging.INFO)
        self._world = world
        self._traced = traced
        self._known: dict[str, str] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Count and tell."""
        template = str(record.msg)
        path = self._known.get(template)
        if path is None:
            found = [path for start, path in PATHS.items() if template.startswith(start)]
            path = self._known[template] = found[0] if found else ""
        if path:
            self._world.counts[path] += 1
        process = PROCESS.get()
        who = process.name if process else "?"
        if template.startswith("this node is %s now") and record.args:
            self._world.counts[f"path: {record.args[0]} now"] += 1  # type: ignore[index]
        if any(start in template for start in UNHEARD_OF):
            error = f": {record.exc_info[1]!r}" if record.exc_info else ""
            self._world.finding("log", f"{who}: {record.getMessage()}{error}")
        elif self._traced:
            self._world.tell(who, f"{record.levelname}: {record.getMessage()}")

    def uncaught(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An exception that nobody took."""
        error = context.get("exception")
        if not self._world.over and error is not None:
            self._world.crashed(f"uncaught ({context.get('message')})", error)
