"""``verify`` and ``repair``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from kvnode.cli.options import (
    KEY,
    Settings,
    connection_options,
    key_base64_option,
    pass_settings,
    prefix_of_keys,
)
from kvnode.cli.output import cut, escaped, note, write_line
from kvnode.cli.tables import write_table

if TYPE_CHECKING:
    from kvnode.v1 import verify_pb2

EXIT_DIFFERENT: Final = 11
EXIT_UNKNOWN: Final = 12
VERIFY_S: Final = 20.0
REPAIR_S: Final = 60.0


@click.command()
@prefix_of_keys
@click.option(
    "--full", is_flag=True, help="Let every node read all it has stored first, to find damage."
)
@key_base64_option
@connection_options(timeout_help=f"[default: {VERIFY_S:g}]")
@pass_settings
def verify(settings: Settings, *, prefix: bytes, full: bool) -> int:
    """Prove that all nodes hold the same.

    The node compares its live data, with PREFIX that of the keys that begin with it, with each of
    its peers, and shows the keys that differ. While writes come, version vectors are never equal:
    it goes on for --timeout seconds, and only what no write on its way explains counts as a
    difference. Digests are kept with every checkpoint, so this costs little however much is stored;
    what a disk has changed since is found by --full.

    \b
    Exit codes: 0 all equal at one version vector; 11 keys differ or are damaged, see
    'kvnode repair'; 12 could not tell: a node did not answer, or writes kept coming and
    explain all that was found.

    \b
    Examples:
      kvnode verify
      kvnode verify user: --timeout 60
      kvnode verify --full --json
    """
    deadline_s = settings.timeout_s if settings.timeout_given else VERIFY_S
    last = None
    with settings.client() as client:
        for reply in client.admin.verify(prefix=prefix, deadline_s=deadline_s, full=full):
            if reply.progress:
                tell(settings, reply.progress)
            last = reply
    if last is None or not last.members:
        raise click.ClickException("the node ended the comparison without a verdict; try again")
    if settings.json:
        from kvnode.cli.messages import message_object
        from kvnode.cli.output import write_json

        write_json(message_object(last))
    else:
        write_verdict(last)
    return exit_code(last)


def exit_code(found: verify_pb2.VerifyReply) -> int:
    """0, or what the help says."""
    from kvnode.v1 import verify_pb2

    match found.verdict:
        case verify_pb2.VERDICT_EQUAL:
            return 0
        case verify_pb2.VERDICT_DIFFERENT:
            return EXIT_DIFFERENT
        case _:
            return EXIT_UNKNOWN


def write_verdict(found: verify_pb2.VerifyReply) -> None:
    """For people."""
    from kvnode.cli.messages import dot_text, enum_name
    from kvnode.v1 import verify_pb2

    sentences = {
        verify_pb2.VERDICT_EQUAL: "All members are equal.",
        verify_pb2.VERDICT_DIFFERENT: "Members differ.",
        verify_pb2.VERDICT_MOVING: "Still moving: no difference that writes do not explain.",
        verify_pb2.VERDICT_SILENT: "Not all members answered; those that did are equal.",
    }
    write_line(sentences.get(found.verdict, "Could not tell."))
    vector = " ".join(f"{dot.origin:016x}:{dot.seq}" for dot in found.vector.entries)
    write_line(f"vector  {vector or '(nothing was ever written)'}")
    write_line(f"digest  {found.digest.sum.hex()} of {found.digest.keys} keys")
    rows = [
        (member.name, enum_name(member, "verdict"), escaped(member.problem.encode()))
        for member in found.members
    ]
    write_table(("node", "verdict", "problem"), rows)
    differences = [
        (
            cut(each.key),
            member.name,
            each.kind,
            ", ".join(map(dot_text, each.only_here)),
            ", ".join(map(dot_text, each.only_there)),
        )
        for member in found.members
        for each in member.differences
    ]
    if differences:
        write_line("")
        write_table(("key", "node", "what", "only here", "only there"), differences)
        more = " (there are more)" if any(member.more for member in found.members) else ""
        write_line(f"{len(differences)} differences{more}: kvnode repair --all heals them")


@click.command()
@click.argument("keys", metavar="[KEY]...", nargs=-1, type=KEY)
@click.option("--all", "everything", is_flag=True, help="Read all that the node has stored.")
@key_base64_option
@connection_options(timeout_help=f"[default: {REPAIR_S:g}]")
@pass_settings
def repair(settings: Settings, *, keys: tuple[bytes, ...], everything: bool) -> int:
    """Heal keys that are damaged or differ.

    A damaged key is fetched from another node and brought up to date. Where members differ though
    they have seen the same writes, all get all values that any of them holds: nothing is lost, and
    at worst a deleted value is back. Run it on the node that has the damage.

    \b
    Exit codes: 0 all keys named are well now; 11 some could not be healed.

    \b
    Examples:
      kvnode repair user:1
      kvnode -e 10.0.0.1:7080 repair --all
    """
    if everything == bool(keys):
        raise click.UsageError("Give keys, or --all.")
    deadline_s = settings.timeout_s if settings.timeout_given else REPAIR_S
    last = None
    with settings.client() as client:
        for reply in client.admin.repair(keys, deadline_s=deadline_s):
            if reply.progress:
                tell(settings, reply.progress)
            last = reply
    if last is None or last.progress:
        raise click.ClickException("the node ended the repair early; run it again")
    if settings.json:
        from kvnode.cli.messages import message_object
        from kvnode.cli.output import write_json

        write_json(message_object(last))
    else:
        if last.scanned:
            write_line(f"{last.scanned} keys read")
        rows = [(cut(each.key), each.outcome, escaped(each.detail.encode())) for each in last.keys]
        if rows:
            write_table(("key", "outcome", "detail"), rows)
        else:
            write_line("Nothing to heal.")
    return EXIT_DIFFERENT if any(each.outcome == "not healed" for each in last.keys) else 0


def tell(settings: Settings, progress: str) -> None:
    """Progress on standard error; a program that asked for JSON gets none."""
    if not settings.json:
        note(progress)
