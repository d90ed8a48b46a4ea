"""From raw request bytes to a reply or a documented error: the one way into every service.

gRPC's own deserialiser would answer half a message with INTERNAL and ignore fields it does not
know. Requests therefore arrive as bytes and are parsed here: a broken one is INVALID_ARGUMENT
(MALFORMED_MESSAGE), one with unknown fields is refused (UNKNOWN_FIELD), because ignoring a field
could mean breaking a promise its sender counts on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import NoReturn, TypeVar

import grpc
import grpc.aio
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from kvnode.core.errors import OutcomeUnclear, Reason, Refused, StateError
from kvnode.errors import CODES, DOMAIN
from kvnode.v1 import kv_pb2

logger = logging.getLogger(__name__)

RETRY_AFTER_MS = 100
"""Hint with RESOURCE_EXHAUSTED: a few rounds, after which the queue has moved."""

MESSAGE_CHARACTERS_MAX = 1_000
"""Status and message travel in headers, which gRPC bounds at 8 KiB; a caller may quote itself."""

WAIT_S_MAX = 60.0
"""No call waits longer for other members, whatever its deadline."""

ON_ITS_WAY_S_MAX = 0.1
"""Of a deadline, kept for the answer: who waits in vain should hear why."""

Req = TypeVar("Req", bound=Message)
Context = grpc.aio.ServicerContext[bytes, bytes]


def parse(kind: type[Req], raw: bytes) -> Req:
    """The request message; Refused (MALFORMED_MESSAGE, UNKNOWN_FIELD)."""
    message = kind()
    try:
        message.ParseFromString(raw)
    except DecodeError as error:
        raise Refused(
            Reason.MALFORMED_MESSAGE, f"this is no {kind.DESCRIPTOR.full_name}: {error}"
        ) from error
    message.DiscardUnknownFields()
    # What clients send is in the one order that protobuf itself writes. Anything else (which may be
    # as well-formed) is read again to see whether something was discarded.
    if message.SerializeToString() != raw and message.ByteSize() != kind.FromString(raw).ByteSize():
        raise Refused(
            Reason.UNKNOWN_FIELD,
            f"the {kind.DESCRIPTOR.full_name} has fields this version of kvnode does not know: "
            "use a node of the client's version",
        )
    return message


class NotReplicated(Exception):
    """A write that is done, and that fewer members have on disk than was asked for."""

    def __init__(self, shortfall: kv_pb2.Shortfall) -> None:
        names = ", ".join(shortfall.stored_by)
        super().__init__(
            f"the write is done and stays, but only {len(shortfall.stored_by)} of the "
            f"{shortfall.wanted} members it was to be stored by have it on disk so far: {names}"
        )
        self.shortfall = shortfall


def status_of(refusal: Refused | NotReplicated) -> Status:
    """The refusal as google.rpc.Status with a machine-readable reason."""
    if isinstance(refusal, NotReplicated):
        shortfall = refusal.shortfall
        status = status_of(Refused(Reason.NOT_REPLICATED, str(refusal)))
        status.details.add().Pack(shortfall)
        return status
    code = CODES[refusal.reason]
    message = refusal.message
    if len(message) > MESSAGE_CHARACTERS_MAX:
        message = message[: MESSAGE_CHARACTERS_MAX - 3] + "..."
    status = Status(code=code.value[0], message=message)
    info = ErrorInfo(reason=str(refusal.reason), domain=DOMAIN, metadata=refusal.facts)
    status.details.add().Pack(info)
    if refusal.reason is Reason.QUEUE_FULL:
        delay = Duration()
        delay.FromMilliseconds(RETRY_AFTER_MS)
        status.details.add().Pack(RetryInfo(retry_delay=delay))
    return status


def unary(
    kind: type[Req], answer: Callable[[Req], Awaitable[Message]]
) -> grpc.RpcMethodHandler[bytes, bytes]:
    """A handler for a call with one request and one reply."""

    async def handle(raw: bytes, context: Context) -> bytes:
        try:
            return (await answer(parse(kind, raw))).SerializeToString()
        except Exception as error:
            ending = abort(context, error)
            del raw, context  # see ``abort``
            await ending

    return grpc.unary_unary_rpc_method_handler(handle)


RawCall = Callable[[bytes, float], Awaitable[bytes]]
"""From a request and the event loop's time until which it may wait to the reply, all as bytes."""


