"""States going into an answer, which may have so many bytes and no more.

To measure a message is to encode it, which takes a tenth of the time of a read. What a state takes
at most is known for nothing, and almost every answer stays far below its bound even so: only where
these sums go beyond it the messages are measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvnode.core.entry import Entry
from kvnode.rpc.kv_codec import KvCodec
from kvnode.v1 import types_pb2

if TYPE_CHECKING:
    from google.protobuf.internal.containers import RepeatedCompositeFieldContainer


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

    def __len__(self) -> int:
        return len(self._states)

    def add(self, key: bytes, entry: Entry) -> bool:
        """Add a key's state; whether all together now take more than they may."""
        self._size += self._codec.fill_state(self._states.add(), key, entry, self._now_ms)
        if self._size <= self._bytes_max:
            return False
        self._size = sum(state.ByteSize() for state in self._states)
        return self._size > self._bytes_max
