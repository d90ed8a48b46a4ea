"""Carries the policy's steps out with threads.

There is no thread of the client's own. A caller that finds room in its lane makes the call itself,
in its own thread, as if there were nobody else: that is what an idle caller pays. Who finds none
sleeps; when a call is over, the most patient of those who wait is woken and makes the next one for
all of them. Its deadline is the last, so no call is cut short for anybody, and nobody is kept past
his own deadline.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast
from weakref import WeakSet

import grpc
from grpc import RpcError, StatusCode

from kvnode.client.calls import flight_plan
from kvnode.client.channels import (
    CLOSED,
    OPTIONS,
    QUESTION,
    READ_RETRIES,
    Endpoint,
    Method,
    ReplyT,
    RequestT,
    warn_unclosed,
)
from kvnode.client.dialling import Dialler
from kvnode.client.failover import Failover
from kvnode.client.lanes import LANES_MAX, Entry, Flight, Lane, in_use
from kvnode.client.status import failure_of
from kvnode.client.steps import Look, Pause, Send, Step, StepAside, Steps, Submit

if TYPE_CHECKING:
    from kvnode.client.watching import Watch

ResultT = TypeVar("ResultT")

GRACE_S: Final = 0.1
"""The call itself ends at the deadline, and says more than who waits for it could."""

LOOK_S: Final = 1.0
"""How long a node has to say that it is well again."""


DRIVERS: Final[WeakSet[ThreadDriver]] = WeakSet()


def close_in_child() -> None:
    """Of a fork: gRPC's threads are not there, and its connections would have two writers."""
    for driver in DRIVERS:
        driver.forked()


os.register_at_fork(after_in_child=close_in_child)


class ThreadDriver:
    """The connections of one client and of its sessions. Thread safe."""

    def __init__(self, failover: Failover) -> None:
        self.failover = failover
        alone = len(failover.addresses) == 1
        self._wires = {
            address: Wire(address, failover.dialler, retries=alone)
            for address in failover.addresses
        }
        self._lanes: dict[Hashable, Lane] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._watches: WeakSet[Watch] = WeakSet()
        self._watching = threading.Lock()
        DRIVERS.add(self)

    def __del__(self) -> None:
        """Who forgot to close it is told, as with a socket."""
        if not self.failover.closed and any(wire.connected for wire in self._wires.values()):
            warn_unclosed("Client", self.failover.addresses, self)

    def forked(self) -> None:
        """In the child: what is connected is its parent's, as are those who wait."""
        if any(wire.connected for wire in self._wires.values()):
            self._lock = threading.Lock()  # whoever held it is not here
            self._watching = threading.Lock()
            self.failover.closed = True

    def close(self) -> None:
        """Close every channel; calls in progress end without a reply. End every watch."""
        with self._watching:
            self.failover.closed = True
            watches = list(self._watches)
        self._closed.set()
        for wire in self._wires.values():
            wire.close()
        for watch in watches:
            watch.close()

    def own(self, watch: Watch) -> None:
        """End it with the client, if it still is somebody's then. RuntimeError if it is closed."""
        with self._watching:
            if self.failover.closed:
                raise RuntimeError(CLOSED)
            self._watches.add(watch)

    def run(self, steps: Steps[ResultT], aside: Callable[[], None] | None = None) -> ResultT:
        """What the steps come to. ``aside``: what a flight does when it steps aside."""
        answer: object = None
        try:
            step = next(steps)
            while True:
                try:
                    answer = self._carry_out(step, aside)
                except BaseException as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(answer)
        except StopIteration as stop:
            return cast("ResultT", stop.value)

    def stream(
        self,
        method: Method[RequestT, ReplyT],
        request: RequestT,
        place: Steps[Any],
        timeout_s: float,
    ) -> Iterator[ReplyT]:
        """The replies of the endpoint that ``place`` finds; ``timeout_s`` is for all of them."""
        endpoint = self.run(place)
        try:
            yield from self._wires[endpoint.address].stream(method, request, timeout_s)
        except RpcError as error:
            failure = failure_of(error, endpoint.address)
            raise failure.exception from failure.cause

    def both_ways(
        self,
        endpoint: Endpoint,
        method: Method[RequestT, ReplyT],
        requests: Iterator[RequestT],
        timeout_s: float,
    ) -> Any:
        """gRPC's call of a stream: its replies, and ``cancel``."""
        return self._wires[endpoint.address].both_ways(method, requests, timeout_s)

    # ---- steps

    def _carry_out(self, step: Step, aside: Callable[[], None] | None) -> object:
        match step:
            case Send():
                return self._wires[step.endpoint.address].call(step)
            case Submit():
                self.submit(step.entry)
            case Pause():
                return self._closed.wait(step.seconds)
            case Look():
                self._look(step)
            case StepAside():
                if aside is not None:
                    aside()
        return None

    def _look(self, step: Look) -> None:
        endpoint = step.endpoint
        self._wires[endpoint.address].look(partial(self.failover.looked, endpoint))

    # ---- callers that share calls

    def submit(self, entry: Entry) -> None:
        """Return when the entry is settled."""
        woken: threading.Event | None = None
        with self._lock:
            if self.failover.closed:
                raise RuntimeError(CLOSED)
            lane = self._lane(entry)
            lane.waiting.append(entry)
            flight = lane.begin()
            if flight is None:
                woken = threading.Event()
                entry.wake = woken.set
        if flight is not None:
            self._lead(lane, flight)
        try:
            while not entry.settled:
                assert woken is not None, "who does not lead waits"
                left_s = entry.deadline + GRACE_S - self.failover.now()
                woken.wait(max(0.0, left_s))
                with self._lock:
                    flight, entry.flight = entry.flight, None
                    if flight is None and left_s <= 0:
                        entry.give_up()  # under the lock: nobody makes it lead any more
                if flight is not None:
                    self._lead(lane, flight)
        except BaseException:  # of a signal's handler: Ctrl-C, an alarm
            self._leave(lane, entry)
            raise

    def _leave(self, lane: Lane, entry: Entry) -> None:
        """Its caller is gone: those it was to lead must not wait for it."""
        with self._lock:
            flight, entry.flight = entry.flight, None
            entry.give_up()
            others = [each for each in flight.entries if not each.settled] if flight else []
            leader = max(others, key=lambda each: each.deadline, default=None)
            if leader is not None:
                leader.flight = flight
        if leader is not None:
            assert leader.wake is not None, "who waits can be woken"
            leader.wake()
        elif flight is not None:
            self._hand_over(lane, flight)

    def _lane(self, entry: Entry) -> Lane:
        lane = self._lanes.get(entry.lane)
        if lane is None:
            if len(self._lanes) >= LANES_MAX:
                self._lanes = in_use(self._lanes)
            plan = flight_plan(self.failover, entry)
            lane = Lane(plan, self.failover.now, ordered=entry.is_write)
            self._lanes[entry.lane] = lane
        return lane

    def _lead(self, lane: Lane, flight: Flight) -> None:
        """Make the call for everybody in the flight, and see that the next one is made."""
        aside = partial(self._hand_over, lane, flight)
        try:
            self.run(lane.fly(flight), aside)
        except RuntimeError as error:  # closed
            flight.strand(error)
        except BaseException as error:
            flight.strand(error)
            raise
        finally:
            aside()

    def _hand_over(self, lane: Lane, flight: Flight) -> None:
        """Let those go who waited for the flight."""
        leaders: list[Entry] = []
        with self._lock:
            lane.land(flight)
            while (next_flight := lane.begin()) is not None:
                leader = max(next_flight.entries, key=lambda entry: entry.deadline)
                leader.flight = next_flight
                leaders.append(leader)
        for leader in leaders:
            assert leader.wake is not None, "who waits can be woken"
            leader.wake()


