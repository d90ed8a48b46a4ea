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
from kvnode.v1 import journal_pb2, quarantine_pb2

LIST_LOST: Final = Method(
    "/kvnode.v1.Journal/List", journal_pb2.ListLostRequest, journal_pb2.ListLostResponse
)
GET_LOST: Final = Method(
    "/kvnode.v1.Journal/Get", journal_pb2.GetLostRequest, journal_pb2.LostValue
)
LIST_QUARANTINE: Final = Method(
    "/kvnode.v1.Quarantine/List",
    quarantine_pb2.ListQuarantineRequest,
    quarantine_pb2.ListQuarantineResponse,
)
SHOW_QUARANTINE: Final = Method(
    "/kvnode.v1.Quarantine/Show",
    quarantine_pb2.ShowQuarantineRequest,
    quarantine_pb2.QuarantineRecord,
)
RETRY_QUARANTINE: Final = Method(
    "/kvnode.v1.Quarantine/Retry",
    quarantine_pb2.RetryQuarantineRequest,
    quarantine_pb2.RetryQuarantineResponse,
)
DROP_QUARANTINE: Final = Method(
    "/kvnode.v1.Quarantine/Drop",
    quarantine_pb2.DropQuarantineRequest,
    quarantine_pb2.DropQuarantineResponse,
)
QUARANTINE_ID: Final = "a quarantine id"


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
        reply = client.admin.ask(LIST_LOST, request)
        yield from reply.rows
        if not reply.next_before:
            return
        request.before = reply.next_before


def lost_value(client: Client, number: int) -> journal_pb2.LostValue:
    """One of them; KeyNotFound if there is no such row."""
    return single(client, "a journal id").admin.ask(GET_LOST, journal_pb2.GetLostRequest(id=number))


def quarantine_records(client: Client) -> quarantine_pb2.ListQuarantineResponse:
    """All records of the first node that answers, without their bytes."""
    return client.admin.ask(LIST_QUARANTINE, quarantine_pb2.ListQuarantineRequest())


def quarantine_record(client: Client, number: int) -> quarantine_pb2.QuarantineRecord:
    """One record with its bytes; KeyNotFound if there is none of this number."""
    request = quarantine_pb2.ShowQuarantineRequest(id=number)
    return single(client, QUARANTINE_ID).admin.ask(SHOW_QUARANTINE, request)


def retry_quarantined(client: Client, number: int) -> quarantine_pb2.RetryQuarantineResponse:
    """Let the node try to take the block; KeyNotFound if there is no such record."""
    request = quarantine_pb2.RetryQuarantineRequest(id=number)
    return single(client, QUARANTINE_ID).admin.ask(RETRY_QUARANTINE, request)


def drop_quarantined(client: Client, number: int) -> None:
    """Let the node forget the record; KeyNotFound if there is none."""
    request = quarantine_pb2.DropQuarantineRequest(id=number)
    single(client, QUARANTINE_ID).admin.ask(DROP_QUARANTINE, request)
