"""Scan: ranges, pages, what is hidden, and the same again when the state is on disk."""

from __future__ import annotations

import bisect
from collections.abc import Callable

import pytest

from tests.node.process import NodeProcess

from .api import LWW_REGISTER, Api, delete, increment, put

Start = Callable[..., tuple[NodeProcess, Api]]

KEYS = sorted(
    [b"\x00", b"a", b"a\x00", b"a\xff", b"a\xff\xff", b"a\xff\xffz", b"ab", b"b", b"b\x00\x00"]
    + [b"\xfe", b"\xfe\xff", b"\xff", b"\xff\x00", b"\xff\xff", b"\xff\xff\xff", b"\xff" * 480]
    + [b"m%03d" % number for number in range(40)]
)
RANGES: list[dict[str, bytes]] = [
    {},
    {"prefix": b"a"},
    {"prefix": b"a\xff"},
    {"prefix": b"\xff"},
    {"prefix": b"\xff\xff"},
    {"prefix": b"m0"},
    {"prefix": b"nothing"},
    {"start": b"b"},
    {"start": b"m010", "end": b"m020"},
    {"end": b"a\xff"},
    {"start": b"\xff\xff"},
    {"start": b"m020", "end": b"m010"},
    {"prefix": b"m", "start": b"m005", "end": b"m008"},
    {"prefix": b"m", "start": b"a", "end": b"z"},
    {"prefix": b"m", "start": b"n"},
    {"prefix": b"m", "end": b"a"},
    {"prefix": b"a", "start": b"a\xff\xff"},
    {"prefix": b"\xff", "end": b"\xff\xff"},
    {"prefix": b"x" * 600},
    {"start": b"m" * 600},
]


def expected(
    keys: list[bytes], *, prefix: bytes = b"", start: bytes = b"", end: bytes = b""
) -> list[bytes]:
    """The definition in the proto file, literally."""
    return [
        key for key in keys if key.startswith(prefix) and key >= start and (not end or key < end)
    ]


@pytest.mark.parametrize("limit", [1, 3, 0])
def test_every_range_in_pages_of_any_size(start: Start, limit: int) -> None:
    _, api = start()
    api.write(*(put(key, b"v") for key in KEYS))
    for wanted in RANGES:
        assert api.names(limit=limit, **wanted) == expected(KEYS, **wanted), wanted


def test_keys_on_disk_and_in_memory_are_one_order(start: Start) -> None:
    """A restart leaves the first half on disk; the second half and the changes are in memory."""
    process, api = start()
    api.write(*(put(key, b"disk") for key in KEYS[::2]))
    process.stop()
    _, api = start()
    gone, changed = KEYS[0::6], KEYS[2::6]
    api.write(*(put(key, b"memory") for key in KEYS[1::2]))
    api.write(*(delete(key) for key in gone), *(put(key, b"memory") for key in changed))
    left = [key for key in KEYS if key not in gone]
    for wanted in RANGES:
        for limit in (1, 7, 0):
            states = api.scan(limit=limit, **wanted)
            assert [state.key for state in states] == expected(left, **wanted), wanted
            for state in states:
                on_disk = state.key in KEYS[::2] and state.key not in changed
                assert state.siblings.values[0].value == (b"disk" if on_disk else b"memory")


def test_a_page_has_at_most_the_limit_and_the_last_one_no_token(api: Api, key: bytes) -> None:
    names = [key + b"%02d" % number for number in range(10)]
    api.write(*(put(name, b"v") for name in names))
    first = api.page(prefix=key, limit=4)
    second = api.page(prefix=key, limit=4, page_token=first.next_page_token)
    third = api.page(prefix=key, limit=4, page_token=second.next_page_token)
    assert [len(page.states) for page in (first, second, third)] == [4, 4, 2]
    assert not third.next_page_token
    assert not api.page(prefix=key, limit=10).next_page_token
    assert len(api.page(prefix=key, limit=10_000).states) == 10


def test_a_page_without_limit_has_a_thousand_keys(api: Api, key: bytes) -> None:
    names = [key + b"%04d" % number for number in range(1001)]
    api.write(*(put(name, b"v") for name in names))
    page = api.page(prefix=key)
    assert [state.key for state in page.states] == names[:1000]
    rest = api.page(prefix=key, page_token=page.next_page_token)
    assert [state.key for state in rest.states] == names[1000:]
    api.write(*(delete(name) for name in names))


def test_a_page_ends_at_two_mebibytes(api: Api, key: bytes) -> None:
    """A client with gRPC's default limit of 4 MiB can read keys with the largest values."""
    names = [key + b"%d" % number for number in range(5)]
    for name in names:
        api.put(name, bytes(1 << 20))
    page = api.page(prefix=key)
    assert [state.key for state in page.states] == names[:2]
    assert api.names(prefix=key) == names
    api.write(*(delete(name) for name in names))


def test_deleted_keys_are_hidden_and_re_created_ones_are_not(api: Api, key: bytes) -> None:
    def create() -> None:
        api.write(
            put(key + b"s", b"v"),
            put(key + b"r", b"v", type=LWW_REGISTER),
            increment(key + b"g", type=1),
            increment(key + b"p"),
        )

    create()
    shown = sorted(key + tail for tail in (b"s", b"r", b"g", b"p"))
    assert api.names(prefix=key) == shown
    api.write(*(delete(name) for name in shown))
    assert api.names(prefix=key) == []
    create()
    assert api.names(prefix=key) == shown


def test_a_scan_shows_what_get_shows(api: Api, key: bytes) -> None:
    api.write(
        put(key + b"s", b"1", blind=True),
        put(key + b"s", b"2", blind=True),
        put(key + b"r", b"v", type=LWW_REGISTER),
        increment(key + b"g", type=1),
        increment(key + b"p", -5),
    )
    states = api.scan(prefix=key)
    assert len(states) == 4
    assert states == [api.get(state.key) for state in states]


def test_keys_written_between_pages_are_seen_if_they_are_ahead(api: Api, key: bytes) -> None:
    """Pages are different moments: a scan shows what there is when it gets there."""
    api.write(*(put(key + tail, b"v") for tail in (b"b", b"d", b"f", b"h")))
    first = api.page(prefix=key, limit=2)
    api.write(put(key + b"a", b"v"), put(key + b"e", b"v"), delete(key + b"f"))
    api.put(key + b"g", b"v")
    rest = api.page(prefix=key, page_token=first.next_page_token)
    shown = [state.key[-1:] for state in (*first.states, *rest.states)]
    assert shown == [b"b", b"d", b"e", b"g", b"h"]


def test_many_hidden_keys_make_empty_pages_and_not_one_long_call(start: Start) -> None:
    """A node looks at a bounded number of keys for a page; the token goes on from there.

    The cheapest hidden key is a deleted one, which is kept until the next checkpoint.
    """
    _, api = start()
    hidden = [b"h%06d" % number for number in range(21_000)]
    for at in range(0, len(hidden), 3_500):
        names = hidden[at : at + 3_500]
        api.write(*(put(name, b"v") for name in names), *(delete(name) for name in names))
    api.put(b"z", b"v")
    page = api.page()
    assert not page.states
    assert page.next_page_token
    assert api.names() == [b"z"]
    assert 0 < bisect.bisect(hidden, page.next_page_token[1:]) < len(hidden)
