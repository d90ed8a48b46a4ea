"""Both clients have one surface, and this is it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable

import pytest

from kvnode import AsyncClient, AsyncWatch, Client, Watch
from kvnode.client.admin import Admin, AsyncAdmin
from kvnode.client.aio_bulk import AsyncBulk
from kvnode.client.aio_handles import AsyncCounter, AsyncRegister, AsyncSiblings
from kvnode.client.batch import AsyncBatch, Batch
from kvnode.client.bulk import Bulk
from kvnode.client.handles import Counter, Register, Siblings

TWINS = [
    (Client, AsyncClient),
    (Admin, AsyncAdmin),
    (Counter, AsyncCounter),
    (Register, AsyncRegister),
    (Siblings, AsyncSiblings),
    (Batch, AsyncBatch),
    (Bulk, AsyncBulk),
    (Watch, AsyncWatch),
]

LEVELS = "durability=None, timeout_s=None"
SURFACE = {
    "admin": None,
    "batch": f"*, request_id=None, {LEVELS}",
    "batch_get": "keys, *, consistency=None, timeout_s=None",
    "bulk": f"*, limits=None, progress=None, {LEVELS}",
    "close": "",
    "conflicts": "prefix=b'', *, limit=None, page_size=1000, consistency=None, timeout_s=None",
    "counter": "key, *, grow_only=False",
    "delete": f"key, *, type=None, context=None, request_id=None, {LEVELS}",
    "endpoints": None,
    "get": "key, *, default=..., resolve=None, consistency=None, timeout_s=None",
    "get_many": "keys, *, consistency=None, timeout_s=None",
    "increment": f"key, amount=1, *, type=None, request_id=None, {LEVELS}",
    "increment_many": f"amounts, *, type=None, request_id=None, {LEVELS}",
    "outcome": "unknown, *, timeout_s=None",
    "put": "key, value, *, lww=False, context=None, blind=False, ttl=None, request_id=None,"
    f" {LEVELS}",
    "put_many": f"values, *, lww=False, ttl=None, request_id=None, {LEVELS}",
    "register": "key",
    "scan": "prefix=b'', *, start=b'', end=b'', limit=None, page_size=1000, consistency=None,"
    " timeout_s=None",
    "session": "token=b''",
    "siblings": "key",
    "token": None,
    "update": f"key, change, *, resolve=None, ttl=None, tries=5, {LEVELS}",
    "watch": "*, prefix=b'', since=None, patience_s=30.0, heartbeat_s=5.0, on_waiting=None",
    "write": f"operations, *, request_id=None, {LEVELS}",
}
"""Method -> its arguments; None is a property. Some 20 names are what a person can know."""


def public(kind: type) -> dict[str, object]:
    """The names a user sees."""
    return {
        name: inspect.getattr_static(kind, name) for name in dir(kind) if not name.startswith("_")
    }


def arguments(member: Callable[..., object]) -> str:
    """As they are written, without annotations."""
    signature = inspect.signature(member)
    bare = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for name, parameter in signature.parameters.items()
        if name != "self"
    ]
    text = str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))
    return re.sub(r"=<[^>]*>", "=...", text)[1:-1]


def test_the_surface_is_pinned() -> None:
    found = {
        name: arguments(member) if inspect.isfunction(member) else None
        for name, member in public(Client).items()
    }
    assert found == SURFACE


def test_how_a_client_is_made_is_pinned() -> None:
    assert arguments(Client.__init__) == (
        "endpoints='127.0.0.1:7080', *, timeout_s=5.0, durability='fsync', consistency=None,"
        " session=False, tls=None"
    )
    assert inspect.signature(Client) == inspect.signature(AsyncClient)


@pytest.mark.parametrize(("sync", "twin"), TWINS)
def test_twins_have_the_same_names_arguments_and_types(sync: type, twin: type) -> None:
    """And results, but for what has to be awaited."""
    one, other = public(sync), public(twin)
    assert one.keys() == other.keys()
    for name, member in one.items():
        counterpart = other[name]
        assert inspect.isfunction(member) == inspect.isfunction(counterpart), name
        if not inspect.isfunction(member):
            continue
        assert inspect.isfunction(counterpart)
        here, there = inspect.signature(member), inspect.signature(counterpart)
        assert list(here.parameters.values()) == list(there.parameters.values()), name
        result = str(there.return_annotation).replace("AsyncGenerator", "Iterator")
        result = result.replace("Async", "")
        assert result == str(here.return_annotation), name


@pytest.mark.parametrize("kind", [kind for pair in TWINS for kind in pair])
def test_no_bare_boolean_goes_by_position(kind: type) -> None:
    for member in public(kind).values():
        if inspect.isfunction(member):
            for parameter in inspect.signature(member).parameters.values():
                if isinstance(parameter.default, bool):
                    assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
