"""The Admin service over a node."""

from __future__ import annotations

from typing import Protocol

import grpc

from kvnode.core.context import cell_token, entry_token
from kvnode.core.dots import Vector
from kvnode.core.entry import Entry
from kvnode.core.errors import Reason, Refused, quoted
from kvnode.core.hlc import time_ms
from kvnode.core.limits import Limits
from kvnode.core.types import COUNTERS, LWW_REGISTER, TYPES, State
from kvnode.rpc.handlers import unary
from kvnode.rpc.kv_codec import KvCodec
from kvnode.rpc.replication_codec import vector_to_wire
from kvnode.v1 import admin_pb2 as pb
from kvnode.v1 import types_pb2

SERVICE = "kvnode.v1.Admin"


class Inspected(Protocol):
    """What the service needs of a node."""

    @property
    def vector(self) -> Vector: ...
    def read(self, key: bytes) -> Entry: ...
    def now_ms(self) -> int: ...
    def status(self) -> pb.StatusResponse: ...


class AdminService:
    """Translates and calls the node."""

    def __init__(self, node: Inspected, codec: KvCodec, limits: Limits) -> None:
        self._node = node
        self._codec = codec
        self._limits = limits

    def handler(self) -> grpc.GenericRpcHandler:
        """For ``grpc.aio.Server.add_generic_rpc_handlers``."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Status": unary(pb.StatusRequest, self.status),
                "Inspect": unary(pb.InspectRequest, self.inspect),
            },
        )

    async def status(self, request: pb.StatusRequest) -> pb.StatusResponse:  # noqa: ARG002
        """The node as it is now."""
        return self._node.status()

    async def inspect(self, request: pb.InspectRequest) -> pb.InspectResponse:
        """All that is kept under a key; Refused (KEY_NOT_FOUND)."""
        key = request.key
        self._limits.check_key(key)
        entry = self._node.read(key)
        if not entry:
            raise Refused(Reason.KEY_NOT_FOUND, f"nothing is kept under {quoted(key)}")
        now_ms = self._node.now_ms()
        return pb.InspectResponse(
            key=key,
            context=entry_token(key, entry, self._codec.secret, now_ms),
            cells=[self._cell(key, kind, entry[kind], now_ms) for kind in sorted(entry)],
            session=vector_to_wire(self._node.vector),
        )

    def _cell(self, key: bytes, kind: int, state: State, now_ms: int) -> pb.Cell:
        module, codec = TYPES[kind], self._codec
        cell = pb.Cell(
            type=kind,  # type: ignore[arg-type]
            visible=module.visible(state, now_ms),
            context=cell_token(key, kind, module.context(state), codec.secret),
        )
        if kind in COUNTERS:
            cell.slots.extend(self._slot(*slot, *state[slot][:5]) for slot in sorted(state))
        elif kind == LWW_REGISTER:
            cell.register.CopyFrom(codec.register(state))
            cell.deleted = state[3] is None
        else:
            held, awaited = state
            cell.siblings.extend(
                codec.stored(held[dot][1], dot, held[dot][0], *held[dot][2:])
                for dot in sorted(held)
            )
            cell.awaited.extend(types_pb2.Dot(origin=o, seq=s) for o, s in sorted(awaited))
        return cell

    def _slot(
        self, origin: int, birth: int, inc: int, dec: int, base_inc: int, base_dec: int, hlc: int
    ) -> pb.CounterSlot:
        return pb.CounterSlot(
            birth=types_pb2.Dot(origin=origin, seq=birth),
            node=self._codec.node_name(origin),
            incremented=inc,
            decremented=dec,
            deleted_incremented=base_inc,
            deleted_decremented=base_dec,
            time_ms=time_ms(hlc),
        )
