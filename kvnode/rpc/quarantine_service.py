"""The Quarantine service over a node."""

from __future__ import annotations

from typing import Protocol

import grpc

from kvnode.core.errors import Reason, Refused
from kvnode.core.quarantine import Record
from kvnode.rpc.handlers import unary
from kvnode.rpc.kv_codec import NodeName
from kvnode.rpc.replication_codec import vector_to_wire
from kvnode.v1 import quarantine_pb2 as pb

SERVICE = "kvnode.v1.Quarantine"


class Records(Protocol):
    """The quarantine of a node."""

    @property
    def pushed_out(self) -> int: ...
    def records(self) -> list[Record]: ...
    def get(self, number: int) -> Record | None: ...
    def remove(self, number: int) -> None: ...


class Quarantined(Protocol):
    """What the service needs of a node."""

    @property
    def quarantine(self) -> Records: ...
    async def retry(self, record: Record) -> str: ...


class QuarantineService:
    """Translates and calls the node."""

    def __init__(self, node: Quarantined, node_name: NodeName) -> None:
        self._node = node
        self._node_name = node_name

    def handler(self) -> grpc.GenericRpcHandler:
        """For ``grpc.aio.Server.add_generic_rpc_handlers``."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "List": unary(pb.ListQuarantineRequest, self.list),
                "Show": unary(pb.ShowQuarantineRequest, self.show),
                "Retry": unary(pb.RetryQuarantineRequest, self.retry),
                "Drop": unary(pb.DropQuarantineRequest, self.drop),
            },
        )

    async def list(self, request: pb.ListQuarantineRequest) -> pb.ListQuarantineResponse:  # noqa: ARG002
        """All records: as many as the node's bound, about 300 bytes each."""
        quarantine = self._node.quarantine
        return pb.ListQuarantineResponse(
            records=[self._record(record) for record in quarantine.records()],
            pushed_out=quarantine.pushed_out,
        )

    async def show(self, request: pb.ShowQuarantineRequest) -> pb.QuarantineRecord:
        """One record and its bytes, cut so that the reply fits; Refused (NO_SUCH_RECORD)."""
        record = self._get(request.id)
        found = self._record(record)
        found.raw = record.raw[:SHOWN_BYTES_MAX]
        return found

    async def retry(self, request: pb.RetryQuarantineRequest) -> pb.RetryQuarantineResponse:
        """Try to take the block; Refused (NO_SUCH_RECORD, STOPPING, DISK_FULL)."""
        reason = await self._node.retry(self._get(request.id))
        return pb.RetryQuarantineResponse(settled=not reason, reason=reason)

    async def drop(self, request: pb.DropQuarantineRequest) -> pb.DropQuarantineResponse:
        """Forget the record; Refused (NO_SUCH_RECORD)."""
        self._node.quarantine.remove(self._get(request.id).number)
        return pb.DropQuarantineResponse()

    def _get(self, number: int) -> Record:
        record = self._node.quarantine.get(number)
        if record is None:
            raise Refused(
                Reason.NO_SUCH_RECORD,
                f"this node's quarantine has no record {number}: see 'kvnode quarantine ls'",
            )
        return record

    def _record(self, record: Record) -> pb.QuarantineRecord:
        return pb.QuarantineRecord(
            id=record.number,
            source=record.source,
            peer=record.peer,
            reason=record.reason[:REASON_CHARACTERS_MAX],
            first_ms=record.first_ms,
            last_ms=record.last_ms,
            times=record.times,
            origin=record.origin,
            node=self._node_name(record.origin) if record.origin else "",
            first_seq=record.first_seq,
            last_seq=record.last_seq,
            awaits=vector_to_wire(record.awaits),
            raw_bytes=record.raw_bytes,
        )


SHOWN_BYTES_MAX = 2 << 20
"""Clients take messages of 4 MiB by default."""
REASON_CHARACTERS_MAX = 500
"""A reason may quote what was sent."""
