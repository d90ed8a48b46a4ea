"""The registry of data types: one module per type, one table for all.

A *state* is an immutable value (plain tuples and dicts, never changed in place), so a checkpoint
can encode it while the next commit replaces it. A type module gives

==================================  ===============================================================
``ID``, ``NAME``                    number in log and state (never changes); name for people
``EMPTY``                           the state before any write
``delta(op, origin, seq, hlc)``     the small state that one logged operation stands for; raises
                                    ``BlockError`` if ``op`` is not well formed
``merge(a, b, seen_a, seen_b)``     join of two states; ``seen`` is what each side's holder has
                                    received, for types that delete without tombstones
``visible(state, now)``             whether a reader sees anything at wall time ``now``
``context(state)``                  what a reader saw, in plain msgpack values
``encode(state)``, ``decode(raw)``  canonical plain msgpack values and back
``deadlines(state)``                (deadline, dot) of each value that expires
``garbage(state, past)``            dots of deletes whose remains are in the state, and of values
                                    that expired at ``past`` or before: they can go when these are
                                    causally stable (``core/stability.py``)
``collect(state, stable, past)``    the state without those of them that are stable
``live(state, past)``               normal form for digests: plain msgpack values without anything
                                    that collection may have removed elsewhere; None if nothing
==================================  ===============================================================

Times are Unix milliseconds. A value may bear a *deadline*, an absolute time that belongs to the
write that stored it and is never merged with another's: "the longest wins" would depend on who
arrives first, and on what was collected meanwhile. At its deadline a value has expired.

and mutators that return a logged operation ``[ID, key, ...]``. There is one merge for deltas,
for states, and for a node's own writes. A new type is a new module and a line here.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any, Protocol

from kvnode.core.dots import Dot, Vector
from kvnode.core.types import gcounter, lww, pncounter, siblings

G_COUNTER = gcounter.ID
PN_COUNTER = pncounter.ID
LWW_REGISTER = lww.ID
SIBLINGS = siblings.ID
COUNTERS = (G_COUNTER, PN_COUNTER)

State = Any
"""Of the type in question; each module names its own."""


class DataType(Protocol):
    """What a type module gives (see above)."""

    ID: int
    NAME: str
    EMPTY: Any

    def delta(self, op: list[Any], origin: int, seq: int, hlc: int) -> State: ...
    def merge(
        self, a: State, b: State, seen_a: Container[Dot], seen_b: Container[Dot]
    ) -> State: ...
    def visible(self, state: State, now: int) -> bool: ...
    def context(self, state: State) -> Any: ...
    def encode(self, state: State) -> Any: ...
    def decode(self, raw: Any) -> State: ...
    def deadlines(self, state: State) -> list[tuple[int, Dot]]: ...
    def garbage(self, state: State, past: int) -> list[Dot]: ...
    def collect(self, state: State, stable: Vector, past: int) -> State: ...
    def live(self, state: State, past: int) -> Any: ...


TYPES: dict[int, DataType] = {module.ID: module for module in (gcounter, pncounter, lww, siblings)}
NAMES: dict[int, str] = {number: kind.NAME for number, kind in TYPES.items()}
