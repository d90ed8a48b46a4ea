"""The list of commands, and errors as one line and an exit code.

Starting has to be quick, so a command's module is imported when that command is asked for, and
gRPC when it is about to be used.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

import click
from click.exceptions import NoArgsIsHelpError

from kvnode import __version__
from kvnode.cli.interrupts import EXIT_INTERRUPTED
from kvnode.cli.options import DASH_HINT, AmountType, Settings, connection_options
from kvnode.cli.output import EXIT_BROKEN_PIPE, BrokenOutput, complain

HOMES: Final = {
    "serve": "kvnode.cli.serve",
    "get": "kvnode.cli.reading",
    "put": "kvnode.cli.writing",
    "delete": "kvnode.cli.writing",
    "incr": "kvnode.cli.writing",
    "decr": "kvnode.cli.writing",
    "scan": "kvnode.cli.reading",
    "conflicts": "kvnode.cli.reading",
    "watch": "kvnode.cli.watch",
    "undo": "kvnode.cli.losers",
    "siblings": "kvnode.cli.resolving",
    "resolve": "kvnode.cli.resolving",
    "inspect": "kvnode.cli.admin",
    "status": "kvnode.cli.admin",
    "peers": "kvnode.cli.admin",
    "members": "kvnode.cli.membership",
    "join": "kvnode.cli.membership",
    "replace": "kvnode.cli.membership",
    "forget": "kvnode.cli.membership",
    "leave": "kvnode.cli.membership",
    "export": "kvnode.cli.export",
    "gc": "kvnode.cli.gc",
    "quarantine": "kvnode.cli.quarantine",
    "verify": "kvnode.cli.verify",
    "repair": "kvnode.cli.verify",
}
"""Where each command is, in the order of the help."""

WRITES: Final = frozenset({"put", "delete", "incr", "decr", "resolve", "undo"})


SYNONYMS: Final = {
    "set": "put",
    "del": "delete",
    "rm": "delete",
    "ls": "scan",
    "list": "scan",
    "keys": "scan",
    "increment": "incr",
    "decrement": "decr",
}
"""What other stores call a command; only to name ours, they do nothing."""


class Interrupted(click.ClickException):
    """Ctrl-C."""

    exit_code = EXIT_INTERRUPTED


class Commands(click.Group):
    """The commands, each imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """All names, most used first."""
        return list(HOMES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of this name."""
        home = HOMES.get(cmd_name)
        if home is None:
            return None
        command = getattr(import_module(home), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command and its arguments; UsageError with the one that may be meant."""
        if args[0] not in HOMES and (meant := closest(args[0])):
            raise click.UsageError(f"No such command {args[0]!r}. Did you mean {meant!r}?", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; Ctrl-C is an error like any other."""
        try:
            done = super().invoke(ctx)
            self._tell_session(ctx)
            return done
        except KeyboardInterrupt:
            writes = ctx.invoked_subcommand in WRITES
            fate = "; a write on its way may still happen" if writes else ""
            raise Interrupted(f"interrupted{fate}") from None

    def _tell_session(self, ctx: click.Context) -> None:
        settings = ctx.find_object(Settings)
        if settings is not None and settings.session is not None:
            from kvnode.cli.levels import tell_session

            tell_session(settings)


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="kvnode")
@connection_options(environment=True)
@click.pass_context
def cli(ctx: click.Context) -> None:
    """kvnode: a multi-master replicated key-value store.

    Every node takes every read and write. With several endpoints the first one that answers is
    used. The three connection options may also follow the command.

    \b
    Examples:
      kvnode serve                           a node on 127.0.0.1:7080
      kvnode put user:1 Ada                  store a value
      kvnode get user:1                      print it
      kvnode incr visits 5                   add to a counter
      kvnode -e 10.0.0.1:7080 status         ask another node

    \b
    Text and bytes:
      Keys and values are bytes. In tables, lists and messages a byte that is not printable
      UTF-8 is shown as \\xNN, a backslash as \\\\, line feed and tab as \\n and \\t. In JSON a
      key or value is {"utf8": "..."}, or {"base64": "..."} if it is not UTF-8. Contexts are
      base64url. A KEY that cannot be typed is given as base64 with --key-base64.

    \b
    Exit codes:
      0  done
      1  another error
      2  wrong usage
      3  no such key
      4  the key is in conflict: it has several values, see 'kvnode siblings --help'
      5  refused: the key's type, the counter's range or the node's state forbids it
      6  invalid argument: key, value, amount, context or endpoint
      7  no node could be reached, answered in time, or has what --session or --consistency
         asks for; nothing was written
      8  outcome unknown: a write was sent and no reply came, it happened or not
      9  too much: a queue, the disk or the siblings of a key are full; try again later
      10 what the node stores under the key is damaged; ask another node
      11 members differ, or keys could not be healed: see 'kvnode verify --help'
      12 whether members are equal could not be told: one was silent, or writes kept coming
      13 a watch cannot go on: what came since its token is no longer kept
      14 written, and not (yet) on as many disks as --durability asks for: do not repeat it
      130 interrupted, 141 nobody reads the output
    """
    ctx.ensure_object(Settings)


def run(arguments: Sequence[str]) -> int:
    """Run a command line; the exit code. Every error of the world is one line on stderr."""
    try:
        words = list(arguments) or ["--help"]
        code = cli.main(words, prog_name="kvnode", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except NoArgsIsHelpError:  # a group without a subcommand
        return run([*arguments, "--help"])
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "kvnode"
        complain(f"{usage_problem(error)} See '{path} --help'.")
        return error.exit_code
    except click.ClickException as error:
        complain(error.format_message())
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        complain("interrupted")
        return EXIT_INTERRUPTED
    except BrokenOutput:
        return EXIT_BROKEN_PIPE
    except Exception as error:
        # gRPC is loaded already if this is an error of kvnode's, and not needed if it is not
        from kvnode.errors import KvnodeError

        if not isinstance(error, KvnodeError):
            raise
        from kvnode.cli.advice import exit_code_of, with_advice

        complain(with_advice(error))
        return exit_code_of(error)


def closest(word: str) -> str | None:
    """The command that somebody may mean by a word which is none."""
    from difflib import get_close_matches

    return SYNONYMS.get(word) or next(iter(get_close_matches(word, HOMES, n=1)), None)


def usage_problem(error: click.UsageError) -> str:
    """What is wrong with the command line, as a sentence."""
    message = error.format_message()
    if not message.endswith("?"):
        message = message.rstrip(".") + "."
    if not isinstance(error, click.NoSuchOption) or error.possibilities or error.ctx is None:
        return message
    arguments = [each for each in error.ctx.command.params if isinstance(each, click.Argument)]
    if not arguments:
        return message
    amount = next((each.type for each in arguments if isinstance(each.type, AmountType)), None)
    if amount is not None and error.option_name[1:].isdigit():
        return f"{message} {amount.hint}."
    return f"{message} {DASH_HINT}"
