"""What a last-writer-wins register drops although nobody had decided that it should go.

A register keeps one of two concurrent values; the other is not there any more, on any replica, and
its writer was told that it is stored. It is journalled, so that somebody can put it back. A value
that was overwritten by somebody who had seen it needs no journal: that is what writing is.

When two registers of a key meet in a merge, the loser was concurrent exactly if the winner's
writer had not seen it. Each side hands in what *it* had seen:

- An incoming operation wins. Its block names what its origin had applied when it wrote (deps, and
  all that the origin wrote before): if that does not cover the held dot, the two are concurrent.
- An incoming operation loses. Could the held one's writer have seen it? Then its block depends on
  the incoming one, which would have been applied here before it (no effect before its cause) and
  would not be coming now. So it is never covered by what this replica has seen: always concurrent.
- Two states meet (a snapshot). The side whose register wins had seen the loser, or not. If it had,
  it journalled it itself, if it had to; if not, its writer had not either.

A value that was to expire is journalled with its deadline, whenever that is: what a replica's
clock says then must not decide what is kept. Once it has passed nobody can put the value back.

A tombstone that drops a concurrent value counts, for a value is lost. A dropped tombstone does
not: the key holds what a concurrent writer wanted it to hold.

The journal is a function of the order in which blocks arrive, which differs: where a losing write
and its origin's next write of the key come one after the other, a replica that has the winner
already sees two losers, one that gets the winner last sees only the second (the first was
overwritten by who had seen it). No value that was somebody's last word is missing anywhere.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from kvnode.core.dots import Dot
from kvnode.core.types.lww import Register, deadline


@dataclass(frozen=True, slots=True)
class Loser:
    """A value that lost against a concurrent write of the same register."""

    key: bytes
    value: bytes
    hlc: int
    dot: Dot
    winner_hlc: int
    winner_dot: Dot
    winner_deleted: bool
    """The winner was a delete."""
    deadline: int = 0
    """When the value was to expire (Unix ms); 0: never."""

    @property
    def size(self) -> int:
        """Bytes it takes, about."""
        return len(self.key) + len(self.value) + OVERHEAD_BYTES


OVERHEAD_BYTES = 100
"""Of a row beside key and value."""


def loser_of(
    key: bytes, a: Register, b: Register, seen_a: Container[Dot], seen_b: Container[Dot]
) -> Loser | None:
    """What is lost when these two registers are merged, None if nothing is.

    Args:
        seen_a: what the holder of ``a`` had received, see the module.
        seen_b: the same of ``b``.
    """
    winner, loser, seen = (a, b, seen_a) if a[:3] >= b[:3] else (b, a, seen_b)
    value = loser[3]
    if value is None or loser[:3] == winner[:3] or (loser[1], loser[2]) in seen:
        return None
    return Loser(
        key, value, loser[0], (loser[1], loser[2]), winner[0], (winner[1], winner[2]),
        winner[3] is None, deadline(loser),
    )  # fmt: skip
