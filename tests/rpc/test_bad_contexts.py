"""Causal contexts that no node of this cluster made for this key."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from kvnode.core.context import decode_token, entry_token
from kvnode.core.errors import Reason

from .api import LWW_REGISTER, Api, delete, put, refusal
from .conftest import CLUSTER
from .refused import assert_refused, nothing_changes

SECRET = CLUSTER.encode()
RANDOM = random.Random(7)


def flipped(token: bytes, at: int) -> bytes:
    """With one bit of one byte changed."""
    return token[:at] + bytes([token[at] ^ 1]) + token[at + 1 :]


def made_for(key: bytes, origin: int, siblings: int = 1, secret: bytes = SECRET) -> bytes:
    """What a node would make for so many siblings."""
    held = {(origin, seq): (1, b"") for seq in range(1, siblings + 1)}
    return entry_token(key, {4: (held, frozenset())}, secret, 0)


BAD: dict[str, Callable[[Api, bytes, bytes], bytes]] = {
    "one byte": lambda _api, _key, token: token[:1],
    "version only and a hash": lambda _api, _key, token: token[:1] + token[-8:],
    "of another version": lambda _api, _key, token: flipped(token, 0),
    "without its last byte": lambda _api, _key, token: token[:-1],
    "without its first byte": lambda _api, _key, token: token[1:],
    "half": lambda _api, _key, token: token[: len(token) // 2],
    "with a byte more": lambda _api, _key, token: token + b"\x00",
    "twice": lambda _api, _key, token: token + token,
    "forged content": lambda _api, _key, token: flipped(token, len(token) // 2),
    "forged hash": lambda _api, _key, token: flipped(token, len(token) - 1),
    "random bytes": lambda _api, _key, _token: RANDOM.randbytes(40),
    "random bytes with the version": lambda _api, _key, _token: b"\x01" + RANDOM.randbytes(40),
    "of another key": lambda api, key, _token: api.put(key + b"2", b"v").result.context,
    "of a key with this one as its beginning": lambda api, key, _token: (
        api.put(key + b"\x01", b"v").result.context
    ),
    "of another cluster": lambda api, key, _token: made_for(
        key, api.status().origin, secret=b"elsewhere"
    ),
    "of a cluster without secret": lambda api, key, _token: made_for(
        key, api.status().origin, secret=b""
    ),
    "oversized": lambda _api, key, _token: made_for(key, 2**63, 10_000),
}


@pytest.mark.parametrize("name", BAD)
def test_a_foreign_context_is_refused(api: Api, key: bytes, name: str) -> None:
    api.put(key, b"old", blind=True)
    api.put(key, b"older", blind=True)
    token = BAD[name](api, key, api.get(key).context)
    for call in (
        lambda: api.put(key, b"v", context=token),
        lambda: api.put(key, b"v", context=token, type=LWW_REGISTER),
        lambda: api.delete(key, context=token),
        lambda: api.write(put(key + b"1", b"v"), put(key, b"v", context=token)),
        lambda: api.write(put(key + b"1", b"v"), delete(key, context=token)),
    ):
        assert_refused(api, call, Reason.BAD_CONTEXT)


def test_a_context_made_with_the_cluster_s_secret_is_taken(api: Api, key: bytes) -> None:
    """The counterpart: it is the secret and the key that count, so any node's token is good."""
    dot = api.put(key, b"old").result.dot
    token = entry_token(key, {4: ({(dot.origin, dot.seq): (1, b"")}, frozenset())}, SECRET, 0)
    assert token == api.get(key).context
    api.put(key, b"new", context=token)
    assert api.values(key) == [b"new"]


def test_a_cause_that_is_a_setting_is_named(api: Api, key: bytes) -> None:
    """Nodes of one cluster that have different secrets refuse each other's contexts."""
    token = made_for(key, api.status().origin, secret=b"elsewhere")
    refused = refusal(lambda: api.put(key, b"v", context=token))
    assert 'or the nodes\' "secret" settings differ' in refused.message


def test_a_context_excludes_blind(api: Api, key: bytes) -> None:
    context = api.put(key, b"old").result.context
    assert_refused(api, lambda: api.put(key, b"v", context=context, blind=True), Reason.BAD_REQUEST)


def test_a_context_tells_nothing_but_what_was_read(api: Api, key: bytes) -> None:
    """Not even the node's version vector, with unread dots in it."""
    api.put(key + b"other", b"v")
    dot = api.put(key, b"v").result.dot
    api.put(key + b"other", b"v")
    context = decode_token(key, api.get(key).context, SECRET, 1 << 16)
    assert context.siblings == {(dot.origin, dot.seq)}
    assert context.types == (4,)


@pytest.mark.parametrize("size", [481, 20_000, 1 << 20])
def test_a_long_key_with_a_bad_context_is_refused_in_few_words(api: Api, size: int) -> None:
    """A refusal has to fit into gRPC's metadata (8 KiB): it cannot name such a key."""
    key = b"\xff" * size
    for call in (
        lambda: api.put(key, b"v", context=b"invented"),
        lambda: api.delete(key, context=b"invented"),
        lambda: api.write(put(key, b"v", context=b"invented")),
    ):
        with nothing_changes(api):
            found = refusal(call)
        assert found.info.reason in (Reason.BAD_KEY, Reason.BAD_CONTEXT)
        assert len(found.message) < 4096
