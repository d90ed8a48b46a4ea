"""An error of the client in the command line's words, with what to do about it."""

from __future__ import annotations

import re
import shlex
from typing import Final

from kvnode.cli.options import encode_base64
from kvnode.client.values import ConflictError, DataType, NotReplicated, shown
from kvnode.core.errors import Reason
from kvnode.errors import (
    Behind,
    DataDamaged,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    KeyNotFound,
    KvnodeError,
    NodeUnavailable,
    OutcomeUnknown,
    RequestRefused,
    ResourceExhausted,
    WatchBehind,
)

EXIT_CODES: Final[dict[type[KvnodeError], int]] = {
    KeyNotFound: 3,
    ConflictError: 4,
    FailedPrecondition: 5,
    InvalidArgument: 6,
    NodeUnavailable: 7,
    DeadlineExceeded: 7,
    Behind: 7,
    OutcomeUnknown: 8,
    ResourceExhausted: 9,
    DataDamaged: 10,
    WatchBehind: 13,
    NotReplicated: 14,
}
"""The table of ``kvnode --help``."""

TYPE_WORDS: Final = {kind.name: kind.name.lower() for kind in DataType}
"""The types as the node's messages spell them, and as options and tables do."""

QUOTED_OR_TYPE: Final = re.compile(
    rf"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|\b(?:{"|".join(TYPE_WORDS)})\b"""
)
"""A quoted key, which stays as it is whatever it contains, or the name of a type."""

QUOTED_OR_VALUE: Final = re.compile(
    r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|holds (siblings|lww_register), not (?:pn|g)_counter"""
)
"""A quoted key, or that it holds what cannot be added to."""

TYPE_ADVICE: Final = {
    "holds lww_register, not siblings": "or put it with --lww",
    "holds siblings, not lww_register": "or put it without --lww",
    "holds pn_counter, not g_counter": "or leave out --grow-only",
}
"""What a write of another type says, and the option that it was, or is, about."""


ADVICE: Final[dict[type[KvnodeError], str]] = {
    WatchBehind: "begin anew with --since beginning",
    DataDamaged: "ask another node with --endpoint",
    NotReplicated: "it is written and will spread: do not repeat it",
    Behind: "allow more time with --timeout, or ask for less",
    DeadlineExceeded: "try again, or allow more time with --timeout",
}
"""What to do about errors of which there is one kind."""


def exit_code_of(error: KvnodeError) -> int:
    """The exit code of the help's table."""
    return EXIT_CODES.get(type(error), 1)


def with_advice(error: KvnodeError) -> str:
    """The error's message and what to do about it."""
    message = str(error)
    match error:
        case NodeUnavailable(reason=""):
            advice = "start a node with 'kvnode serve', or name another one with --endpoint"
        case NodeUnavailable():
            advice = "try again, or name another node with --endpoint"
        case ConflictError(state=state):
            # its values have been shown
            message = f"key {shown(state.key)} is in conflict"
            key = key_words(state.key)
            advice = f"choose: kvnode resolve {key} --keep N (or merge: --value VALUE)"
        case OutcomeUnknown():
            message = f"no reply from {error.endpoint} to {error.write}"
            advice = (
                "it may have happened or not: read the key there before you repeat it, other nodes"
                " may not have it yet"
            )
        case ResourceExhausted(retry_after_s=float() as seconds):
            advice = f"try again in {seconds:g} s"
        case ResourceExhausted():
            advice = "make room, or try again later"
        case _ if (always := ADVICE.get(type(error))) is not None:
            advice = always
        case RequestRefused():
            return about_types(error)
        case _:
            return message
    return f"{message.rstrip('.')}; {advice}"


def about_types(error: RequestRefused) -> str:
    """The message with types spelt as options spell them, and which option chooses one."""
    if error.reason != Reason.TYPE_CONFLICT:
        return str(error)
    message = QUOTED_OR_TYPE.sub(lambda found: TYPE_WORDS.get(found[0], found[0]), str(error))
    message = QUOTED_OR_VALUE.sub(
        lambda found: f"holds a value ({found[1]}), not a counter" if found[1] else found[0],
        message,
    )
    if "say which" in message and (held := error.facts.get("types")):
        names = [TYPE_WORDS.get(name, name) for name in held.split(",")]
        return f"{message}, with {' or '.join(f'--type {name}' for name in names)}"
    advice = next((say for part, say in TYPE_ADVICE.items() if part in message), None)
    return message if advice is None else f"{message}, {advice}"


def key_words(key: bytes) -> str:
    """A key as words of a shell's command line, which survive being printed on one line."""
    try:
        text = key.decode()
    except UnicodeDecodeError:
        text = ""
    if text and text.isprintable() and "  " not in text and not text.startswith("-"):
        return shlex.quote(text)
    return f"--key-base64 {encode_base64(key)}"
