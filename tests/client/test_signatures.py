"""Every public name with its full signature, as in ``surface.txt``: a change is a decision.

``python -m tests.client.test_signatures`` writes the file anew; the diff is the review.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import get_args

import kvnode
from kvnode import resolvers
from kvnode.testing import LocalNodes

PINNED = Path(__file__).with_name("surface.txt")
UNNAMED = (LocalNodes,)
"""The test kit."""
MADE_BY_A_CLIENT = frozenset(
    {
        kvnode.Admin,
        kvnode.AsyncAdmin,
        kvnode.AsyncBatch,
        kvnode.AsyncBulk,
        kvnode.AsyncCounter,
        kvnode.AsyncRegister,
        kvnode.AsyncSiblings,
        kvnode.Batch,
        kvnode.Bulk,
        kvnode.Counter,
        kvnode.Register,
        kvnode.Siblings,
    }
)
"""What methods of a client return: how it is made is nobody's but the client's."""


def surface() -> Iterator[str]:
    """A line for each name, each method and each property."""
    for name in sorted(kvnode.__all__):
        yield from described(name, getattr(kvnode, name))
    for kind in sorted(UNNAMED, key=lambda each: each.__name__):
        yield from described(kind.__name__, kind)
    for name, function in sorted(vars(resolvers).items()):
        if inspect.isfunction(function) and function.__module__ == resolvers.__name__:
            yield f"resolvers.{name}{signature(function)}"


def described(name: str, found: object) -> Iterator[str]:
    """One name."""
    if not inspect.isclass(found):
        yield f"{name}: {', '.join(parts(found)) or type(found).__name__}"
        return
    if issubclass(found, Enum):
        yield f"{name}: {', '.join(f'{each.name} {each.value}' for each in found)}"
        return
    own = inspect.isfunction(found.__init__) or inspect.isfunction(found.__new__)
    made = signature(found) if own and found not in MADE_BY_A_CLIENT else ""
    yield f"{name}{made} is a {', '.join(base.__name__ for base in found.__bases__)}"
    for member in sorted(dir(found)):
        if member.startswith("_"):
            continue
        value = inspect.getattr_static(found, member)
        if isinstance(value, property):
            assert value.fget is not None
            yield f"{name}.{member}: {inspect.signature(value.fget).return_annotation}"
        elif inspect.isfunction(value) and value.__module__.startswith("kvnode."):
            asynchronous = "async " if inspect.iscoroutinefunction(value) else ""
            yield f"{asynchronous}{name}.{member}{signature(value)}"


def parts(alias: object) -> Iterator[str]:
    """What a type alias stands for; spelt alike by every Python."""
    for each in get_args(alias):
        if isinstance(each, list):  # what a function gets
            yield "function of " + ", ".join(kind.__name__ for kind in each)
        elif get_args(each):
            yield from parts(each)
        else:
            yield each.__name__ if inspect.isclass(each) else repr(each)


def signature(function: object) -> str:
    """As it is written, on one line; a default that is only itself is three dots."""
    assert callable(function)
    text = re.sub(r"<[^>]* at 0x[^>]*>", "...", str(inspect.signature(function)))
    return re.sub(r"ForwardRef\(('[^']*')[^)]*\)", r"\1", text)


def test_the_public_signatures_are_these() -> None:
    assert list(surface()) == PINNED.read_text().splitlines()


def test_the_surface_shows_what_matters() -> None:
    """The canary: names, arguments, defaults, types and what is asynchronous."""
    found = PINNED.read_text()
    for part in (
        "Client.increment(self, key: 'bytes | str', amount: 'int' = 1, *, type:",
        "async AsyncClient.put(",
        "Receipt(dot: 'Dot', context: 'bytes', counter: 'int | None'",
        "BulkLimits(operations_max: 'int' = 1000",
        "async AsyncCounter.add(",
        "resolvers.union(",
    ):
        assert part in found, part


if __name__ == "__main__":
    PINNED.write_text("".join(f"{line}\n" for line in surface()))
