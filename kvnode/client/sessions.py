"""What one user has seen and done, so that any node can take up from there.

A session is a version vector: origin -> how many of its writes are known. Calls of a session send
it along; a node answers when it has all that, and makes a write after all that. That gives the
four guarantees, at whatever node: read your writes, monotonic reads, writes follow reads,
monotonic writes.

The token is the vector in bytes, for a cookie, a header or a job: ``01``, then for each origin, in
ascending order, its id (8 bytes, big-endian) and its number (LEB128: seven bits a byte, the lowest
first, the top bit says that more follow). Some 11 bytes for every node that has written.
"""

from __future__ import annotations

import threading
from typing import Final

from kvnode.core.errors import Reason
from kvnode.errors import InvalidArgument
from kvnode.v1 import types_pb2

VERSION: Final = b"\x01"
ORIGIN_BYTES: Final = 8
SEQ_BYTES_MAX: Final = 10
ORIGINS_MAX: Final = 10_000
"""More than any cluster has ever had; a longer token is none."""


class Session:
    """What was seen so far. Thread safe; it only grows."""

    def __init__(self, token: bytes = b"") -> None:
        """Go on from a token; InvalidArgument if it is none."""
        self._vector = vector_in(token)
        self._message: types_pb2.VersionVector | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        """As it can be made."""
        return f"Session({self.token!r})"

    @property
    def token(self) -> bytes:
        """All that was seen so far, for another client, process or language."""
        with self._lock:
            vector = sorted(self._vector.items())
        return VERSION + b"".join(
            origin.to_bytes(ORIGIN_BYTES, "big") + leb128(seq) for origin, seq in vector
        )

    def learn(self, seen: types_pb2.VersionVector) -> None:
        """A reply showed this."""
        with self._lock:
            vector = self._vector
            for entry in seen.entries:
                if entry.seq > vector.get(entry.origin, 0):
                    vector[entry.origin] = entry.seq
                    self._message = None

    def message(self) -> types_pb2.VersionVector | None:
        """What a call has to come after, not to be changed; None if that is nothing."""
        with self._lock:
            if self._message is None and self._vector:
                self._message = types_pb2.VersionVector(
                    entries=[
                        types_pb2.Dot(origin=origin, seq=seq)
                        for origin, seq in self._vector.items()
                    ]
                )
            return self._message


def vector_in(token: bytes) -> dict[int, int]:
    """The vector of a token, of an empty one nothing; InvalidArgument if it is none."""
    if not isinstance(token, bytes):
        raise refused(f"it is {type(token).__name__}, not bytes")
    if not token:
        return {}
    if token[:1] != VERSION:
        raise refused("it begins otherwise")
    vector: dict[int, int] = {}
    position = 1
    before = -1
    while position < len(token):
        origin = int.from_bytes(token[position : position + ORIGIN_BYTES], "big")
        position += ORIGIN_BYTES
        seq = shift = 0
        while True:
            if position >= len(token) or shift >= 7 * SEQ_BYTES_MAX:
                raise refused("it breaks off")
            byte = token[position]
            position += 1
            seq |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        if origin <= before or not 0 < seq < 1 << 64 or len(vector) >= ORIGINS_MAX:
            raise refused("its parts make no sense")
        before = origin
        vector[origin] = seq
    return vector


def leb128(number: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def refused(why: str) -> InvalidArgument:
    """For what is not a token."""
    return InvalidArgument(f"this is no session token: {why}", reason=Reason.BAD_REQUEST)
