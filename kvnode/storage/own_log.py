"""What a directory that is not in use holds of its node's own writes."""

from __future__ import annotations

import json
from pathlib import Path

from kvnode.core.block import Block, decode_block
from kvnode.core.errors import BlockError
from kvnode.core.roster import Roster, decode_roster
from kvnode.storage.interfaces import StorageError
from kvnode.storage.log import LmdbLog


class OwnLog:
    """The own blocks of one version directory (``DIR/v1`` or ``DIR/aside-N``)."""

    def __init__(self, folder: Path) -> None:
        """Read them all; StorageError if the folder is none, or damaged."""
        self.problems: list[str] = []
        """Blocks that cannot be read, one line each."""
        try:
            identity = json.loads((folder / "identity.json").read_text())
            origins = [int(text, 16) for text in (*identity["retired"], identity["origin"])]
            store = int(identity["store"], 16)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StorageError(f"{folder} is no part of a data directory: {error}") from error
        log = LmdbLog(folder / "log", store)
        try:
            raw = log.get_record(b"roster")
            self.roster: Roster | None = decode_roster(raw) if raw else None
            found = self._read(log, origins)
        except BlockError as error:
            raise StorageError(f"{folder}: {error}") from error
        finally:
            log.close()
        wrote = [origin for origin in origins if found[origin]]
        self.origin = wrote[-1] if wrote else origins[-1]
        """The last origin it wrote under."""
        self.blocks = found[self.origin]
        """Its blocks, oldest first, as far as the log goes back."""

    @property
    def agreed(self) -> int:
        """The last of these writes that the cluster has, as far as this directory knows."""
        if self.roster is None or self.origin not in self.roster.forgets:
            return 0
        return self.roster.limit(self.origin)

    def _read(self, log: LmdbLog, origins: list[int]) -> dict[int, list[Block]]:
        found: dict[int, list[Block]] = {origin: [] for origin in origins}
        for arrival, raw in log.replay(log.first_arrival - 1):
            try:
                block = decode_block(raw)
            except BlockError as error:
                self.problems.append(f"block {arrival} cannot be read: {error}")
                continue
            if block.origin in found:
                found[block.origin].append(block)
        return found
