"""What a REPL, a log and a failing test show."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from kvnode import (
    Absent,
    AsyncClient,
    AsyncWatch,
    Client,
    Conflict,
    Dot,
    KeyState,
    Session,
    StoredValue,
    Value,
    Watch,
    resolvers,
)
from kvnode.client.resolving import resolved

TEA, CAKE = (StoredValue(value, Dot(1, 2), 1000, "EWR") for value in (b"tea", b"cake"))
BOTH = Conflict(b"cart", b"ctx", siblings=(TEA, CAKE))


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        (Value(b"s", b"ctx", siblings=(TEA,), value=b"tea"), "Value('s', b'tea')"),
        (Value(b"n", b"ctx", pn_counter=3, value=3), "Value('n', 3)"),
        (resolved(BOTH, resolvers.union()), "Value('cart', b'cake,tea')"),
        (BOTH, "Conflict('cart', b'tea', b'cake')"),
        (Conflict(b"k", b"ctx", g_counter=2, register=TEA), "Conflict('k', 2, b'tea')"),
        (Absent(b"\xff", b"ctx"), "Absent(b'\\xff')"),
        (KeyState(b"k", b"ctx", pn_counter=3), "KeyState('k', 3)"),
        (Value(b"k", b"", value=b"x" * 201), f"Value('k', b'{'x' * 200}'... (201 bytes))"),
    ],
)
def test_a_state_is_its_key_and_its_values(state: KeyState, shown: str) -> None:
    assert repr(state) == shown


MADE: dict[str, Callable[[Any], object]] = {
    "{}Client('a:1,b:2')": lambda db: db,
    "{}Client('a:1,b:2').session(b'\\x01')": lambda db: db.session(),
    "{}Admin('a:1,b:2')": lambda db: db.admin,
    "{}Counter('k')": lambda db: db.counter("k"),
    "{}Counter(b'k', grow_only=True)": lambda db: db.counter(b"k", grow_only=True),
    "{}Register('k')": lambda db: db.register("k"),
    "{}Siblings('k')": lambda db: db.siblings("k"),
    "{}Batch([])": lambda db: db.batch(),
    "{}Bulk(Progress(taken=0, acknowledged=0, failed=0))": lambda db: db.bulk(),
    "{}Watch('a:1,b:2', prefix=b'p', since=None)": lambda db: db.watch(prefix="p"),
    "{}Watch('a:1,b:2', prefix=b'', since=b't')": lambda db: db.watch(since=b"t"),
}


@pytest.mark.parametrize("shown", MADE)
@pytest.mark.parametrize(("kind", "name"), [(Client, ""), (AsyncClient, "Async")])
def test_an_object_says_what_it_is_of(kind: Callable[[str], Any], name: str, shown: str) -> None:
    assert repr(MADE[shown](kind("a:1,b:2"))) == shown.format(name)


def test_a_session_is_its_token() -> None:
    session = Session(b"\x01" + bytes(7) + b"\x07\x02")
    assert repr(session) == f"Session({session.token!r})"


@pytest.mark.parametrize("kind", [Client, AsyncClient, Watch, AsyncWatch])
def test_help_shows_no_addresses_of_memory(kind: type) -> None:
    for name, method in inspect.getmembers(kind, inspect.isfunction):
        if not name.startswith("_"):
            assert " at 0x" not in str(inspect.signature(method)), name
    if issubclass(kind, (Client, AsyncClient)):
        assert "= <none>" in str(inspect.signature(kind.get))
