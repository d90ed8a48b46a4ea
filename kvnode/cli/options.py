"""Options and parameter types that several commands share."""

from __future__ import annotations

import base64
import binascii
import math
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar, cast

import click

from kvnode.cli.interrupts import raise_on_interrupt

if TYPE_CHECKING:
    from typing import TypeAlias

    from kvnode.client.client import Client
    from kvnode.client.levels import Consistency, Durability
    from kvnode.client.sessions import Session

    # generic in click's types, but at run time only since click 8.4
    ParamType: TypeAlias = click.ParamType[bytes]
    IntParamType: TypeAlias = click.ParamType[int]
    FloatParamType: TypeAlias = click.ParamType[float]
else:
    ParamType = IntParamType = FloatParamType = click.ParamType

TIMEOUT_S: Final = 5.0

UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}

VALUE_BYTES_MAX: Final = 1 << 20
"""Where reading a file or standard input stops: what is longer no node takes."""

DASH_HINT: Final = "Put -- before a key or value that begins with a dash."

BASE64_KEYS: Final = "kvnode.cli.base64_keys"
"""In the context's ``meta``: keys of this command line are base64."""

AnyCallable = TypeVar("AnyCallable", bound=Callable[..., object])


@dataclass(slots=True)
class Settings:
    """What the connection options say; an option after the command overrules one before it.

    And the levels (``levels.py``), where a command has them.
    """

    endpoints: tuple[str, ...] = ()
    timeout_s: float = TIMEOUT_S
    timeout_given: bool = False
    tls: str | None = None
    json: bool = False
    durability: Durability | None = None
    consistency: Consistency | None = None
    session: Session | None = None

    def client(self) -> Client:
        """A client of the named endpoints, with these levels."""
        if self.consistency == "session" and self.session is None:
            raise click.UsageError("--consistency session needs --session TOKEN, or --session new")
        from kvnode.client.client import Client
        from kvnode.client.settings import DEFAULT_ENDPOINT

        raise_on_interrupt()  # loaded; from here on there can be a write on its way
        return Client(
            self.endpoints or DEFAULT_ENDPOINT,
            timeout_s=self.timeout_s,
            durability="fsync" if self.durability is None else self.durability,
            consistency=self.consistency,
            session=self.session or False,
            tls=self.tls,
        )


pass_settings = click.make_pass_decorator(Settings, ensure=True)


class Count(click.IntRange):
    """1 or more of something."""

    name = "whole number"

    def __init__(self) -> None:
        super().__init__(min=1)


class Seconds(click.FloatRange):
    """A time to wait."""

    name = "number"

    def __init__(self) -> None:
        super().__init__(min=0, min_open=True)


def connection_options(
    *, environment: bool = False, timeout_help: str = f"[default: {TIMEOUT_S:g}]"
) -> Callable[[AnyCallable], AnyCallable]:
    """--endpoint, --timeout, --tls and --json, kept in ``Settings``.

    With ``environment`` variables say it too. They are read once, for the options before the
    command: read again for those after it, they would overrule them. Their names are in the help
    of both.
    """
    options = (
        click.option(
            "-e",
            "--endpoint",
            "endpoints",
            multiple=True,
            metavar="HOST:PORT",
            envvar="KVNODE_ENDPOINTS" if environment else None,
            expose_value=False,
            callback=note_endpoints,
            help="A node; repeat it or separate several by commas.  [env var: KVNODE_ENDPOINTS;"
            " default: 127.0.0.1:7080]",
        ),
        click.option(
            "--timeout",
            type=Seconds(),
            metavar="SECONDS",
            expose_value=False,
            callback=note_timeout,
            help=f"How long a call may take in all.  {timeout_help}",
        ),
        click.option(
            "--tls",
            metavar="DIR",
            envvar="KVNODE_TLS" if environment else None,
            expose_value=False,
            callback=note_tls,
            help="Talk TLS, with the ca.crt, tls.crt and tls.key in DIR.  [env var: KVNODE_TLS]",
        ),
        click.option(
            "--json",
            is_flag=True,
            expose_value=False,
            callback=note_json,
            help="Print JSON for programs.",
        ),
    )

    def add_options(command: AnyCallable) -> AnyCallable:
        for option in reversed(options):
            command = option(command)
        return command

    return add_options


def note_endpoints(ctx: click.Context, _: click.Parameter, given: tuple[str, ...]) -> None:
    """Keep --endpoint."""
    if given:
        ctx.ensure_object(Settings).endpoints = given


def note_timeout(ctx: click.Context, _: click.Parameter, given: float | None) -> None:
    """Keep --timeout."""
    if given is not None:
        settings = ctx.ensure_object(Settings)
        settings.timeout_s, settings.timeout_given = given, True


def note_tls(ctx: click.Context, _: click.Parameter, given: str | None) -> None:
    """Keep --tls."""
    if given:
        ctx.ensure_object(Settings).tls = given


def note_json(ctx: click.Context, _: click.Parameter, given: bool) -> None:  # noqa: FBT001
    """Keep --json."""
    if given:
        ctx.ensure_object(Settings).json = True


def note_base64_keys(ctx: click.Context, _: click.Parameter, given: bool) -> None:  # noqa: FBT001
    """Keep --key-base64 where the key's own type finds it."""
    ctx.meta[BASE64_KEYS] = given


key_base64_option = click.option(
    "--key-base64",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=note_base64_keys,
    help="Keys on this command line are base64 (for keys that cannot be typed).",
)


