"""The Collection service over a node."""

from __future__ import annotations

from typing import Protocol

import grpc

from kvnode.rpc.handlers import unary
from kvnode.v1 import gc_pb2 as pb

SERVICE = "kvnode.v1.Collection"


class Collecting(Protocol):
    """What the service needs of a node."""

    def collection_status(self) -> pb.CollectionStatusResponse: ...


class GcService:
    """Asks the node."""

    def __init__(self, node: Collecting) -> None:
        self._node = node

    def handler(self) -> grpc.GenericRpcHandler:
        """For ``grpc.aio.Server.add_generic_rpc_handlers``."""
        return grpc.method_handlers_generic_handler(
            SERVICE, {"Status": unary(pb.CollectionStatusRequest, self.status)}
        )

    async def status(self, request: pb.CollectionStatusRequest) -> pb.CollectionStatusResponse:  # noqa: ARG002
        """What waits, for whom, and what has gone."""
        return self._node.collection_status()
