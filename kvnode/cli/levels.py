"""``--durability``, ``--consistency`` and ``--session``, kept in ``Settings``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from kvnode.cli.options import Settings, TokenType, decode_base64, encode_token
from kvnode.cli.output import note

if TYPE_CHECKING:
    from typing import TypeAlias

    from kvnode.client.levels import Consistency, Durability

    # generic in click's types, but at run time only since click 8.4
    LevelParamType: TypeAlias = click.ParamType[Durability]
else:
    LevelParamType = click.ParamType

CONSISTENCIES: Final = ("local", "session", "quorum", "all")
NEW: Final = "new"
"""A session that has seen nothing yet."""


class DurabilityType(LevelParamType):
    """A level's name, or how many members."""

    name = "level"

    def convert(
        self,
        value: str | int,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Durability:
        """As the client takes it; how many members there may be the client knows."""
        match value:
            case "buffered" | "fsync" | "quorum" | "all":
                return value
            case int():
                return value
            case str() if value.isascii() and value.isdigit():
                return int(value)
        raise click.BadParameter(
            f"{value!r} is not buffered, fsync, quorum, all or a number of nodes", ctx, param
        )


class SessionType(TokenType):
    """What the command before printed, or ``new``."""

    def convert(
        self,
        value: str | bytes,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> bytes:
        """The session's token."""
        if isinstance(value, bytes):
            return value
        if value == NEW:
            return b""
        try:
            token = decode_base64(value.removeprefix("session "))  # as it is printed
        except ValueError:
            token = b""
        if not token:
            self.fail(f"{value!r} is not {NEW}, nor what a command before printed", param, ctx)
        return token


def note_durability(ctx: click.Context, _: click.Parameter, given: Durability | None) -> None:
    """Keep --durability."""
    ctx.ensure_object(Settings).durability = given


def note_consistency(ctx: click.Context, _: click.Parameter, given: Consistency | None) -> None:
    """Keep --consistency."""
    ctx.ensure_object(Settings).consistency = given


def note_session(ctx: click.Context, _: click.Parameter, given: bytes | None) -> None:
    """Keep --session."""
    if given is not None:
        from kvnode.client.sessions import Session

        ctx.ensure_object(Settings).session = Session(given)


durability_option = click.option(
    "--durability",
    type=DurabilityType(),
    metavar="LEVEL",
    expose_value=False,
    callback=note_durability,
    help="Whose disks have the write before it is acknowledged: fsync (that of the node which"
    " takes it), quorum, all, or so many nodes; with buffered nobody's yet.  [default: fsync]",
)

consistency_option = click.option(
    "--consistency",
    type=click.Choice(CONSISTENCIES),
    expose_value=False,
    callback=note_consistency,
    help="What is shown for certain: what the node has, also what the session has seen, what most"
    " nodes had, or what any had.  [default: local, with --session session]",
)

session_option = click.option(
    "--session",
    type=SessionType(),
    metavar="TOKEN",
    expose_value=False,
    callback=note_session,
    help="Come after all that was seen with TOKEN, at any node; 'new' begins. The next TOKEN is"
    " printed to standard error.",
)


def tell_session(settings: Settings) -> None:
    """The token to go on with, if there is a session that has seen something."""
    if settings.session is not None and (token := settings.session.token)[1:]:
        note(f"session {encode_token(token)}")


def stored_text(stored_by: tuple[str, ...]) -> str:
    """Who has a write, if that was asked for."""
    return f"on the disks of {', '.join(stored_by)}" if stored_by else ""
