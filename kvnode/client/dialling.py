"""How the channels of a client are made: as they are, or over TLS."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final, TypeAlias

import grpc

from kvnode.core.errors import Reason
from kvnode.errors import InvalidArgument
from kvnode.tls import read_credentials

Folder: TypeAlias = "str | os.PathLike[str]"
Option = tuple[str, object]


class Dialler:
    """Makes channels; nothing is connected before they are used."""

    __slots__ = ("_credentials", "tls")

    def __init__(self, tls: Folder | None = None) -> None:
        """``tls``: directory of the certificates (``kvnode/tls.py``); InvalidArgument if not."""
        self.tls = tls
        if tls is None:
            self._credentials = None
            return
        try:
            self._credentials = read_credentials(os.fspath(tls))
        except (OSError, TypeError) as error:
            raise InvalidArgument(str(error), reason=Reason.BAD_REQUEST) from error

    def channel(self, address: str, options: Sequence[Option]) -> grpc.Channel:
        """For threads."""
        if self._credentials is None:
            return grpc.insecure_channel(address, options=options)
        return grpc.secure_channel(address, self._credentials.of_channel(), options=options)

    def aio_channel(self, address: str, options: Sequence[Option]) -> grpc.aio.Channel:
        """For asyncio."""
        if self._credentials is None:
            return grpc.aio.insecure_channel(address, options=options)
        return grpc.aio.secure_channel(address, self._credentials.of_channel(), options=options)


PLAIN: Final = Dialler()
"""Without TLS."""