class KeyType(ParamType):
    """The bytes of a key as the shell gave them, or decoded with --key-base64."""

    name = "key"

    def convert(
        self, value: str | bytes, param: click.Parameter | None, ctx: click.Context | None
    ) -> bytes:
        """The key's bytes."""
        if isinstance(value, bytes):
            return value
        if ctx is None or not ctx.meta.get(BASE64_KEYS):
            return os.fsencode(value)
        try:
            return decode_base64(value)
        except ValueError:
            self.fail(f"{value!r} is not base64", param, ctx)


class BytesType(ParamType):
    """The bytes of an argument as the shell gave them."""

    name = "value"

    def convert(
        self,
        value: str | bytes,
        param: click.Parameter | None,  # noqa: ARG002 - click's signature
        ctx: click.Context | None,  # noqa: ARG002 - click's signature
    ) -> bytes:
        """The value's bytes."""
        return value if isinstance(value, bytes) else os.fsencode(value)


class TokenType(ParamType):
    """A causal context as ``get --show-context`` and --json print it."""

    name = "token"

    def convert(
        self,
        value: str | bytes,
        param: click.Parameter | None,  # noqa: ARG002 - click's signature
        ctx: click.Context | None,  # noqa: ARG002 - click's signature
    ) -> bytes:
        """The context's bytes."""
        if isinstance(value, bytes):
            return value
        try:
            return decode_base64(value)
        except ValueError as error:
            from kvnode.core.errors import Reason
            from kvnode.errors import InvalidArgument

            raise InvalidArgument(
                f"context {value!r} is not base64url; take it from 'kvnode get --show-context'",
                reason=Reason.BAD_CONTEXT,
            ) from error


class LifetimeType(FloatParamType):
    """A time span in seconds: a number, or one with s, m, h or d behind it."""

    name = "time"

    def convert(
        self,
        value: str | float,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> float:
        """The seconds; how many there may be the client knows."""
        if isinstance(value, (int, float)):
            return value
        number, factor = value.strip(), 1
        if number[-1:] in UNITS_S:
            number, factor = number[:-1], UNITS_S[number[-1]]
        try:
            seconds = float(number) * factor
        except ValueError:
            seconds = 0.0
        if not 0 < seconds < math.inf:
            self.fail(f"{value!r} is not a time such as 30s, 5m, 2h or 1d", param, ctx)
        return seconds


class AmountType(IntParamType):
    """What is added or taken away: 1 or more. ``other`` says which command does the opposite."""

    name = "amount"

    def __init__(self, other: str) -> None:
        self.hint = f"AMOUNT is 1 or more; {other}"

    def convert(
        self,
        value: str | int,
        param: click.Parameter | None,  # noqa: ARG002 - click's signature
        ctx: click.Context | None,
    ) -> int:
        """The number; how large it may be the client knows."""
        try:
            amount = int(value)
        except ValueError:
            raise click.UsageError(f"AMOUNT {value!r} is not a whole number", ctx) from None
        if amount < 1:
            raise click.UsageError(f"AMOUNT {amount} is too small. {self.hint}", ctx)
        return amount


KEY: Final = KeyType()
VALUE: Final = BytesType()
TOKEN: Final = TokenType()
LIFETIME: Final = LifetimeType()

file_option = click.option(
    "--file",
    "path",
    type=click.Path(allow_dash=True, path_type=str),
    metavar="FILE",
    help="Take the value from FILE, byte for byte; - is standard input.",
)


def prefix_of_keys(command: AnyCallable) -> AnyCallable:
    """PREFIX or --prefix, whichever somebody thinks of first; ``prefix`` is empty for all keys."""

    @click.argument("prefix", type=KEY, required=False)
    @click.option("--prefix", "named", type=KEY, metavar="PREFIX", help="The same as PREFIX alone.")
    @wraps(command)
    def with_prefix(
        *arguments: object, prefix: bytes | None, named: bytes | None, **options: object
    ) -> object:
        if prefix is not None and named is not None:
            raise click.UsageError("Give one of PREFIX and --prefix")
        return command(*arguments, prefix=prefix or named or b"", **options)

    return cast("AnyCallable", with_prefix)


def value_of(value: bytes | None, path: str | None, choices: str) -> bytes:
    """The value from the argument, the file or, for "-", standard input.

    ``choices`` says in how many ways it can be given, if it was given in none or in several.
    """
    if (value is None) == (path is None):
        raise click.UsageError(f"Give one of {choices}")
    if path is not None:
        return read_value(path)
    assert value is not None
    return read_value("-") if value == b"-" else value


def read_value(path: str) -> bytes:
    """The bytes of a file; one more than a value may have is enough to see that it is too long."""
    if path == "-":
        if sys.stdin is None:
            raise click.ClickException("standard input is closed")
        return sys.stdin.buffer.read(VALUE_BYTES_MAX + 1)
    try:
        with Path(path).open("rb") as file:
            return file.read(VALUE_BYTES_MAX + 1)
    except OSError as error:
        raise click.ClickException(f"cannot read {path!r}: {error.strerror}") from error


def decode_base64(text: str) -> bytes:
    """Bytes of base64 in either alphabet, padded or not. ValueError if it is none."""
    try:
        padded = text.rstrip("=").translate(str.maketrans("-_", "+/"))
        return base64.b64decode(padded + "=" * (-len(padded) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error


def encode_base64(raw: bytes) -> str:
    """Bytes as --key-base64 takes them; never with a dash, which could pass for an option."""
    return base64.b64encode(raw).decode()


def encode_token(context: bytes) -> str:
    """A context as text: base64url without padding."""
    return base64.urlsafe_b64encode(context).rstrip(b"=").decode()
