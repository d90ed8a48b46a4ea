"""Bugs in what a program and a node make of the stream between them, and of shared calls."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from grpc import RpcError, StatusCode

from kvnode.client import reads, receipts
from kvnode.client.channels import Endpoint
from kvnode.client.failover import Failover
from kvnode.client.lanes import Entry
from kvnode.client.pipeline import Pipeline, error_of
from kvnode.client.status import STOOD_STILL
from kvnode.client.steps import Steps
from kvnode.client.values import Receipt
from kvnode.core.writer import BlockWriter
from kvnode.rpc import pipeline
from kvnode.rpc.lateness import Lateness
from kvnode.rpc.pipeline import Stream
from kvnode.v1 import kv_pb2 as pb
from tests.sim.mutants import schedules
from tests.sim.mutants.planting import Planting, mutant


@mutant()
def answers_are_taken_by_turn(plant: Planting) -> None:
    """An answer is taken for the request that has waited longest, whatever its number."""

    def _take(self: Pipeline, replies: pb.PipelineReplies) -> None:
        waiting = sorted(self._waiting)
        for reply, number in zip(replies.replies, waiting, strict=False):
            reply.number = number
        real(self, replies)

    real = Pipeline._take
    plant.method(Pipeline, "_take", _take)


@mutant()
def answers_that_leave_together_swap_numbers(plant: Planting) -> None:
    """A node gives each of the answers that share a message the number of the next one."""

    def first(ready: Sequence[bytes], size_max: int) -> list[bytes]:
        taken = [pb.PipelineReplies.FromString(raw).replies[0] for raw in real(ready, size_max)]
        numbers = [reply.number for reply in taken]
        for reply, number in zip(taken, numbers[1:] + numbers[:1], strict=True):
            reply.number = number
        return [pb.PipelineReplies(replies=[reply]).SerializeToString() for reply in taken]

    real = pipeline.first
    plant.function(pipeline.first, first)


@mutant()
def stream_that_broke_was_never_used(plant: Planting) -> None:
    """What a stream has not answered when it breaks counts as not done."""

    def _settle(self: Pipeline, error: RpcError) -> None:
        real(self, error_of(StatusCode.UNAVAILABLE, STOOD_STILL))

    real = Pipeline._settle
    plant.method(Pipeline, "_settle", _settle)


@mutant()
def late_is_not_sent(plant: Planting) -> None:
    """A request without an answer in time counts as not done, sent or not."""

    def _expire(self: Pipeline, number: int) -> None:
        answer = self._waiting.get(number)
        if answer is not None and not answer.done():
            self._ready.pop(number, None)
            answer.set_result(error_of(StatusCode.UNAVAILABLE, STOOD_STILL))

    plant.method(Pipeline, "_expire", _expire)


@mutant()
def stopping_node_does_not_wait_for_answers(plant: Planting) -> None:
    """A stream ends as STOPPING, which says that the rest was not done, while writes are begun."""

    async def _last_calls(self: Stream, reader: asyncio.Task[None]) -> None:
        return

    async def _all_sent(self: Stream) -> None:
        return

    plant.method(Stream, "_last_calls", _last_calls)
    plant.method(Stream, "_all_sent", _all_sent)


@mutant()
def asked_again_under_another_id(plant: Planting) -> None:
    """Who lost the reply to a write asks for it again with a request id that is new."""

    def ask_again(
        self: Failover, endpoint: Endpoint, entries: Sequence[Entry], deadline: float
    ) -> Steps[None]:
        for entry in entries:
            entry.request_id = entry.request_id[:-1] + b"!"
            if entry.request is not None:
                entry.request.request_id = entry.request_id
        yield from real(self, endpoint, entries, deadline)

    real = Failover.ask_again
    plant.method(Failover, "ask_again", ask_again)


@mutant()
def columns_are_answered_backwards(plant: Planting) -> None:
    """Of writes that went in columns the first gets the receipt of the last."""

    def alike_receipts(
        group: pb.WriteManyResponse.Alike, endpoint: str, *, puts: bool
    ) -> list[Receipt]:
        return real(group, endpoint, puts=puts)[::-1]

    real = receipts.alike_receipts
    plant.function(receipts.alike_receipts, alike_receipts)


@mutant(plan=schedules.lost_to_a_program)
def ids_in_columns_are_not_looked_up(plant: Planting) -> None:
    """Writes in columns that are asked for again are carried out again."""

    def _are_new(self: BlockWriter, request_ids: Sequence[bytes]) -> bool:
        return True

    plant.method(BlockWriter, "_are_new", _are_new)


@mutant()
def increments_in_columns_forget_each_other(plant: Planting) -> None:
    """Of several increments of one key in a column only the first is in its entry."""

    def _catch_up(
        self: BlockWriter, newest: dict[bytes, tuple[list[Any], int]], behind: dict[bytes, int]
    ) -> None:
        behind.clear()

    plant.method(BlockWriter, "_catch_up", _catch_up)


@mutant(plan=schedules.held_on_the_way)
def time_on_the_way_does_not_count(plant: Planting) -> None:
    """A request that lay in buffers is begun, however long ago its caller has given it up."""

    def of(self: Lateness, sent_ms: int, now: float) -> float:
        return 0.0

    plant.method(Lateness, "of", of)


@mutant()
def values_alone_come_in_another_order(plant: Planting) -> None:
    """Who asks for values alone takes them from the end of their column."""

    def brief_column(reply: pb.BatchGetResponse, count: int) -> list[Any]:
        column = real(reply, count)
        texts = [each for each in column if isinstance(each, bytes)]
        return [texts.pop() if isinstance(each, bytes) else each for each in column]

    real = reads.brief_column
    plant.function(reads.brief_column, brief_column)
