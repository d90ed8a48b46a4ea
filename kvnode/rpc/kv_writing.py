"""The writing half of the KeyValue service.

A request is first *queued*, which gives it its place behind those before it, then *answered*, when
it is on as many disks as it asked for. Between the two any number of requests of one caller may be
on their way; what makes their order is the queue (``node/engine.py``).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

from kvnode.core.accepted import Accepted
from kvnode.core.errors import Reason, Refused
from kvnode.core.limits import REQUEST_ID_BYTES, Limits
from kvnode.core.operations import Operation
from kvnode.core.replica import Request
from kvnode.rpc.handlers import NotReplicated, failure_of
from kvnode.rpc.kv_answers import Answers
from kvnode.rpc.kv_codec import Alike, KvCodec, asked, increment
from kvnode.rpc.kv_queued import Answer, Queued, Store, give_up, leave, to_be_told
from kvnode.rpc.levels_codec import BUFFERED, after_of, replicas_of
from kvnode.rpc.replication_codec import vector_to_wire
from kvnode.v1 import kv_pb2 as pb
from kvnode.v1 import types_pb2

STREAM_MESSAGES_MAX = 8
"""Of a write stream, read and not answered; more than one round's worth gains nothing."""
STREAM_WAIT_S = 60.0
"""How long a message of a stream may wait for the level it asks for."""


class Sent(NamedTuple):
    """A message of a stream that is in its place."""

    outcomes: asyncio.Task[pb.WriteManyResponse]
    queued: Sequence[Queued | Exception]


Waiting = asyncio.Queue[Sent | None]
"""Messages in their order; None behind the last."""


