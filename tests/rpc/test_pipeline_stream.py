"""One caller's stream of calls, without gRPC around it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import grpc
import grpc.aio
import pytest

from kvnode.core.errors import Reason, Refused
from kvnode.rpc import pipeline
from kvnode.rpc.pipeline import OPEN_MAX, Pipelines
from kvnode.v1 import kv_pb2
from tests.storage.rig import run

from .pipelined import Played


def numbers(replies: Iterable[kv_pb2.PipelineReply]) -> list[int]:
    return [reply.number for reply in replies]


def test_each_is_answered_when_it_is_known_and_with_its_number() -> None:
    async def test() -> None:
        played = Played()
        played.caller.ask(7, method="Wait")
        played.caller.ask(3, 5)
        replies = await played.caller.heard(2)
        assert [(reply.number, reply.reply) for reply in replies] == [(3, b"3"), (5, b"5")]
        played.calls.waiting[b"7"].set_result(None)
        assert numbers(await played.caller.heard(3)) == [3, 5, 7]
        played.caller.half_close()
        await played.served

    run(test)


def test_all_that_was_read_is_answered_behind_a_half_close() -> None:
    async def test() -> None:
        played = Played()
        played.caller.ask(1, 2, method="Wait")
        played.caller.half_close()
        await played.calls.has_waiting(2)
        assert not played.served.done()
        for each in played.calls.waiting.values():
            each.set_result(None)
        await played.served
        assert sorted(numbers(played.caller.replies)) == [1, 2]

    run(test)


def test_answers_that_become_ready_while_one_is_sent_go_together() -> None:
    async def test() -> None:
        played = Played()
        played.caller.sending.clear()
        played.caller.ask(1)
        while played.calls.begun < 1:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0)
        for _ in range(10):
            await asyncio.sleep(0)
        played.caller.ask(2, 3, 4)
        while played.calls.begun < 4:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0)
        played.caller.sending.set()
        await played.caller.heard(4)
        assert [numbers(message.replies) for message in played.caller.messages] == [[1], [2, 3, 4]]
        played.caller.half_close()
        await played.served

    run(test)


def test_a_refusal_is_told_in_the_words_of_a_call_and_the_others_go_on() -> None:
    async def test() -> None:
        played = Played()
        played.caller.ask(1, method="Refuse")
        played.caller.ask(2)
        first, second = await played.caller.heard(2)
        assert first.error.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
        assert first.error.message == "too much"
        assert len(first.error.details) == 2, "ErrorInfo and RetryInfo"
        assert second.reply == b"2"
        played.caller.ask(3, method="Guess")
        third = (await played.caller.heard(3))[2]
        assert third.error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
        assert "Guess" in third.error.message
        played.caller.half_close()
        await played.served

    run(test)


def test_a_bug_in_one_is_told_and_the_others_go_on() -> None:
    async def test() -> None:
        played = Played()
        played.caller.ask(1, method="Break")
        (reply,) = await played.caller.heard(1)
        assert reply.error.code == grpc.StatusCode.INTERNAL.value[0]
        played.caller.ask(2)
        assert (await played.caller.heard(2))[1].reply == b"2"
        played.caller.half_close()
        await played.served

    run(test)


def test_what_is_late_is_given_up_and_told_so() -> None:
    async def test() -> None:
        played = Played()
        played.caller.ask(1, method="Wait", timeout_ms=1)
        (reply,) = await played.caller.heard(1)
        assert reply.error.code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
        assert not reply.error.details, "nothing that a kvnode is certain of"
        assert played.calls.given_up == [b"1"]
        played.caller.half_close()
        await played.served

    run(test)


@pytest.mark.parametrize("wrong", [(0,), (5, 5)])
def test_a_number_that_cannot_be_told_apart_ends_the_stream(wrong: tuple[int, ...]) -> None:
    async def test() -> None:
        played = Played()
        played.caller.ask(1, method="Wait")
        played.caller.ask(*wrong, method="Wait")
        await played.calls.has_waiting(1)
        played.calls.waiting[b"1"].set_result(None)
        await played.calls.has_waiting(1 + len({*wrong} - {0}))
        for each in played.calls.waiting.values():
            if not each.done():
                each.set_result(None)
        with pytest.raises(Refused) as refused:
            await played.served
        assert refused.value.reason is Reason.BAD_REQUEST
        assert 1 in numbers(played.caller.replies), "what was read before is answered"

    run(test)


def test_a_message_that_is_none_ends_the_stream() -> None:
    async def test() -> None:
        played = Played()
        played.caller.send(b"\xff\xff")
        with pytest.raises(Refused) as refused:
            await played.served
        assert refused.value.reason is Reason.MALFORMED_MESSAGE

    run(test)


def test_a_stopping_node_says_so_answers_on_and_lets_its_caller_end_the_stream() -> None:
    async def test() -> None:
        played = Played()
        played.caller.ask(1, method="Wait")
        await played.calls.has_waiting(1)
        played.closing.set()
        while not played.caller.messages:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0)
        assert played.caller.messages[0].closing
        played.caller.ask(2)
        assert numbers(await played.caller.heard(1)) == [2]
        played.calls.waiting[b"1"].set_result(None)
        await played.caller.heard(2)
        played.caller.half_close()
        await played.served  # no error: all was answered

    run(test)


def test_a_stopping_node_waits_for_a_silent_caller_only_so_long() -> None:
    async def test() -> None:
        played = Played()
        played.caller.ask(1)
        await played.caller.heard(1)
        played.closing.set()
        with pytest.raises(Refused) as refused:
            await played.served
        assert refused.value.reason is Reason.STOPPING

    run(test)


def test_a_caller_that_goes_leaves_nothing_behind() -> None:
    async def test() -> None:
        before = asyncio.all_tasks()
        played = Played()
        played.caller.ask(1, 2, method="Wait")
        await played.calls.has_waiting(2)
        played.caller.sending.clear()
        played.caller.ask(3)
        while played.calls.begun < 3:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0)
        played.served.cancel()
        await asyncio.gather(played.served, return_exceptions=True)
        assert sorted(played.calls.given_up) == [b"1", b"2"]
        assert asyncio.all_tasks() == before

    run(test)


def test_of_too_many_open_ones_the_rest_is_not_read() -> None:
    async def test() -> None:
        played = Played()
        count = OPEN_MAX + 20
        played.caller.ask(*range(1, OPEN_MAX + 11), method="Wait")
        played.caller.ask(*range(OPEN_MAX + 11, count + 1), method="Wait")
        await played.calls.has_waiting(OPEN_MAX)
        for _ in range(50):
            await asyncio.sleep(0)
        assert played.calls.begun == OPEN_MAX
        played.caller.sending.clear()
        for each in list(played.calls.waiting.values())[:5]:
            each.set_result(None)
        for _ in range(50):
            await asyncio.sleep(0)
        assert played.calls.begun == OPEN_MAX, "who does not take answers makes no room"
        played.caller.sending.set()
        await played.caller.heard(5)
        await played.calls.has_waiting(OPEN_MAX + 5)
        played.served.cancel()
        await asyncio.gather(played.served, return_exceptions=True)

    run(test)


def test_a_request_that_was_as_long_on_its_way_as_it_had_time_is_not_begun() -> None:
    """Its caller has given it up, and gone on elsewhere."""

    async def test() -> None:
        played = Played()
        played.caller.ask(1, timeout_ms=10_000, sent_ms=500_000)
        await played.caller.heard(1)
        played.caller.ask(2, timeout_ms=10_000, sent_ms=489_000)  # 11 s more than the first
        played.caller.ask(3, timeout_ms=60_000, sent_ms=489_000)
        replies = await played.caller.heard(3)
        by_number = {reply.number: reply for reply in replies}
        assert by_number[2].error.code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
        assert by_number[3].reply == b"3", "it had time left"
        assert played.calls.begun == 2
        played.caller.half_close()
        await played.served

    run(test)


def test_what_is_large_holds_others_back_before_there_are_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pipeline, "OPEN_BYTES_MAX", 3)

    async def test() -> None:
        played = Played()
        played.caller.ask(10, 11, 12, method="Wait")  # of two bytes each
        await played.calls.has_waiting(2)
        for _ in range(50):
            await asyncio.sleep(0)
        assert played.calls.begun == 2
        played.calls.waiting[b"10"].set_result(None)
        await played.calls.has_waiting(3)
        for each in played.calls.waiting.values():
            if not each.done():
                each.set_result(None)
        played.caller.half_close()
        await played.served

    run(test)


def test_where_there_are_many_streams_each_may_hold_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "ALL_BYTES_MAX", 8)

    async def test() -> None:
        played = Played()
        await asyncio.sleep(0)
        assert played.together.streams == 1
        assert played.together.bytes_max == 8
        played.together.streams += 3  # others
        played.caller.ask(10, 11, method="Wait")  # of two bytes each
        await played.calls.has_waiting(1)
        for _ in range(50):
            await asyncio.sleep(0)
        assert played.calls.begun == 1
        played.calls.waiting[b"10"].set_result(None)
        await played.calls.has_waiting(2)
        played.calls.waiting[b"11"].set_result(None)
        played.caller.half_close()
        await played.served
        assert played.together.streams == 3
        assert Pipelines({}, {}, played.closing, played.busy_s).bytes_max == 8, "none yet"

    run(test)


def test_an_answer_that_cannot_be_sent_ends_the_stream_and_nothing_is_claimed() -> None:
    """Told STOPPING, a caller would take what was done for what was not."""

    async def test() -> None:
        played = Played()

        async def fail(_raw: bytes) -> None:
            raise grpc.aio.InternalError("gone")

        played.caller.write = fail  # type: ignore[assignment, method-assign]
        played.caller.ask(1)
        with pytest.raises(grpc.aio.InternalError):
            await played.served
        played.closing.set()

    run(test)
