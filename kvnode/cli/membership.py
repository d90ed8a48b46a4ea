"""``members``, ``join``, ``replace``, ``forget`` and ``leave``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol

import click

from kvnode.cli.options import Settings, connection_options, pass_settings
from kvnode.cli.output import write_json, write_line
from kvnode.cli.tables import write_table

if TYPE_CHECKING:
    from kvnode.client.operator import Operator
    from kvnode.v1 import membership_pb2

LEAVE_TIMEOUT_S = 90.0
"""A node that leaves gives the others a minute to take over what it has."""


class Change(Protocol):
    """A call that can be previewed."""

    def __call__(self, *, preview: bool) -> membership_pb2.ChangeResponse: ...


yes_option = click.option("--yes", is_flag=True, help="Do not ask; for scripts.")
preview_option = click.option("--preview", is_flag=True, help="Say what would happen, and stop.")


class NewNode(click.ParamType[tuple[str, str]]):
    """NAME=HOST:PORT."""

    name = "NAME=HOST:PORT"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """The name and the address."""
        name, equals, address = str(value).partition("=")
        if not (name and equals and ":" in address):
            self.fail(f"{value!r} is no NAME=HOST:PORT", param, ctx)
        return name, address


@click.command()
@connection_options()
@pass_settings
def members(settings: Settings) -> None:
    """Show who belongs to the cluster.

    \b
    Examples:
      kvnode members
      kvnode members --json
    """
    with _operator(settings) as operator:
        found = operator.members()
    if settings.json:
        from kvnode.cli.messages import message_object

        write_json(message_object(found))
        return
    rows = [_row(member) for member in found.members]
    columns = ("node", "origin", "address", "place", "waits for")
    write_table(columns, rows)
    for name in found.unmet:
        write_line(f"{name} was never met: until it is, nothing deleted is collected")
    if found.waits:
        write_line(f"{found.name} is {found.place}: {found.waits}")


@click.command()
@click.argument("node", type=NewNode())
@yes_option
@preview_option
@connection_options()
@pass_settings
def join(settings: Settings, *, node: tuple[str, str], yes: bool, preview: bool) -> None:
    """Take a new node into the cluster.

    NODE is its NAME=HOST:PORT. It has to run with `kvnode serve --join`, the name of this
    cluster and a new data directory. The endpoint is any member.

    \b
    Examples:
      kvnode serve --join --cluster fleet --name d --listen 10.0.0.4:7080
      kvnode join d=10.0.0.4:7080 -e 10.0.0.1:7080
      kvnode join d=10.0.0.4:7080 --yes
      kvnode members -e 10.0.0.1:7080
    """
    _change(
        settings,
        lambda operator: partial(operator.join, *node),
        yes=yes,
        preview=preview,
    )


@click.command()
@click.argument("name")
@click.option("--address", metavar="HOST:PORT", default="", help="If it is not the old one's.")
@yes_option
@preview_option
@connection_options()
@pass_settings
def replace(settings: Settings, *, name: str, address: str, yes: bool, preview: bool) -> None:
    """Replace a member that lost its data.

    A new node takes the place of member NAME. The new one has to run under the same name with a
    new data directory; if its configuration names the others it finds by itself that it is to
    wait for this.

    \b
    Examples:
      kvnode replace c
      kvnode replace c --address 10.0.0.9:7080 --yes
    """
    _change(
        settings,
        lambda operator: partial(operator.replace, name, address),
        yes=yes,
        preview=preview,
    )


@click.command()
@click.argument("name")
@yes_option
@preview_option
@connection_options()
@pass_settings
def forget(settings: Settings, *, name: str, yes: bool, preview: bool) -> None:
    """Forget a member, for good.

    Nothing more is taken from NAME. For a node that will not come back. What it wrote and told
    nobody is lost to the cluster; if its disk is still there, `kvnode export` finds it. If the
    node still works, use leave.

    \b
    Examples:
      kvnode forget c --preview
      kvnode forget c --yes
    """
    _change(
        settings,
        lambda operator: partial(operator.forget, name),
        yes=yes,
        preview=preview,
    )


@click.command()
@yes_option
@preview_option
@connection_options()
@pass_settings
def leave(settings: Settings, *, yes: bool, preview: bool) -> None:
    """Leave the cluster: the asked node.

    It hands over all it has first, and takes no calls from then on.

    \b
    Examples:
      kvnode leave -e 10.0.0.4:7080
      kvnode leave --preview
    """
    settings.timeout_s = max(settings.timeout_s, LEAVE_TIMEOUT_S)
    _change(
        settings,
        lambda operator: operator.leave,
        yes=yes,
        preview=preview,
    )


def _change(
    settings: Settings,
    call: Callable[[Operator], Change],
    *,
    yes: bool,
    preview: bool,
) -> None:
    """Preview, confirm, do."""
    with _operator(settings) as operator:
        change = call(operator)
        if not yes or preview:
            plan = change(preview=True)
            if not settings.json or not preview:
                for line in plan.lines:
                    write_line(line)
            if preview:
                if settings.json:
                    write_json({"lines": list(plan.lines), "done": False})
                return
            if not sys.stdin.isatty():
                raise click.UsageError("nobody can be asked here: add --yes, or --preview")
            click.confirm("Do it?", abort=True)
        done = change(preview=False)
    if settings.json:
        write_json({"lines": list(done.lines), "done": done.done})
        return
    if yes:
        for line in done.lines:
            write_line(line)
    write_line("done; see kvnode members for how far it is")


def _operator(settings: Settings) -> Operator:
    from kvnode.client.operator import Operator
    from kvnode.client.settings import DEFAULT_ENDPOINT

    return Operator(
        settings.endpoints or DEFAULT_ENDPOINT, timeout_s=settings.timeout_s, tls=settings.tls
    )


def _row(member: membership_pb2.MemberStatus) -> tuple[str, ...]:
    waits = ", ".join(member.waits_for)
    if member.place == "forgotten" and not member.complete:
        waits = waits or f"its writes up to {member.limit}"
    return (member.name, f"{member.origin:016x}", member.address, member.place, waits)
