"""One value of several: what a caller's resolver makes of a conflict."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from kvnode.client.values import Absent, Conflict, ConflictError, Value, absence

Resolver = Callable[[Conflict], bytes | str]
"""Makes one value of the several of a conflict; see ``kvnode.resolvers``."""


class Missing:
    """What stands where no default was given; ``help`` shows it."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Short, and nothing that one could pass."""
        return "<none>"


MISSING: Final[Any] = Missing()
DefaultT = TypeVar("DefaultT")


def wanted(state: Value | Conflict | Absent, default: Any, resolve: Resolver | None) -> Any:
    """What a caller of ``get`` gets for a state; KeyNotFound if that is none and no default."""
    if isinstance(state, Absent):
        if default is MISSING:
            raise absence(state)
        return default
    return state if resolve is None else resolved(state, resolve)


def check_resolver(resolve: object) -> None:
    """TypeError if it cannot be one: at the first call, and not at the first conflict."""
    if resolve is not None and not callable(resolve):
        raise TypeError(f"resolve is a function, such as kvnode.resolvers.latest, not {resolve!r}")


def resolved(state: Value | Conflict, resolve: Resolver | None) -> Value:
    """The value; in a conflict what the caller's function makes of it, ConflictError without."""
    if isinstance(state, Value):
        return state
    if resolve is None:
        raise ConflictError(state)
    made = resolve(state)
    if not isinstance(made, (bytes, str)):
        hint = " (resolvers.union() with parentheses?)" if callable(made) else ""
        raise TypeError(f"a resolver returns bytes or str, not {type(made).__name__}{hint}")
    return Value(
        state.key,
        state.context,
        state.g_counter,
        state.pn_counter,
        state.register,
        state.siblings,
        state.freshness,
        made.encode() if isinstance(made, str) else made,
    )
