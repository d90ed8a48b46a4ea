"""What goes into an answer, which may have so many bytes and no more: states, or values alone.

To measure a message is to encode it, which takes a tenth of the time of a read. What a state takes
at most is known for nothing, and almost every answer stays far below its bound even so: only where
these sums go beyond it the messages are measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvnode.core.entry import Entry, Held, only_value, opened, packed_value
from kvnode.core.limits import INT64_MAX
from kvnode.core.types import COUNTERS
from kvnode.rpc.kv_codec import KvCodec
from kvnode.v1 import kv_pb2 as pb
from kvnode.v1 import types_pb2

if TYPE_CHECKING:
    from google.protobuf.internal.containers import RepeatedCompositeFieldContainer


ABSENT = 0
SEE_STATE = 255
"""Kinds of the brief answer to a BatchGet; the others are the types' numbers."""
HEAD_BYTES_MAX = 6
"""Of a value in its column, beside its bytes: tag and length; and its kind."""
SUM_BYTES_MAX = 11
"""Of a sum in its column, and its kind."""


class States:
    """Fills the states of one answer, all as of one time."""

    def __init__(
        self,
        states: RepeatedCompositeFieldContainer[types_pb2.KeyState],
        codec: KvCodec,
        now_ms: int,
        bytes_max: int,
    ) -> None:
        """``states``: those of the answer, none yet; ``bytes_max``: what they may take."""
        self._states = states
        self._codec = codec
        self._now_ms = now_ms
        self._bytes_max = bytes_max
        self._size = 0
        """What they take at most."""

    def add(self, key: bytes, entry: Entry) -> bool:
        """Add a key's state; whether all together now take more than they may."""
        self._size += self._codec.fill_state(self._states.add(), key, entry, self._now_ms)
        if self._size <= self._bytes_max:
            return False
        self._size = sum(state.ByteSize() for state in self._states)
        return self._size > self._bytes_max


class Columns:
    """The values of a brief answer, all as of one time.

    Of almost every key there is one value and nothing to find out: it goes from its entry into the
    column, and no state is made.
    """

    def __init__(
        self, response: pb.BatchGetResponse, codec: KvCodec, now_ms: int, bytes_max: int
    ) -> None:
        """``bytes_max``: what the columns may take."""
        self._response = response
        self._codec = codec
        self._now_ms = now_ms
        self._bytes_max = bytes_max
        self._size = 0
        """What they take at most, which is a few bytes a key more than they do."""
        self._kinds = bytearray()
        self._values: list[bytes] = []
        self._sums: list[int] = []

    def add(self, key: bytes, held: Held) -> bool:
        """Add what is under a key; whether all together now take more than they may."""
        if type(held) is bytes and (found := packed_value(held)) is not None:
            kind, value = found
            self._values.append(value)
            self._kinds.append(kind)
            self._size += HEAD_BYTES_MAX + len(value)
        else:
            self._add_any(key, opened(held))
        return self._size > self._bytes_max

    def _add_any(self, key: bytes, entry: Entry) -> None:
        kind, value = only_value(entry, self._now_ms) or (SEE_STATE, b"")
        if kind in COUNTERS:
            assert isinstance(value, int)
            if -INT64_MAX - 1 <= value <= INT64_MAX:
                self._sums.append(value)
                self._size += SUM_BYTES_MAX
            else:
                kind = SEE_STATE
        elif kind not in (ABSENT, SEE_STATE):
            assert isinstance(value, bytes)
            self._values.append(value)
            self._size += HEAD_BYTES_MAX + len(value)
        if kind == SEE_STATE:
            state = self._response.states.add()
            self._size += self._codec.fill_state(state, key, entry, self._now_ms)
        self._size += kind == ABSENT
        self._kinds.append(kind)

    def fill(self) -> None:
        """Say it all."""
        response = self._response
        response.kinds = bytes(self._kinds)
        response.values.extend(self._values)
        response.sums.extend(self._sums)
