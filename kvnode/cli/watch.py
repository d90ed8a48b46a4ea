"""``watch``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import click

from kvnode.cli.interrupts import EXIT_INTERRUPTED, ended_by_interrupt
from kvnode.cli.options import (
    Settings,
    connection_options,
    decode_base64,
    encode_token,
    key_base64_option,
    pass_settings,
    prefix_of_keys,
)
from kvnode.cli.output import escaped, note, write_json, write_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kvnode.client.changes import Change, Step

PATIENCE_S: Final = 30.0
FROM_THE_BEGINNING: Final = "beginning"


@click.command()
@prefix_of_keys
@click.option(
    "--since",
    metavar="TOKEN",
    help="Go on behind this token, of --json; 'beginning': first all keys that are there.",
)
@key_base64_option
@connection_options(
    timeout_help=f"Here: how long no node may answer.  [default: {PATIENCE_S:g}]",
)
@pass_settings
def watch(settings: Settings, *, prefix: bytes, since: str | None) -> int:
    """Print changes of keys as they come.

    Of all keys, or of those that begin with PREFIX. From now on, or from where another watch of
    the same prefix ended. It goes on at the next endpoint when one is gone, until Ctrl-C; then it
    says the token to go on from. While no node answers, standard error says so.

    A line shows what was done to a key (there, put, incremented, deleted) and each of its values
    as it is now: WHAT, KEY, TYPE and VALUE separated by tabs and escaped as 'kvnode --help' says,
    and TYPE '-' if the key is absent. A terminal gets the beginning of a long value. --json gives
    one JSON object for all that belongs together: its changes, the token behind it, and whether
    everything the node has was told. What is no write is not told: a value that expires.

    \b
    Examples:
      kvnode watch
      kvnode watch cart/ --since beginning
      kvnode watch cart/ --json
      kvnode watch cart/ --since AZOSzw --json
    """
    from kvnode.client.settings import DEFAULT_ENDPOINT
    from kvnode.client.watching import BEGINNING, Watch

    given = None if since is None else BEGINNING if since == FROM_THE_BEGINNING else token(since)
    following = Watch(
        settings.endpoints or DEFAULT_ENDPOINT,
        prefix=prefix,
        since=given,
        patience_s=settings.timeout_s if settings.timeout_given else PATIENCE_S,
        on_waiting=lambda whom: note(f"waiting for {whom}"),
        tls=settings.tls,
    )
    told, insisted = following.token, False
    try:
        with following, ended_by_interrupt(following.close):
            for step in following.steps():
                tell(settings, step)
                told = step.token
    except KeyboardInterrupt:
        insisted = True
    if told:  # a step that was told in part will be told again
        note(f"token {encode_token(told)}")
    if insisted:  # at its end the interpreter would write what nobody reads
        os._exit(EXIT_INTERRUPTED)
    return EXIT_INTERRUPTED


def token(text: str) -> bytes:
    """The bytes of a token; InvalidArgument if it cannot be one."""
    from kvnode.core.errors import Reason
    from kvnode.errors import InvalidArgument

    try:
        found = decode_base64(text)
    except ValueError:
        found = b""
    if not found:
        raise InvalidArgument(
            f"token {text!r} is not base64url; take it from 'kvnode watch --json'",
            reason=Reason.BAD_TOKEN,
        )
    return found


def tell(settings: Settings, step: Step) -> None:
    """A step as lines, or as one JSON object."""
    if settings.json:
        write_json(
            {
                "changes": [change_object(change) for change in step.changes],
                "current": step.current,
                "token": encode_token(step.token),
            }
        )
        return
    for change in step.changes:
        for line in change_lines(change):
            write_line(line)


def change_object(change: Change) -> dict[str, object]:
    """A change for JSON."""
    from kvnode.cli.states import state_object, type_name

    return {
        **state_object(change.state),
        "writes": [
            {
                "dot": str(write.dot),
                "type": type_name(write.type),
                "kind": write.kind.name.lower(),
            }
            for write in change.writes
        ],
    }


def change_lines(change: Change) -> Iterator[str]:
    """A line for each value, or one that says that there is none."""
    from kvnode.cli.reading import listing_lines

    what = done(change)
    if not change.state.visible:
        yield f"{what}\t{escaped(change.key)}\t-\t"
    for line in listing_lines(change.state):
        yield f"{what}\t{line}"


def done(change: Change) -> str:
    """What the last write did."""
    words = {"PUT": "put", "INCREMENT": "incremented", "DELETE": "deleted"}
    return words[change.writes[-1].kind.name] if change.writes else "there"
