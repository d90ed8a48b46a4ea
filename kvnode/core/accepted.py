"""What a replica answers to a request it has carried out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kvnode.core.errors import Refused


@dataclass(slots=True)
class Accepted:
    """What became of a request: operation i has dot ``(origin, first_seq + i)``."""

    origin: int
    first_seq: int
    hlc: int
    """Tick of the first operation; 0 when ``repeated``."""
    counters: list[int | None]
    """Of each operation, the sum after it if it was an increment.

    Empty when ``repeated``, and of ``Puts``.
    """
    repeated: bool = False
    each: Sequence[Accepted | Refused] = ()
    """Of requests that came together, if not all of them were carried out now: what became of each.
    Nothing else counts then."""
