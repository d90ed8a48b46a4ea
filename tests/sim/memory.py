"""A data directory in memory, for the seeds that run over the in-memory log and state.

What a crash leaves is what was written: the twins' ``append`` and ``save`` are durable when they
return. There are no files in it to copy, so plans over it restore and clone nothing. Copying the
twins would not be enough for that: a directory that is set aside is read again as files
(``node/reissuing.py``), and so is its identity. As staging a snapshot takes files too, these plans
keep their logs whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kvnode.storage.directory import Identity
from kvnode.storage.memory import MemoryLog, MemoryState
from kvnode.storage.soundness import Found


@dataclass(slots=True)
class Disk:
    """What stays when a process dies."""

    log: MemoryLog
    state: MemoryState
    identity: Identity


class MemoryDirectory:
    """As ``storage.directory.DataDirectory``, opened."""

    def __init__(self, disk: Disk, path: Path, draw: Callable[[int], bytes]) -> None:
        self.path = path
        self._disk = disk
        self._draw = draw

    @classmethod
    def made(cls, cluster: str, name: str, draw: Callable[[int], bytes]) -> Disk:
        """A new one."""
        identity = Identity(cluster, name, draw(8).hex(), _mint(draw), 0, "")
        return Disk(MemoryLog(), MemoryState(), identity)

    @property
    def log(self) -> MemoryLog:
        """Of blocks."""
        return self._disk.log

    @property
    def state(self) -> MemoryState:
        """The last checkpoint."""
        return self._disk.state

    @property
    def identity(self) -> Identity:
        """Who writes here."""
        return self._disk.identity

    def mint_anew(
        self, *, forked: bool, pristine: bool = False, inherited: Sequence[int] = ()
    ) -> None:
        """Retire the origin."""
        old = self.identity
        self._disk.identity = replace(
            old,
            origin=_mint(self._draw),
            retired=(*old.retired, old.origin),
            forked=forked,
            pristine=pristine,
            inherited=(*old.inherited, *(f"{origin:016x}" for origin in inherited)),
        )

    def settled(self) -> None:
        """The cluster knows the new origin."""
        self._disk.identity = replace(self.identity, forked=False, pristine=False)

    def mark_copy(self) -> None:
        """Never use it again."""
        raise AssertionError("nothing copies a directory in memory")

    def reissued(self, left: str = "") -> None:  # noqa: ARG002 - nothing is
        """Nothing is set aside."""
        raise AssertionError("nothing is set aside in memory")

    def set_aside(self) -> Path:
        """Begin anew."""
        raise AssertionError("without copies there are no forks")

    def look(self) -> Found:
        """Nothing is ever damaged."""
        return Found()

    def stop_looking(self) -> None:
        """Nothing runs."""

    def suspect(self) -> None:
        """Nothing is."""

    def close(self, failure: BaseException | None = None) -> None:
        """Nothing is open."""


def _mint(draw: Callable[[int], bytes]) -> str:
    return f"{int.from_bytes(draw(8), 'big') or 1:016x}"