def raw_call(kind: type[Req], answer: Callable[[Req, float], Awaitable[Message]]) -> RawCall:
    """One that parses, answers and serialises."""

    async def call(raw: bytes, until: float) -> bytes:
        return (await answer(parse(kind, raw), until)).SerializeToString()

    return call


def timed(call: RawCall) -> grpc.RpcMethodHandler[bytes, bytes]:
    """As ``unary``, with the time until which the call may wait."""

    async def handle(raw: bytes, context: Context) -> bytes:
        try:
            return await call(raw, time_to_answer(context.time_remaining()))
        except Exception as error:
            ending = abort(context, error)
            del raw, context  # see ``abort``
            await ending

    return grpc.unary_unary_rpc_method_handler(handle)


def time_to_answer(left_s: float | None) -> float:
    """The event loop's time at which an answer has to be on its way to come in time."""
    if left_s is None or left_s > WAIT_S_MAX:
        left_s = WAIT_S_MAX
    return asyncio.get_running_loop().time() + left_s - min(ON_ITS_WAY_S_MAX, left_s / 10)


def stream_reply(
    kind: type[Req], answer: Callable[[Req], AsyncGenerator[Message, None]]
) -> grpc.RpcMethodHandler[bytes, bytes]:
    """A handler for a call with one request and a stream of replies; see ``stream_both``."""

    async def handle(raw: bytes, context: Context) -> None:
        # The caller may be gone, which gRPC would log as an error with a traceback.
        with suppress(grpc.aio.InternalError):
            try:
                async with aclosing(answer(parse(kind, raw))) as replies:
                    async for reply in replies:
                        await context.write(reply.SerializeToString())
            except grpc.aio.InternalError:
                raise
            except Exception as error:
                ending = abort(context, error)
                del raw, context
                await ending

    return grpc.unary_stream_rpc_method_handler(handle)


def stream_both(
    kind: type[Req], answer: Callable[[AsyncIterator[Req]], AsyncGenerator[Message, None]]
) -> grpc.RpcMethodHandler[bytes, bytes]:
    """A handler for a call with streams both ways.

    ``answer`` is closed when the call ends, whoever ends it. Were the handler a generator itself,
    gRPC would only drop it where the caller has gone: then what belongs to the call lives on until
    Python looks for cycles, and a peer that comes back is taken for a second one.
    """

    async def parsed(raws: AsyncIterator[bytes]) -> AsyncGenerator[Req, None]:
        async for raw in raws:
            yield parse(kind, raw)

    async def handle(raws: AsyncIterator[bytes], context: Context) -> None:
        # The caller may be gone, which gRPC would log as an error with a traceback.
        with suppress(grpc.aio.InternalError):
            try:
                async with (
                    aclosing(parsed(raws)) as requests,
                    aclosing(answer(requests)) as replies,
                ):
                    async for reply in replies:
                        await context.write(reply.SerializeToString())
            except grpc.aio.InternalError:
                raise
            except Exception as error:
                ending = abort(context, error)
                del raws, context
                await ending

    return grpc.stream_stream_rpc_method_handler(handle)


async def abort(context: Context, error: Exception) -> NoReturn:
    """End the call with the error's documented status.

    gRPC keeps what it raises with the call, and the frames it is raised through keep the call: a
    cycle, and in it the request, until Python looks for cycles. So no frame keeps the call.
    """
    failure = failure_of(error)
    error.__traceback__ = None  # its frames hold the call, and lead back to it by way of a future
    del error
    status = rpc_status.to_status(failure) if failure.details else None
    try:
        if status is None:
            await context.abort(_CODES_BY_NUMBER[failure.code], failure.message)
        else:
            await context.abort(status.code, status.details, status.trailing_metadata)
    except grpc.aio.AbortError as aborted:
        aborted.__context__ = None
        raise aborted.with_traceback(None) from None
    finally:
        del context
    raise AssertionError("abort returned")


def failure_of(error: Exception) -> Status:
    """What a caller is told of an error. Without details nothing is certain."""
    match error:
        case Refused() | NotReplicated():
            return status_of(error)
        case StateError():
            return status_of(Refused(Reason.STATE_DAMAGED, str(error)))
        case OutcomeUnclear():
            return Status(code=grpc.StatusCode.UNKNOWN.value[0], message=str(error))
        case _:
            logger.error("bug in the handling of a call", exc_info=error)
            code: int = grpc.StatusCode.INTERNAL.value[0]
            return Status(code=code, message="internal error, see the node's log")


_CODES_BY_NUMBER = {code.value[0]: code for code in grpc.StatusCode}
