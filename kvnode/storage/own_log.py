"""What a directory that is not in use holds of its node's own writes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from kvnode.core.block import Block, decode_block
from kvnode.core.errors import BlockError
from kvnode.core.roster import Roster, decode_roster
from kvnode.storage.interfaces import DamagedBlock, StorageError
from kvnode.storage.tailed_log import TailedLog


class OwnLog:
    """The own blocks of one version directory (``DIR/v1`` or ``DIR/aside-N``)."""

    def __init__(self, folder: Path) -> None:
        """Read them all; StorageError if the folder is none, or damaged."""
        self.problems: list[str] = []
        """Blocks that cannot be read, one line each."""
        try:
            identity = json.loads((folder / "identity.json").read_text())
            origins = [int(text, 16) for text in (*identity["retired"], identity["origin"])]
            self.inherited = [int(text, 16) for text in identity.get("inherited", ())]
            """Origins of others whose lost history this node has to issue again, too."""
            store = int(identity["store"], 16)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StorageError(f"{folder} is no part of a data directory: {error}") from error
        log = TailedLog(folder / "log", store)
        try:
            raw = log.get_record(b"roster")
            self.roster: Roster | None = decode_roster(raw) if raw else None
            contested = self.roster.stands.keys() if self.roster else ()
            self.histories = self._read(log, {*origins, *contested})
            """Blocks of its own origins and of the contested ones, in the order they arrived."""
        except BlockError as error:
            raise StorageError(f"{folder}: {error}") from error
        finally:
            log.close(as_it_is=True)
        found = {block.origin for block in self.histories}
        wrote = [origin for origin in origins if origin in found]
        self.origin = wrote[-1] if wrote else origins[-1]
        """The last origin it wrote under."""
        self.blocks = [block for block in self.histories if block.origin == self.origin]
        """Its blocks, oldest first, as far as the log goes back."""
        known = [one for one in origins if self.roster and one in self.roster.members]
        self.member = known[-1] if known else self.origin
        """The last of its origins that the cluster knew: of those before it has copies only."""

    @property
    def agreed(self) -> int:
        """The last of these writes that the cluster has, as far as this directory knows."""
        if self.roster is None or self.origin not in self.roster.forgets:
            return 0
        return self.roster.limit(self.origin)

    def _read(self, log: TailedLog, origins: set[int]) -> list[Block]:
        found = []
        for arrival, raw in self._readable(log):
            try:
                block = decode_block(raw)
            except BlockError as error:
                self.problems.append(f"block {arrival} cannot be read: {error}")
                continue
            if block.origin in origins:
                found.append(block)
        return found

    def _readable(self, log: TailedLog) -> Iterator[tuple[int, bytes]]:
        """All blocks but the damaged ones."""
        arrival = log.first_arrival - 1
        while arrival < log.last_arrival:
            try:
                for arrival, raw in log.replay(arrival):  # noqa: B020 - goes on behind the last
                    yield arrival, raw
            except DamagedBlock as damage:
                self.problems.append(str(damage))
                arrival += 1