class Wire:
    """A channel to one node, made on first use. Thread safe."""

    def __init__(self, address: str, dialler: Dialler, *, retries: bool) -> None:
        """``retries``: let gRPC ask again by itself where that is safe."""
        self.address = address
        self._dialler = dialler
        service = (("grpc.service_config", READ_RETRIES),) if retries else ()
        self._options: tuple[tuple[str, object], ...] = (*OPTIONS, *service)
        self._lock = threading.Lock()
        self._closed = False
        self._channel: grpc.Channel | None = None
        self._calls: dict[str, grpc.UnaryUnaryMultiCallable[Any, Any]] = {}

    @property
    def connected(self) -> bool:
        """Whether it was used and not closed."""
        return self._channel is not None

    def call(self, step: Send) -> object:
        """The reply, or gRPC's error. RuntimeError if the channel is closed."""
        call = self._calls.get(step.method.path) or self._callable(step.method)
        try:
            return call(step.request, timeout=step.timeout_s, wait_for_ready=step.wait)
        except ValueError as error:  # gRPC's word for a channel closed since
            raise RuntimeError(CLOSED) from error
        except RpcError as error:
            return error

    def look(self, tell: Callable[[object], None]) -> None:
        """Ask after the node's health; the answer is told by another thread."""
        future = self._callable(QUESTION).future(b"", timeout=LOOK_S)

        def answered(done: Any) -> None:
            if done.code() is StatusCode.OK:
                tell(done.result())
            elif not self._closed:
                tell(done)

        future.add_done_callback(answered)

    def stream(
        self, method: Method[RequestT, ReplyT], request: RequestT, timeout_s: float
    ) -> Iterator[ReplyT]:
        """The node's replies; gRPC's error where they break off."""
        assert method.request is not None
        assert method.reply is not None
        with self._lock:
            call = self._connected().unary_stream(
                method.path, method.request.SerializeToString, method.reply.FromString
            )
        replies = call(request, timeout=timeout_s)
        try:
            yield from cast("Iterator[ReplyT]", replies)
        finally:
            replies.cancel()

    def both_ways(
        self, method: Method[RequestT, ReplyT], requests: Iterator[RequestT], timeout_s: float
    ) -> Any:
        """gRPC's call. RuntimeError if the channel is closed."""
        assert method.request is not None
        assert method.reply is not None
        with self._lock:
            call = self._connected().stream_stream(
                method.path, method.request.SerializeToString, method.reply.FromString
            )
        try:
            return call(requests, timeout=timeout_s)
        except ValueError as error:  # closed since
            raise RuntimeError(CLOSED) from error

    def close(self) -> None:
        """Give up the connection; calls in progress fail as lost."""
        with self._lock:
            self._closed = True
            channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def _callable(self, method: Method[Any, Any]) -> grpc.UnaryUnaryMultiCallable[Any, Any]:
        """gRPC's object for calls of one RPC. RuntimeError after ``close``."""
        with self._lock:
            channel = self._connected()
            call = channel.unary_unary(
                method.path,
                method.request.SerializeToString if method.request else None,
                method.reply.FromString if method.reply else None,
            )
            self._calls[method.path] = call
            return call

    def _connected(self) -> grpc.Channel:
        """The channel, made on first use; to be called under the lock."""
        if self._closed:
            raise RuntimeError(CLOSED)
        if self._channel is None:
            self._channel = self._dialler.channel(self.address, self._options)
        return self._channel
