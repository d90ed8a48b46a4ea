"""What the tests of the commands share."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    code: int
    out: bytes
    err: str


Cli = Callable[..., Done]


def ok(done: Done) -> bytes:
    """The output of a command that did what it should and complained of nothing."""
    assert (done.code, done.err) == (0, "")
    return done.out


def json_of(done: Done) -> Any:
    """The one JSON value printed."""
    assert done.out.endswith(b"\n")
    assert done.out.count(b"\n") == 1
    return json.loads(done.out)


def conflict(cli: Cli, key: str, *values: str) -> None:
    """Several values under one key."""
    for value in values:
        ok(cli("put", key, value, "--blind"))
