"""Digests of sets of live entries: equal exactly when the sets are, whatever the order.

Problem: to show that replicas agree without sending what they hold, and to say where they differ
by moving bytes in proportion to the difference. The digest of a range must follow every change at
a constant cost, and be had for any range from those of its parts.

Idea: each key gets XXH3-128 over the key and the live form of what is kept under it, that is its
stored form (``entry.py``, ``entry_hash``) if nothing but what is live were there. A set's digest is
the sum of its keys' digests modulo 2^128, together with their number. Sums can be taken apart and
put together: a change subtracts the old digest and adds the new one, a range is the sum of its
parts, and the order of keys does not matter.

*Live* is what a reader can ever notice: not tombstones, spent counter slots, remembered removals
or where a map keeps what. Those differ between replicas with the same writes, because each
collects them in its own time; a key with nothing live counts as absent.

Nor values that have expired. Replicas have different clocks, and let go of such values at different
moments, so a digest is always *as of* a time: values with a deadline at or before it are left out.
Two replicas compare as of a time by which each has passed all it ever collected (see
``storage/deadlines.py``); what either still holds below does not count then, what is missing from
one above is a difference.

Against accidents this is as good as the hash: two different sets agree with a probability of
about 2^-128. Against an adversary who chooses values it is not, and would not be with a
cryptographic hash either (sums can be made to collide with some 2^40 work, Wagner 2002); but a
member who wants to lie about its state can simply lie. BLAKE2b, which was here before, took six
times as many instructions, a quarter of a checkpoint's.

A range of keys is cut into *segments* where the keys themselves say so (``is_boundary``), so that
replicas with the same keys have the same segments, and nothing has to be balanced.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import unpack
from typing import NamedTuple

import msgpack
from xxhash import xxh3_64_intdigest

from kvnode.core.dots import Dot
from kvnode.core.entry import Entry, entry_hash, live_entry
from kvnode.core.types import COUNTERS, LWW_REGISTER, lww, siblings
from kvnode.core.types.slots import spent

DIGEST_BYTES = 16
MODULUS = 1 << (8 * DIGEST_BYTES)
SEGMENT_KEYS = 1024
"""Keys of a segment, on average: recounting one takes some 10 ms, and 1 M keys have 1,000."""


class Digest(NamedTuple):
    """Of a set of keys: how many have something live, and the sum of their digests."""

    keys: int
    sum: int

    def plus(self, other: Digest) -> Digest:
        """Of both sets together, which have no key in common."""
        return Digest(self.keys + other.keys, (self.sum + other.sum) % MODULUS)

    def minus(self, part: Digest) -> Digest:
        """Of what is left of the set without a part of it."""
        return Digest(self.keys - part.keys, (self.sum - part.sum) % MODULUS)

    def text(self) -> str:
        """For people: the sum as 32 hexadecimal digits."""
        return f"{self.sum:032x}"


ABSENT = Digest(0, 0)
"""Of nothing."""
_LANES = 8 * DIGEST_BYTES // 2


def key_digest(key: bytes, entry: Entry, past: int = 0) -> Digest:
    """Of one key, as of ``past`` (Unix ms)."""
    live = live_entry(entry, past)
    if live is None:
        return ABSENT
    return Digest(1, int.from_bytes(entry_hash(key, msgpack.packb(live)), "big"))


def sum_of_all(digests: Sequence[bytes]) -> int:
    """What many digests make together, not yet modulo anything.

    To add halves, which are numbers of the processor, takes half as long as to make long ones.
    """
    lanes: tuple[int, ...] = unpack(f">{2 * len(digests)}Q", b"".join(digests))
    return (sum(lanes[::2]) << _LANES) + sum(lanes[1::2])


def is_boundary(key: bytes) -> bool:
    """Whether a segment begins at ``key`` if it is stored.

    No secret and no good hash: who wants no boundaries, or many, chooses keys for it either way.
    """
    return not xxh3_64_intdigest(key) % SEGMENT_KEYS


def live_dots(entry: Entry, past: int = 0) -> list[Dot]:
    """The writes that what is live at ``past`` came from, sorted; of a counter slot its birth."""
    dots: set[Dot] = set()
    for kind, state in entry.items():
        if kind in COUNTERS:
            dots.update(birth for birth, slot in state.items() if not spent(slot))
        elif kind == LWW_REGISTER:
            dots.update([(state[1], state[2])] if lww.visible(state, past) else [])
        else:
            dots.update(siblings.shown(state, past))
    return sorted(dots)
