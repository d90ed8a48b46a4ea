"""Whether a node will be able to take calls, asked before anything is made for it."""

from __future__ import annotations

import socket
from pathlib import Path

from kvnode.config import Config
from kvnode.storage.ending import FORMAT
from kvnode.tls import read_credentials


def check_listening(config: Config) -> None:
    """OSError if the certificates are of no use, or an address of a new node cannot be had.

    No directory is to be left of it then. Who has one finds out about the address when it listens:
    that the directory is in use says more.
    """
    if config.tls:
        read_credentials(config.tls)
    if (Path(config.data) / FORMAT).exists():
        return
    for address in filter(None, (config.listen, config.metrics)):
        _check(address)


def _check(address: str) -> None:
    host, _, port = address.rpartition(":")
    problem: OSError | None = None
    try:
        found = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, kind, protocol, _, where in found:
            try:
                with socket.socket(family, kind, protocol) as probe:
                    # as gRPC: connections of a node that was there are no obstacle
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(where)
            except OSError as error:
                problem = error
            else:
                return  # gRPC is content with one of several, too
    except OSError as error:
        problem = error
    reason = problem.strerror if problem else "no such host"
    raise OSError(f"cannot listen on {address}: {reason}") from problem
