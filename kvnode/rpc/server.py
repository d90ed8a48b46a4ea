"""The gRPC server: kvnode's services, and gRPC's own health checking and reflection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME as HEALTH
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

from kvnode.rpc import (
    admin_service,
    gc_service,
    journal_service,
    kv_service,
    membership_service,
    quarantine_service,
    replication_service,
    snapshot_service,
    verification_service,
    watch_service,
)
from kvnode.rpc.link import MESSAGE_BYTES_MAX
from kvnode.tls import read_credentials
from kvnode.v1.admin_pb2 import StatusResponse

if TYPE_CHECKING:
    from kvnode.rpc.metrics import Exporter

CALLS_MAX = 2_000
"""Calls in progress; more are turned away with RESOURCE_EXHAUSTED before they are read."""
WAITING_CALLS, WAITING_CALLS_MAX = 320, 480
"""Calls that have come and were not taken up yet: some half a second's batches when a node is
overloaded, and more than the 300 that one client may have. Of more than the first, gRPC cancels
some, and those beyond the second: none was begun, and a client of kvnode asks again with the same
id. By itself gRPC lets thousands wait, till those in front have given up."""
KEEPALIVE_MS = 5_000
REQUEST_BYTES_MAX = 32 << 20
"""The largest are pushes: a round's block of two full batches, with contexts."""

SERVICES = (
    kv_service.SERVICE,
    admin_service.SERVICE,
    membership_service.SERVICE,
    replication_service.SERVICE,
    snapshot_service.SERVICE,
    gc_service.SERVICE,
    journal_service.SERVICE,
    quarantine_service.SERVICE,
    verification_service.SERVICE,
    watch_service.SERVICE,
)


Handlers = Sequence[grpc.GenericRpcHandler]


class Health(health_aio.HealthServicer):
    """gRPC's health service, whose watches end with the server.

    The library's wait for a change for ever; cancelling them makes gRPC print a traceback.
    """

    def __init__(self) -> None:
        super().__init__()
        self._over = asyncio.Event()

    async def Watch(  # noqa: N802 - the name of the call
        self,
        request: health_pb2.HealthCheckRequest,
        context: grpc.aio.ServicerContext[
            health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse
        ],
    ) -> None:
        """Tell every change until the server stops."""
        watch = asyncio.ensure_future(super().Watch(request, context))
        over = asyncio.ensure_future(self._over.wait())
        try:
            await asyncio.wait((watch, over), return_when=asyncio.FIRST_COMPLETED)
        finally:
            watch.cancel()
            over.cancel()

    def end_watches(self) -> None:
        """Let every watch end."""
        self._over.set()


class Server:
    """A listening server; ``port`` is the real one, also when 0 was asked for."""

    def __init__(self, address: str, handlers: Handlers, tls: str = "") -> None:
        """Bind; OSError if the address cannot be had.

        Args:
            address: HOST:PORT.
            handlers: of the services.
            tls: directory of the certificates (``kvnode/tls.py``); empty: no TLS.
        """
        self._server = grpc.aio.server(
            maximum_concurrent_rpcs=CALLS_MAX,
            options=[
                ("grpc.max_receive_message_length", REQUEST_BYTES_MAX),
                ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
                ("grpc.server.max_pending_requests", WAITING_CALLS),
                ("grpc.server.max_pending_requests_hard_limit", WAITING_CALLS_MAX),
                ("grpc.so_reuseport", 0),  # a second node on the port must fail, not share it
                ("grpc.keepalive_permit_without_calls", 1),
                # a peer whose machine died must not look connected
                ("grpc.keepalive_time_ms", KEEPALIVE_MS),
                ("grpc.keepalive_timeout_ms", KEEPALIVE_MS),
                ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
                ("grpc.http2.max_ping_strikes", 0),  # peers ping to find dead links early
            ],
        )
        self._server.add_generic_rpc_handlers(tuple(handlers))
        self._exporter: Exporter | None = None
        self._health = Health()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (*SERVICES, HEALTH, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        try:
            if tls:
                own = read_credentials(tls).of_server()
                self.port = self._server.add_secure_port(address, own)
            else:
                self.port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(
                f"cannot listen on {address}: it is in use or not an address of this machine"
            ) from error

    def export(self, address: str, status: Callable[[], StatusResponse]) -> None:
        """Serve a node's figures for Prometheus, too, if there is an address; OSError as above."""
        if address:
            from kvnode.rpc.metrics import Exporter  # and an HTTP server, which few want

            self._exporter = Exporter(address, status)

    async def start(self) -> None:
        """Take calls."""
        await self._server.start()
        for service in ("", *SERVICES):
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)

    async def show(self, service: str, *, serving: bool) -> None:
        """Change what the health service says of one service; nothing once retired."""
        status = health_pb2.HealthCheckResponse
        await self._health.set(service, status.SERVING if serving else status.NOT_SERVING)

    async def retire(self) -> None:
        """Report not serving; calls are still taken."""
        await self._health.enter_graceful_shutdown()

    async def stop(self, grace_s: float) -> None:
        """Take no more calls, let running ones end for so long, close."""
        self._health.end_watches()
        if self._exporter is not None:
            await self._exporter.close()
        await self._server.stop(grace_s)
