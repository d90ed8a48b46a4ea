"""What the calls of one client have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from kvnode.client.levels import Consistency, Durability, checked_consistency, checked_durability
from kvnode.client.operations import refuse
from kvnode.client.sessions import Session
from kvnode.core.errors import Reason

DEFAULT_ENDPOINT: Final = "127.0.0.1:7080"
DEFAULT_TIMEOUT_S: Final = 5.0
TIMEOUT_S_MAX: Final = 24 * 3600
"""A day. A deadline beyond what gRPC can count never comes, and with it no error would."""

PATIENCE_S: Final = 30.0
"""How long no endpoint may tell a watch of anything."""
HEARTBEAT_S: Final = 5.0
"""How often a node is to give a watch a sign of life."""
HEARTBEAT_S_MIN: Final = 0.1
HEARTBEAT_S_MAX: Final = 60.0


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
    seconds(timeout_s, "timeout_s")
    if not 0 < timeout_s <= TIMEOUT_S_MAX:
        raise refuse(
            Reason.BAD_REQUEST, f"timeout_s {timeout_s} is not a positive number up to a day"
        )
    return timeout_s


def positive_s(value: float, name: str) -> float:
    """Seconds that a watch waits; more than none."""
    if not seconds(value, name) > 0:
        raise refuse(Reason.BAD_REQUEST, f"{name} {value} is not positive")
    return value


def checked_heartbeat_s(heartbeat_s: float) -> float:
    """As a node takes it: with none it would take its own, and seem to be silent."""
    if not HEARTBEAT_S_MIN <= seconds(heartbeat_s, "heartbeat_s") <= HEARTBEAT_S_MAX:
        limits = f"{HEARTBEAT_S_MIN:g} to {HEARTBEAT_S_MAX:g}"
        raise refuse(Reason.BAD_REQUEST, f"heartbeat_s {heartbeat_s} is not in {limits}")
    return heartbeat_s


def seconds(value: float, name: str) -> float:
    """A number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise refuse(Reason.BAD_REQUEST, f"{name} {value!r} is not a number of seconds")
    return value