class Writing:
    """Takes writes."""

    def __init__(self, store: Store, codec: KvCodec, limits: Limits) -> None:
        self._store = store
        self._codec = codec
        self._limits = limits
        self._answers = Answers(codec, store)

    async def put(self, request: pb.PutRequest, until: float) -> pb.PutResponse:
        """One put."""
        done = await self._one(self._codec.put(request.put, self._store.now_ms()), request, until)
        return pb.PutResponse(
            key=request.put.key,
            result=done.results[0],
            session=done.session,
            repeated=done.repeated,
            stored_by=done.stored_by,
        )

    async def delete(self, request: pb.DeleteRequest, until: float) -> pb.DeleteResponse:
        """One delete."""
        done = await self._one(self._codec.delete(request.delete), request, until)
        return pb.DeleteResponse(
            key=request.delete.key,
            result=done.results[0],
            session=done.session,
            repeated=done.repeated,
            stored_by=done.stored_by,
        )

    async def increment(self, request: pb.IncrementRequest, until: float) -> pb.IncrementResponse:
        """One increment."""
        done = await self._one(increment(request.increment), request, until)
        return pb.IncrementResponse(
            key=request.increment.key,
            result=done.results[0],
            session=done.session,
            repeated=done.repeated,
            stored_by=done.stored_by,
        )

    async def write(self, request: pb.WriteRequest, until: float) -> pb.WriteResponse:
        """An atomic batch."""
        response = pb.WriteResponse()
        await self._alone(await self._queue(request, until), response, until)
        return response

    async def write_many(self, request: pb.WriteManyRequest, until: float) -> pb.WriteManyResponse:
        """Many requests, each by itself."""
        self._check_size(request)
        now_ms = self._store.now_ms()
        alike = [self._codec.alike(each, now_ms) for each in request.alike]
        queued = [
            await self._try(each, until)
            if each.HasField("options")
            else self._try_at_once(each, now_ms)
            for each in request.requests
        ]
        groups = [self._together(each) for each in alike]
        try:
            response = await self._outcomes(queued, until)
            for group in groups:
                await self._answer_group(group, response.alike.add(), until)
            return response
        except BaseException:  # the caller has gone
            give_up([*queued, *chain(*groups)])
            raise

    async def write_stream(
        self, requests: AsyncIterator[pb.WriteManyRequest]
    ) -> AsyncGenerator[pb.WriteManyResponse, None]:
        """The same message by message; the next ones are queued while one is on its way.

        Whatever ends it, a stopping node too, comes behind the replies to all that was queued. If
        the caller goes, what is queued is done nevertheless: given up message by message, the later
        ones could be done and the earlier ones not, and who asks again would turn their order.
        """
        waiting: Waiting = asyncio.Queue(STREAM_MESSAGES_MAX)
        closing = asyncio.create_task(self._store.closing.wait())
        reader = asyncio.create_task(self._read(requests, waiting, closing), name="write stream")
        sent: Sent | None = None
        try:
            while (sent := await waiting.get()) is not None:
                yield await sent.outcomes
            if (error := await reader) is not None:
                raise error
        finally:
            for task in (closing, reader):
                task.cancel()
            await asyncio.gather(closing, reader, return_exceptions=True)
            while sent is not None or not waiting.empty():
                if sent is not None:
                    sent.outcomes.cancel()
                    leave(sent.queued)
                sent = None if waiting.empty() else waiting.get_nowait()

    async def outcome(self, request: pb.OutcomeRequest, _until: float) -> pb.OutcomeResponse:
        """What became of a request, as far as this node knows."""
        if len(request.request_id) != 16:
            raise Refused(Reason.BAD_REQUEST, "a request id has 16 bytes")
        response = pb.OutcomeResponse(session=vector_to_wire(self._store.vector))
        found = self._store.remembered(request.request_id)
        if found is not None:
            response.known = True
            response.node = self._codec.node_name(found.origin)
            for seq in range(found.first_seq, found.first_seq + found.size):
                response.dots.add(origin=found.origin, seq=seq)
        return response

    # ---- queueing

    def _check_size(self, request: pb.WriteManyRequest) -> None:
        """Refused (BATCH_TOO_LARGE). A request is answered also if it asks for nothing."""
        check, alike = self._limits.check_batch, request.alike
        check(len(request.requests) + len(alike))  # before a look at each: there may be millions
        check(sum(map(asked, request.requests)) + sum(len(each.request_ids) for each in alike))

    async def _one(
        self,
        operation: Operation,
        request: pb.PutRequest | pb.DeleteRequest | pb.IncrementRequest,
        until: float,
    ) -> pb.WriteResponse:
        options = request.options if request.HasField("options") else None
        response = pb.WriteResponse()
        queued = await self._place([operation], request.request_id, options, until)
        await self._alone(queued, response, until)
        return response

    async def _queue(self, request: pb.WriteRequest, until: float) -> Queued:
        operations = self._codec.operations(request, self._store.now_ms())
        options = request.options if request.HasField("options") else None
        return await self._place(
            operations, request.request_id, options, until, brief=request.brief
        )

    async def _place(
        self,
        operations: Sequence[Operation],
        request_id: bytes,
        options: pb.WriteOptions | None,
        until: float,
        *,
        brief: bool = False,
    ) -> Queued:
        size = self._limits.check(operations, request_id)
        replicas, quorum = 1, False
        if options is not None:
            levels = self._store.levels
            replicas = replicas_of(options, levels)
            quorum = options.durability == pb.DURABILITY_QUORUM
            if options.HasField("after"):
                await levels.covered(after_of(options), until)
        answer = self._store.enqueue(Request(operations, request_id), size)
        return Queued(operations, answer, replicas, brief, quorum)

    def _try_at_once(self, request: pb.WriteRequest, now_ms: int) -> Queued | Exception:
        """As ``_try``, of a request without options: it waits for nobody."""
        try:
            operations = self._codec.operations(request, now_ms)
        except Exception as error:
            return to_be_told(error)
        return self._at_once(operations, request.request_id, brief=request.brief)

    def _at_once(
        self, operations: Sequence[Operation], request_id: bytes, *, brief: bool = False
    ) -> Queued | Exception:
        try:
            size = self._limits.check(operations, request_id)
            answer = self._store.enqueue(Request(operations, request_id), size)
            return Queued(operations, answer, 1, brief)
        except Exception as error:
            return to_be_told(error)

    def _together(self, alike: Alike) -> list[Queued | Exception]:
        """In one place; if anything is wrong with one of them, each in its own."""
        operations, ids = alike
        try:
            size = self._limits.check(operations, b"") + REQUEST_ID_BYTES * len(ids)
        except Refused:
            singly: Sequence[Operation] = operations
            return [self._at_once([one], name) for one, name in zip(singly, ids, strict=True)]
        try:
            answer = self._store.enqueue(Request(operations, each=ids), size)
        except Exception as error:
            return [to_be_told(error)] * len(ids)
        return [Queued(operations, answer, 1, together=True)]

    async def _try(self, request: pb.WriteRequest, until: float) -> Queued | Exception:
        try:
            return await self._queue(request, until)
        except Exception as error:  # told to who asked, as this request's outcome
            return to_be_told(error)

    async def _patiently(self, request: pb.WriteRequest, until: float) -> Queued | Exception:
        """As ``_try``, but who streams waits for room in the queue: that is what pushes back."""
        now = asyncio.get_running_loop().time
        while True:
            tried = await self._try(request, until)
            full = isinstance(tried, Refused) and tried.reason is Reason.QUEUE_FULL
            if not full or now() >= until:
                return tried
            await self._store.room()

    async def _read(
        self,
        requests: AsyncIterator[pb.WriteManyRequest],
        waiting: Waiting,
        closing: asyncio.Task[Any],
    ) -> Exception | None:
        """Queue what comes, in order, at most so many messages ahead of the replies.

        Returns what ended it, None if that was the caller.
        """
        queued: list[Queued | Exception] = []
        try:
            while (request := await following(requests, closing)) is not None:
                self._check_size(request)
                if request.alike:
                    raise Refused(Reason.BAD_REQUEST, "a stream takes no alike requests")
                wait_s = min(STREAM_WAIT_S, request.wait_ms / 1000 or STREAM_WAIT_S)
                until = asyncio.get_running_loop().time() + wait_s
                queued = []
                for each in request.requests:
                    queued.append(await self._patiently(each, until))
                outcomes = asyncio.create_task(self._outcomes(queued, until))
                await waiting.put(Sent(outcomes, queued))
        except asyncio.CancelledError:
            leave(queued)
            raise
        except Exception as error:  # raised where the replies are sent, behind those before it
            await waiting.put(None)
            return error
        await waiting.put(None)
        return None

    # ---- answering

    async def _outcomes(
        self, queued: Sequence[Queued | Exception], until: float
    ) -> pb.WriteManyResponse:
        response = pb.WriteManyResponse()
        add, fill = response.outcomes.add, self._answers.fill
        for each in queued:
            outcome = add()
            if isinstance(each, Exception):
                outcome.error.CopyFrom(failure_of(each))
                continue
            try:
                if each.replicas == 1 and not each.quorum and each.answer.done():
                    accepted, vector = each.answer.result()
                    fill(outcome.response, each.operations, accepted, vector, brief=each.brief)
                else:
                    await self._answer(each, outcome.response, until)
            except Exception as error:  # told to who asked
                outcome.error.CopyFrom(failure_of(error))
                error.__traceback__ = None  # its frames lead back to it, by way of the future
        return response

    async def _answer_group(
        self,
        group: Sequence[Queued | Exception],
        response: pb.WriteManyResponse.Alike,
        until: float,
    ) -> None:
        """Fill the response to requests that came together; see ``_together``."""
        first = group[0]
        if isinstance(first, Exception) or not first.together:
            response.outcomes.extend((await self._outcomes(group, until)).outcomes)
            return
        try:
            accepted, vector = await asyncio.shield(first.answer)
        except Exception as error:  # told to all who asked
            response.outcomes.add().error.CopyFrom(failure_of(error))
            response.outcomes.extend([response.outcomes[0]] * (len(first.operations) - 1))
            error.__traceback__ = None
            return
        self._answers.fill_alike(response, first.operations, accepted, vector)

    async def _alone(self, queued: Queued, response: pb.WriteResponse, until: float) -> None:
        """Answer one request of a call of its own."""
        try:
            await self._answer(queued, response, until)
        except BaseException:  # the caller has gone, or it was refused
            give_up((queued,))
            raise

    async def _answer(self, queued: Queued, response: pb.WriteResponse, until: float) -> None:
        """Fill the response.

        Cancelled, it leaves the request in its place: what belongs together is given up in one
        step, or not at all.
        """
        if queued.replicas == BUFFERED:
            queued.answer.add_done_callback(lambda answer: self._ended(queued, answer))
            if not queued.brief:
                response.results.extend([pb.WriteResult()] * len(queued.operations))
            return
        if not queued.answer.done():
            await asyncio.shield(queued.answer)
        accepted, vector = queued.answer.result()
        operations = queued.operations
        replicas = queued.replicas
        if queued.quorum:  # others may have joined while it waited for its place
            replicas = max(replicas, self._store.levels.majority())
        if replicas > 1:
            response.stored_by.extend(
                await self._spread(accepted, len(operations), replicas, until)
            )
        self._answers.fill(response, operations, accepted, vector, brief=queued.brief)

    def _ended(self, queued: Queued, answer: Answer) -> None:
        """What was acknowledged from the queue is committed or refused; its caller has gone."""
        if answer.cancelled() or answer.exception() is not None:
            self._store.buffered_lost(len(queued.operations))

    async def _spread(
        self, accepted: Accepted, operations: int, replicas: int, until: float
    ) -> list[str]:
        """Who has it on disk, when enough have; NotReplicated if that was not in time."""
        levels = self._store.levels
        last = (accepted.origin, accepted.first_seq + operations - 1)
        if await levels.stored(last, replicas, until):
            return levels.stored_by(last)
        raise NotReplicated(
            pb.Shortfall(
                first=types_pb2.Dot(origin=accepted.origin, seq=accepted.first_seq),
                operations=operations,
                stored_by=levels.stored_by(last),
                wanted=replicas,
                repeated=accepted.repeated,
            )
        )


async def following(
    requests: AsyncIterator[pb.WriteManyRequest], closing: asyncio.Task[Any]
) -> pb.WriteManyRequest | None:
    """The next message, None behind the last; Refused (STOPPING) if the node stops before it."""
    message: asyncio.Future[pb.WriteManyRequest | None]
    message = asyncio.ensure_future(anext(requests, None))
    try:
        await asyncio.wait((message, closing), return_when=asyncio.FIRST_COMPLETED)
        if message.done():
            return message.result()
    finally:  # by itself: gRPC logs every call that it has to cancel
        message.cancel()
        await asyncio.gather(message, return_exceptions=True)
    raise Refused(Reason.STOPPING, "the node is stopping: use another one")
