"""A bare grpcio server that sends back what it gets: what gRPC itself costs in Python.

``Echo`` takes and returns bytes. ``EchoBatch`` parses a batch as kvnode's API has it and serialises
it again, which any service in Python has to do.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click
import grpc
import grpc.aio

from bench.processes import LOG_NAME, ServerProcess
from kvnode.v1 import kv_pb2

ECHO: Final = "/bench.Echo/Echo"
ECHO_BATCH: Final = "/bench.Echo/EchoBatch"


async def serve() -> None:
    """Print the port and run until it is killed."""

    async def echo(request: Any, _context: object) -> Any:
        return request

    server = grpc.aio.server()
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Echo": grpc.unary_unary_rpc_method_handler(echo),
        "EchoBatch": grpc.unary_unary_rpc_method_handler(
            echo,
            request_deserializer=kv_pb2.WriteRequest.FromString,
            response_serializer=kv_pb2.WriteRequest.SerializeToString,
        ),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Echo", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    click.echo(port)
    await server.wait_for_termination()


@contextmanager
def echo_server(directory: Path) -> Iterator[str]:
    """Its address; its log is in the directory."""
    log = directory / LOG_NAME
    command = (sys.executable, "-m", "bench.echo")
    with ServerProcess("echo", command, directory, lambda: log.read_bytes().endswith(b"\n")):
        yield f"127.0.0.1:{int(log.read_text())}"


if __name__ == "__main__":
    asyncio.run(serve())
