"""Help texts: present for every command, with examples that parse."""

from __future__ import annotations

import re
import shlex

import click
import pytest

from kvnode.cli.advice import exit_code_of
from kvnode.cli.commands import HOMES, SYNONYMS, cli, run
from kvnode.cli.interrupts import EXIT_INTERRUPTED
from kvnode.cli.options import TOKEN
from kvnode.cli.output import EXIT_BROKEN_PIPE
from kvnode.errors import InvalidArgument, KvnodeError

CLIENT_COMMANDS = sorted(set(HOMES) - {"serve"})


def context_of_all() -> click.Context:
    """As ``kvnode`` makes it: click keeps the help option that the first context asks for."""
    return click.Context(cli, info_name="kvnode", **cli.context_settings)


def help_of(name: str) -> str:
    """The help text of a command."""
    context = context_of_all()
    command = cli.get_command(context, name)
    assert command is not None
    return command.get_help(click.Context(command, parent=context, info_name=name))


@pytest.mark.parametrize("name", sorted(HOMES))
def test_every_command_has_help_with_examples(name: str) -> None:
    text = help_of(name)
    assert "Examples:" in text
    assert f"kvnode {name}" in text


@pytest.mark.parametrize("name", CLIENT_COMMANDS)
def test_the_examples_can_be_parsed(name: str) -> None:
    command = cli.get_command(context_of_all(), name)
    assert command is not None
    section = help_of(name).partition("Examples:")[2].partition("\n\n")[0]
    section = re.sub(r"\$\([^)]*\)", "AAAA", section)
    examples = re.findall(rf"kvnode (?:-e \S+ )?{name}\b([^|>\n]*)", section)
    assert len(examples) >= 2
    for example in examples:
        command.make_context(name, shlex.split(example))


def test_the_list_of_commands_shows_no_cut_sentence(capfd: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    text = capfd.readouterr().out
    for name in HOMES:
        assert re.search(rf"^  {name} .*\w\.$", text, re.MULTILINE), name
    assert run(["--help"]) == 0
    assert capfd.readouterr().out == text
    assert run(["-h"]) == 0


@pytest.mark.parametrize("group", ["gc", "quarantine"])
def test_a_group_alone_prints_its_help(capfd: pytest.CaptureFixture[str], group: str) -> None:
    """As ``kvnode`` alone does."""
    assert run([group, "--help"]) == 0
    text = capfd.readouterr().out
    assert "\nCommands:\n" in text
    assert run([group]) == 0
    assert capfd.readouterr() == (text, "")


def test_synonyms_name_commands() -> None:
    assert set(SYNONYMS.values()) <= set(HOMES)
    assert not set(SYNONYMS) & set(HOMES)


def test_the_exit_codes_are_in_the_help(capfd: pytest.CaptureFixture[str]) -> None:
    run(["--help"])
    text = capfd.readouterr().out
    for code in (*range(15), EXIT_INTERRUPTED, EXIT_BROKEN_PIPE):
        assert re.search(rf"\b{code} +[a-z]", text), code


def test_the_version(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capfd.readouterr().out == "kvnode, version 0.1.0\n"


def test_a_token_may_begin_with_a_dash() -> None:
    """base64url has dashes, and an option's value may begin with one."""

    @click.command()
    @click.option("--context", type=TOKEN)
    def command(context: bytes) -> bytes:
        return context

    context = command.make_context("command", ["--context", "-_8"])
    assert context.params["context"] == b"\xfb\xff"


def test_a_kind_of_error_without_a_code_of_its_own_is_1() -> None:
    assert exit_code_of(InvalidArgument("x")) == 6
    assert exit_code_of(KvnodeError("x")) == 1
