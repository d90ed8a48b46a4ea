"""What the commands print: bytes, escaped text, JSON.

Everything goes through ``write`` and ``note``, so that a reader who went away, a full disk or a
closed stream is an error in one place. Bytes that came from a database are never sent to a
terminal as they are: they could move its cursor or rename its window.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Final

import click

EXIT_BROKEN_PIPE: Final = 141
"""What a shell reports for a program that SIGPIPE ended."""

TABLE_BYTES_MAX: Final = 200
"""Bytes of a value that a table shows; JSON and ``get`` show all."""


class BrokenOutput(Exception):
    """Whoever read the standard output went away."""


def write(content: bytes) -> None:
    """Write to standard output, all of it, now."""
    if sys.stdout is None:
        raise click.ClickException("standard output is closed")
    try:
        sys.stdout.flush()
        left = memoryview(content)
        while left:  # unbuffered, a signal leaves a part of it unwritten
            left = left[sys.stdout.buffer.write(left) :]
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        # what is buffered still would be written, and fail, at the interpreter's end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise BrokenOutput from None
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise click.ClickException(f"cannot write the output: {error.strerror}") from error


def write_line(text: str) -> None:
    """Write a line to standard output, as UTF-8 whatever the locale."""
    write(text.encode(errors="backslashreplace") + b"\n")


def write_json(value: object) -> None:
    """Write one JSON value on one line."""
    write_line(json.dumps(value, ensure_ascii=False))


def note(text: str) -> None:
    """Write a line to standard error; that it is closed is no reason to fail."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(text.encode(errors="backslashreplace").decode() + "\n")
        sys.stderr.flush()
    except OSError:
        return


def ask(question: str) -> None:
    """On standard error; click.Abort if the answer is no, UsageError if nobody answers."""
    try:
        click.confirm(question, abort=True, err=True)
    except click.Abort as abort:
        if isinstance(abort.__context__, EOFError):
            raise click.UsageError("nobody answered: --yes does it without asking") from abort
        raise


def complain(message: str) -> None:
    """An error in one plain line on standard error."""
    note(f"Error: {one_line(message)}")


def one_line(message: str) -> str:
    """A message with its line ends as spaces and other unprintable characters escaped."""
    joined = " ".join(message.split())
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in joined)


def stdout_is_terminal() -> bool:
    """Whether a person sees the output as it is written."""
    return sys.stdout is not None and sys.stdout.isatty()


def stderr_is_terminal() -> bool:
    """The same of standard error."""
    return sys.stderr is not None and sys.stderr.isatty()


# ---- bytes as text


def escaped(raw: bytes) -> str:
    r"""``raw`` as printable text on one line; different bytes give different texts.

    Printable UTF-8 stays as it is. A backslash becomes ``\\``, line feed, tab and carriage return
    ``\n``, ``\t``, ``\r``, any other byte ``\xNN``; so does a space at either end.
    """
    text = raw.decode(errors="surrogateescape")
    body = text.strip(" ")
    left = len(text) - len(text.lstrip(" "))
    if not body:
        return r"\x20" * len(text)
    right = len(text) - left - len(body)
    return r"\x20" * left + "".join(map(escaped_letter, body)) + r"\x20" * right


def escaped_letter(letter: str) -> str:
    """One character of ``escaped``."""
    known = {"\\": r"\\", "\n": r"\n", "\t": r"\t", "\r": r"\r"}.get(letter)
    if known is not None:
        return known
    if letter.isprintable():
        return letter
    return "".join(f"\\x{byte:02x}" for byte in letter.encode(errors="surrogateescape"))


def cut(raw: bytes) -> str:
    r"""``escaped`` for a table: a long value ends in ``\... (N bytes)``, as no value's text can."""
    if len(raw) <= TABLE_BYTES_MAX:
        return escaped(raw)
    return escaped(raw[:TABLE_BYTES_MAX]) + f"\\... ({len(raw)} bytes)"


def is_presentable(raw: bytes) -> bool:
    """Whether a terminal can be given ``raw`` as it is: printable UTF-8, line feeds and tabs."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return False
    return all(letter.isprintable() or letter in "\n\t" for letter in text)


def bytes_object(raw: bytes) -> dict[str, str]:
    """``raw`` for JSON: ``{"utf8": text}``, or ``{"base64": ...}`` if it is not UTF-8."""
    try:
        return {"utf8": raw.decode()}
    except UnicodeDecodeError:
        import base64

        return {"base64": base64.b64encode(raw).decode()}
