"""How bytes become text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvnode.cli.options import decode_base64, encode_token
from kvnode.cli.output import (
    TABLE_BYTES_MAX,
    bytes_object,
    cut,
    escaped,
    is_presentable,
    one_line,
)
from kvnode.cli.states import local_time


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"user:1", "user:1"),
        ("Zo\u00eb \U0001f41f".encode(), "Zo\u00eb \U0001f41f"),
        (b"a\\x00", r"a\\x00"),
        (b"a\x00", r"a\x00"),
        (b"\xff", r"\xff"),
        (b"a\tb\r\n", r"a\tb\r\n"),
        (b" a b ", r"\x20a b\x20"),
        (b"  ", r"\x20\x20"),
        (b"", ""),
        (b"\x1b[31mred", r"\x1b[31mred"),
        ("\u202etxt".encode(), r"\xe2\x80\xaetxt"),
    ],
)
def test_bytes_read_as_text(raw: bytes, text: str) -> None:
    assert escaped(raw) == text


@given(st.binary(max_size=30) | st.text("\\x0 a\n\u00e9\u202e", max_size=8).map(str.encode))
def test_different_bytes_read_differently(raw: bytes) -> None:
    """The text leads back to the bytes, so no two values look the same."""
    text = escaped(raw)
    assert text.isprintable()
    back = b""
    while text:
        if text[0] != "\\":
            back, text = back + text[0].encode(), text[1:]
        elif text[1] == "x":
            back, text = back + bytes.fromhex(text[2:4]), text[4:]
        else:
            back, text = back + {"\\": b"\\", "n": b"\n", "t": b"\t", "r": b"\r"}[text[1]], text[2:]
    assert back == raw


@given(st.binary(max_size=40))
def test_json_keeps_every_byte(raw: bytes) -> None:
    found = json.loads(json.dumps(bytes_object(raw)))
    assert len(found) == 1
    if "utf8" in found:
        assert found["utf8"].encode() == raw
    else:
        assert decode_base64(found["base64"]) == raw
        with pytest.raises(UnicodeDecodeError):
            raw.decode()


@given(st.binary(max_size=40))
def test_tokens_come_back(raw: bytes) -> None:
    assert decode_base64(encode_token(raw)) == raw


@pytest.mark.parametrize("text", ["a", "!!!!", "ab c", "\u00e9\u00e9\u00e9\u00e9", "a=b="])
def test_what_is_not_base64_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_base64(text)


def test_a_long_value_is_cut_and_says_so() -> None:
    """With an ending that no value's own text can have."""
    assert cut(b"x" * TABLE_BYTES_MAX) == "x" * TABLE_BYTES_MAX
    assert cut(b"x" * 1000) == "x" * TABLE_BYTES_MAX + r"\... (1000 bytes)"
    assert cut(rb"\... (1000 bytes)") == r"\\... (1000 bytes)"


@pytest.mark.parametrize(
    ("raw", "presentable"),
    [(b"", True), (b"a\n\tb", True), (b"\x1b[2J", False), (b"\xff", False), (b"a\rb", False)],
)
def test_terminals_get_nothing_that_commands_them(raw: bytes, *, presentable: bool) -> None:
    assert is_presentable(raw) is presentable


def test_an_error_is_one_line() -> None:
    assert one_line("a\n  b\x1b[0m\tc") == r"a b\x1b[0m c"


@pytest.mark.parametrize("time_ms", [2**64 - 1, 2**62])
def test_a_time_beyond_the_calendar_stays_a_number(time_ms: int) -> None:
    """A node's clock may be anything."""
    assert local_time(time_ms) == f"{time_ms} ms"


def test_a_time_has_its_zone() -> None:
    assert local_time(0).startswith(("1970-01-01", "1969-12-31"))
    assert local_time(0)[-6] in "+-"
