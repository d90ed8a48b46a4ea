"""What the calls of one client have in common."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from kvnode.client.levels import Consistency, Durability, checked_consistency, checked_durability
from kvnode.client.operations import refuse
from kvnode.client.sessions import Session
from kvnode.core.errors import Reason

DEFAULT_ENDPOINT: Final = "127.0.0.1:7080"
DEFAULT_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What a client's calls have in common."""

    timeout_s: float
    durability: Durability
    consistency: Consistency
    session: Session | None


def settings_of(
    timeout_s: float,
    durability: Durability,
    consistency: Consistency | None,
    session: Session | bool,  # noqa: FBT001 - the clients take it by name
) -> Settings:
    """Checked; ``consistency`` is by default what the session asks for, if there is one."""
    kept = Session() if session is True else session or None
    level = consistency or ("session" if kept else "local")
    return Settings(
        checked_timeout_s(timeout_s),
        checked_durability(durability),
        checked_consistency(level, in_session=kept is not None),
        kept,
    )


def checked_timeout_s(timeout_s: float) -> float:
    """Seconds that end."""
    if not (timeout_s > 0 and math.isfinite(timeout_s)):
        raise refuse(Reason.BAD_REQUEST, f"timeout_s {timeout_s} is not a positive number")
    return timeout_s
