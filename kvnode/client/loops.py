"""Carries the policy's steps out on an event loop.

Callers that come in one turn of the loop go together: a flight begins with ``call_soon``, behind
all that is ready to run. That is no wait, and 64 tasks that were answered by one call ask again
with one call. Each flight is a task; a caller that is cancelled leaves it, and what has been sent
for that caller may still happen.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Hashable
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar, cast
from weakref import WeakSet

import grpc.aio
from grpc import RpcError, StatusCode

from kvnode.client.calls import flight_plan
from kvnode.client.channels import (
    CLOSED,
    OPTIONS,
    QUESTION,
    READ_RETRIES,
    WELL,
    Endpoint,
    Method,
    ReplyT,
    RequestT,
    warn_unclosed,
)
from kvnode.client.dialling import Dialler
from kvnode.client.failover import Failover
from kvnode.client.lanes import CROWD, LANES_MAX, Entry, Flight, Lane, in_use
from kvnode.client.pipeline import REQUEST_BYTES_MAX, Pipeline, StreamEnded, stopping_error
from kvnode.client.rpcs import BATCH_GET, WRITE, WRITE_MANY
from kvnode.client.status import Fate, failure_of
from kvnode.client.steps import Look, Pause, Send, Step, StepAside, Steps, Submit
from kvnode.client.threads import GRACE_S, LOOK_S

if TYPE_CHECKING:
    from kvnode.client.watching import AsyncWatch

ResultT = TypeVar("ResultT")

PIPELINED = frozenset({WRITE, WRITE_MANY, BATCH_GET})
"""What callers do all the time."""

LOOK_AGAIN_S = 60.0
"""A node without the RPC may have been upgraded."""


class LoopDriver:
    """The connections of one client and of its sessions, on the loop that used it first."""

    def __init__(self, failover: Failover) -> None:
        self.failover = failover
        alone = len(failover.addresses) == 1
        self._wires = {
            address: AioWire(address, failover.dialler, retries=alone)
            for address in failover.addresses
        }
        self._lanes: dict[Hashable, Lane] = {}
        self._aside: dict[Flight, None] = {}
        """In their order, in which they are given up too."""
        self._sweeping = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watches: WeakSet[AsyncWatch] = WeakSet()

    def __del__(self) -> None:
        """Who forgot to close it is told, as with a socket."""
        if not self.failover.closed and any(wire.connected for wire in self._wires.values()):
            warn_unclosed("AsyncClient", self.failover.addresses, self)

    def own(self, watch: AsyncWatch) -> None:
        """End it with the client, if it still is somebody's then. RuntimeError if it is closed."""
        if self.failover.closed:
            raise RuntimeError(CLOSED)
        self._watches.add(watch)

    async def close(self) -> None:
        """Close every channel; calls in progress end without a reply. End every watch."""
        self.failover.closed = True
        self._closed.set()
        for watch in list(self._watches):
            watch.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for lane in self._lanes.values():
            while lane.waiting:
                lane.waiting.popleft().fail(RuntimeError(CLOSED))
            for flight in lane.flights:  # cancelled before it had begun
                flight.strand(RuntimeError(CLOSED))
        for wire in self._wires.values():
            await wire.close()

    async def run(self, steps: Steps[ResultT], aside: Callable[[], None] | None = None) -> ResultT:
        """What the steps come to. ``aside``: what a flight does when it steps aside."""
        answer: object = None
        try:
            step = next(steps)
            while True:
                try:
                    if type(step) is Submit:  # most are: for them no coroutine in between
                        await self.submit(step.entry)
                        answer = None
                    else:
                        answer = await self._carry_out(step, aside)
                except BaseException as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(answer)
        except StopIteration as stop:
            return cast("ResultT", stop.value)

    async def stream(
        self,
        method: Method[RequestT, ReplyT],
        request: RequestT,
        place: Steps[Any],
        timeout_s: float,
    ) -> AsyncIterator[ReplyT]:
        """The replies of the endpoint that ``place`` finds; ``timeout_s`` is for all of them."""
        endpoint = await self.run(place)
        replies = self._wires[endpoint.address].stream(method, request, timeout_s)
        try:
            async for reply in replies:
                yield cast("ReplyT", reply)
        except RpcError as error:
            failure = failure_of(error, endpoint.address)
            raise failure.exception from failure.cause
        finally:
            replies.cancel()

    def both_ways(
        self,
        endpoint: Endpoint,
        method: Method[RequestT, ReplyT],
        requests: AsyncIterator[RequestT],
        timeout_s: float,
    ) -> Any:
        """gRPC's call of a stream: its replies, and ``cancel``."""
        if self.failover.closed:
            raise RuntimeError(CLOSED)
        return self._wires[endpoint.address].both_ways(method, requests, timeout_s)

    # ---- steps

    async def _carry_out(self, step: Step, aside: Callable[[], None] | None) -> object:
        match step:
            case Send():
                self.own_loop()
                try:
                    return await self._wires[step.endpoint.address].call(step)
                except asyncio.CancelledError:
                    if self.failover.closed:
                        raise RuntimeError(CLOSED) from None
                    raise
            case Pause():
                return await self._pause(step.seconds)
            case Look():
                self._begin(self._look(step))
            case StepAside():
                if aside is not None:
                    aside()
        return None

    async def _pause(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return await self._closed.wait()
        except TimeoutError:
            return False

    async def _look(self, step: Look) -> None:
        question = Send(step.endpoint, QUESTION, b"", LOOK_S)
        reply = await self._wires[step.endpoint.address].call(question)
        self.failover.looked(step.endpoint, reply)

    # ---- callers that share calls

    async def submit(self, entry: Entry) -> None:
        """Return when the entry is settled."""
        if self.failover.closed:
            raise RuntimeError(CLOSED)
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self.own_loop()
        settled: asyncio.Future[None] = loop.create_future()
        entry.wake = partial(wake, settled)
        lane = self._lanes.get(entry.lane) or self._lane(entry)
        lane.waiting.append(entry)
        if not lane.due:
            lane.due = True
            loop.call_soon(self._start, lane)
        if not self._sweeping:
            self._sweeping = True
            loop.call_later(GRACE_S, self._sweep)
        try:
            await settled
        finally:
            if not entry.settled:  # cancelled: who is not sent yet stays here
                entry.give_up()

    def _lane(self, entry: Entry) -> Lane:
        if len(self._lanes) >= LANES_MAX:
            self._lanes = in_use(self._lanes)
        plan = flight_plan(self.failover, entry)
        lane = Lane(plan, self.failover.now, ordered=entry.is_write, crowd=CROWD)
        self._lanes[entry.lane] = lane
        return lane

    def _sweep(self) -> None:
        """Let those go whose time is over: one timer for all, not one for each call."""
        overdue = self.failover.now() - GRACE_S
        lanes = self._lanes.values()
        flights = [*self._aside, *(flight for lane in lanes for flight in lane.flights)]
        open_ = [*(lane.waiting for lane in lanes), *(flight.entries for flight in flights)]
        for entry in chain.from_iterable(open_):
            if entry.deadline < overdue and not entry.settled:
                entry.give_up()
        self._sweeping = any(open_)
        if self._sweeping:
            self.own_loop().call_later(GRACE_S, self._sweep)

    def _start(self, lane: Lane) -> None:
        """Let go who can."""
        lane.due = False
        while not self.failover.closed and (flight := lane.begin()) is not None:
            self._begin(self._fly(lane, flight))

    async def _fly(self, lane: Lane, flight: Flight) -> None:
        aside = partial(self._hand_over, lane, flight)
        try:
            await self.run(lane.fly(flight), aside)
        except (RuntimeError, asyncio.CancelledError) as error:  # closed
            closed = error if isinstance(error, RuntimeError) else RuntimeError(CLOSED)
            flight.strand(closed)
        except BaseException as error:
            flight.strand(error)
            raise
        finally:
            aside()
            self._aside.pop(flight, None)

    def _hand_over(self, lane: Lane, flight: Flight) -> None:
        lane.land(flight)
        self._aside[flight] = None
        if lane.waiting and not lane.due:
            lane.due = True
            self.own_loop().call_soon(self._start, lane)

    def _begin(self, work: Any) -> None:
        task = self.own_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def own_loop(self) -> asyncio.AbstractEventLoop:
        """The running loop; RuntimeError if another one used the client first."""
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise RuntimeError("an AsyncClient belongs to the event loop that used it first")
        return loop


def wake(settled: asyncio.Future[None]) -> None:
    """Tell the caller, if there still is one."""
    if not settled.done():
        settled.set_result(None)


class AioWire:
    """A channel to one node, made on first use."""

    def __init__(self, address: str, dialler: Dialler, *, retries: bool) -> None:
        """``retries``: let gRPC ask again by itself where that is safe."""
        self.address = address
        self._dialler = dialler
        service = (("grpc.service_config", READ_RETRIES),) if retries else ()
        self._options: tuple[tuple[str, object], ...] = (*OPTIONS, *service)
        self._channel: grpc.aio.Channel | None = None
        self._calls: dict[str, Any] = {}
        self._pipelines: list[Pipeline] = []
        """That which takes requests is the last; those before it have not ended yet."""
        self._calls_until = -math.inf
        """The node knows of no pipelines: until then it gets calls."""

    @property
    def connected(self) -> bool:
        """Whether it was used and not closed."""
        return self._channel is not None

    async def call(self, step: Send) -> object:
        """The reply, or gRPC's error."""
        left_s = step.timeout_s
        now = asyncio.get_running_loop().time
        if step.method in PIPELINED and now() >= self._calls_until:
            until = now() + left_s
            reply = await self._ask(step)
            if reply is not None:
                return reply
            left_s = max(0.0, until - now())
        call = self._calls.get(step.method.path) or self._callable(step.method)
        try:
            reply = await call(step.request, timeout=left_s, wait_for_ready=step.wait)
        except RpcError as error:
            return error
        if step.method is QUESTION and reply == WELL:  # it is back, if it has stopped
            self._pipelines = [each for each in self._pipelines if not each.ended]
        return reply

    async def _ask(self, step: Send) -> object:
        """``call`` on the stream; None if it has to be a call of its own."""
        assert not isinstance(step.request, bytes)
        request = step.request.SerializeToString()
        if len(request) > REQUEST_BYTES_MAX:
            return None
        pipeline = self._open_pipeline()
        if pipeline is None:
            # a read that ends with the node's server may be made elsewhere: the node may be back
            ended = all(each.ended for each in self._pipelines)
            return None if ended and step.method is BATCH_GET else stopping_error()
        try:
            return await pipeline.ask(step.method, request, step.timeout_s)
        except StreamEnded as ended:
            if ended.error.code() is StatusCode.UNIMPLEMENTED:
                self._calls_until = asyncio.get_running_loop().time() + LOOK_AGAIN_S
                return None
            # a read may be made twice, and with one endpoint gRPC does that by itself
            lost = failure_of(ended.error, self.address).fate is Fate.LOST
            return None if lost and step.method is BATCH_GET else ended.error

    def _open_pipeline(self) -> Pipeline | None:
        """One that takes requests; None while the node stops."""
        if any(each.node_stops for each in self._pipelines):
            return None
        if not self._pipelines or self._pipelines[-1].over:
            self._pipelines = [each for each in self._pipelines if not each.ended]
            self._pipelines.append(Pipeline(self._connected()))
        return self._pipelines[-1]

    def stream(self, method: Method[Any, Any], request: Any, timeout_s: float) -> Any:
        """gRPC's call with the node's replies."""
        assert method.request is not None
        assert method.reply is not None
        call = self._connected().unary_stream(
            method.path, method.request.SerializeToString, method.reply.FromString
        )
        return call(request, timeout=timeout_s)

    def both_ways(self, method: Method[Any, Any], requests: Any, timeout_s: float) -> Any:
        """gRPC's call."""
        assert method.request is not None
        assert method.reply is not None
        call = self._connected().stream_stream(
            method.path, method.request.SerializeToString, method.reply.FromString
        )
        return call(requests, timeout=timeout_s)

    async def close(self) -> None:
        """Give up the connection."""
        for pipeline in self._pipelines:
            await pipeline.close()
        channel, self._channel = self._channel, None
        self._calls.clear()
        if channel is not None:
            await channel.close()

    def _callable(self, method: Method[Any, Any]) -> Any:
        call = self._connected().unary_unary(
            method.path,
            method.request.SerializeToString if method.request else None,
            method.reply.FromString if method.reply else None,
        )
        self._calls[method.path] = call
        return call

    def _connected(self) -> grpc.aio.Channel:
        if self._channel is None:
            self._channel = self._dialler.aio_channel(self.address, self._options)
        return self._channel
