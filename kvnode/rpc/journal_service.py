"""The Journal service over a node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import grpc

from kvnode.core.errors import Reason, Refused
from kvnode.core.hlc import time_ms
from kvnode.core.losers import Loser
from kvnode.rpc.handlers import unary
from kvnode.rpc.kv_codec import KvCodec
from kvnode.v1 import journal_pb2 as pb
from kvnode.v1 import types_pb2

SERVICE = "kvnode.v1.Journal"
PAGE_ROWS_MAX = 1_000
PAGE_BYTES_MAX = 2 << 20
"""A page ends behind the row that goes beyond it: with the largest value well below 4 MiB."""


class Rows(Protocol):
    """What the service needs of a node's journal."""

    def page(
        self, prefix: bytes, before: int, rows_max: int, bytes_max: int
    ) -> tuple[list[tuple[int, Loser]], int]: ...
    def get(self, number: int) -> Loser | None: ...


class JournalService:
    """Translates and asks the journal."""

    def __init__(self, journal: Callable[[], Rows], codec: KvCodec) -> None:
        """``journal``: the rows, or Refused while this node answers no clients."""
        self._journal = journal
        self._codec = codec

    def handler(self) -> grpc.GenericRpcHandler:
        """For ``grpc.aio.Server.add_generic_rpc_handlers``."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "List": unary(pb.ListLostRequest, self.list),
                "Get": unary(pb.GetLostRequest, self.get),
            },
        )

    async def list(self, request: pb.ListLostRequest) -> pb.ListLostResponse:
        """A page of lost values; Refused (BAD_REQUEST)."""
        if request.limit > PAGE_ROWS_MAX:
            raise Refused(
                Reason.BAD_REQUEST,
                f"a page has at most {PAGE_ROWS_MAX} rows",
                limit=str(request.limit),
            )
        rows, following = self._journal().page(
            request.prefix, request.before, request.limit or PAGE_ROWS_MAX, PAGE_BYTES_MAX
        )
        return pb.ListLostResponse(
            rows=[self._row(number, loser) for number, loser in rows], next_before=following
        )

    async def get(self, request: pb.GetLostRequest) -> pb.LostValue:
        """One row; Refused (NO_SUCH_RECORD)."""
        loser = self._journal().get(request.id)
        if loser is None:
            raise Refused(
                Reason.NO_SUCH_RECORD,
                f"this node's journal has no row {request.id}: see 'kvnode conflicts --resolved'",
            )
        return self._row(request.id, loser)

    def _row(self, number: int, loser: Loser) -> pb.LostValue:
        origin, seq = loser.winner_dot
        return pb.LostValue(
            id=number,
            key=loser.key,
            lost=self._codec.stored(loser.value, loser.dot, loser.hlc, loser.deadline),
            winner=pb.Write(
                dot=types_pb2.Dot(origin=origin, seq=seq),
                time_ms=time_ms(loser.winner_hlc),
                node=self._codec.node_name(origin),
            ),
            winner_deleted=loser.winner_deleted,
        )
