"""What operators ask of one node's records: values that were dropped, blocks that were not taken.

Numbers of rows and records mean something on one node only, so calls that change something by
number (``single``) insist on a client with one endpoint.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kvnode.client.channels import Method
from kvnode.client.client import Client
from kvnode.client.operations import bound_bytes, refuse
from kvnode.core.errors import Reason
from kvnode.v1 import journal_pb2

LIST_LOST: Final = Method(
    "/kvnode.v1.Journal/List", journal_pb2.ListLostRequest, journal_pb2.ListLostResponse
)
GET_LOST: Final = Method(
    "/kvnode.v1.Journal/Get", journal_pb2.GetLostRequest, journal_pb2.LostValue
)


def single(client: Client, what: str) -> Client:
    """The client, if it has one endpoint; InvalidArgument else."""
    if len(client.endpoints) > 1:
        raise refuse(
            Reason.BAD_REQUEST, f"{what} means something to one node only; name one endpoint"
        )
    return client


def lost_values(client: Client, prefix: bytes | str = b"") -> Iterator[journal_pb2.LostValue]:
    """Values that lost against concurrent ones, as the node remembers, newest first."""
    request = journal_pb2.ListLostRequest(prefix=bound_bytes(prefix, "prefix"))
    while True:
        reply = client.ask(LIST_LOST, request)
        yield from reply.rows
        if not reply.next_before:
            return
        request.before = reply.next_before


def lost_value(client: Client, number: int) -> journal_pb2.LostValue:
    """One of them; KeyNotFound if there is no such row."""
    return single(client, "a journal id").ask(GET_LOST, journal_pb2.GetLostRequest(id=number))
