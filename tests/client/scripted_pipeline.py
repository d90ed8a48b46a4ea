"""The Pipeline RPC of a scripted node: each request is a call of its own to the script."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue
from typing import Any, NoReturn

import grpc
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status

from kvnode.v1 import kv_pb2

Script = Callable[[str, Any, Any], Message]
DETAILS_KEY = "grpc-status-details-bin"


class Aborted(Exception):
    """The script ended a call."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.message)
        self.status = status


class Context:
    """What the script's steps need of gRPC's context, of one request on a stream."""

    def __init__(self, timeout_s: float) -> None:
        self._until = time.monotonic() + timeout_s
        self._metadata: dict[str, bytes] = {}
        self._over = False
        self._callbacks: list[Callable[[], object]] = []
        self._lock = threading.Lock()
        self._timer = threading.Timer(timeout_s, self.end)
        self._timer.daemon = True
        self._timer.start()

    def time_remaining(self) -> float:
        """Until the caller's deadline."""
        return max(0.0, self._until - time.monotonic())

    def set_trailing_metadata(self, metadata: Iterable[tuple[str, bytes]]) -> None:
        """Only a status is understood."""
        self._metadata = dict(metadata)

    def abort(self, code: grpc.StatusCode, message: str) -> NoReturn:
        """End the call with the status of the metadata, which may be none, or with this one."""
        packed = self._metadata.get(DETAILS_KEY)
        status = Status(code=code.value[0], message=message)
        if packed is not None and packed != b"\xff\xff":
            status = Status.FromString(packed)
        raise Aborted(status)

    def add_callback(self, callback: Callable[[], object]) -> bool:
        """To be called at its end, if that has not come."""
        with self._lock:
            if not self._over:
                self._callbacks.append(callback)
            return not self._over

    def end(self) -> None:
        """The caller has gone, or its deadline has passed."""
        self._timer.cancel()
        with self._lock:
            self._over = True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()


def pipeline(
    script: Script, requests: Iterator[kv_pb2.PipelineRequests]
) -> Iterator[kv_pb2.PipelineReplies]:
    """The replies, in whatever order the script gives them."""
    replies: SimpleQueue[kv_pb2.PipelineReply | None] = SimpleQueue()
    contexts: list[Context] = []
    threads: list[threading.Thread] = []

    def answer(request: kv_pb2.PipelineRequest, context: Context) -> None:
        kind = getattr(kv_pb2, request.method + "Request")
        try:
            found = script(request.method, kind.FromString(request.request), context)
        except Aborted as aborted:
            replies.put(kv_pb2.PipelineReply(number=request.number, error=aborted.status))
        else:
            raw = found.SerializeToString()
            replies.put(kv_pb2.PipelineReply(number=request.number, reply=raw))
        context.end()

    def read() -> None:
        try:
            for message in requests:
                for request in message.requests:
                    contexts.append(Context(request.timeout_ms / 1000))
                    thread = threading.Thread(target=answer, args=(request, contexts[-1]))
                    threads.append(thread)
                    thread.start()
        except grpc.RpcError:  # the caller has gone
            for context in contexts:
                context.end()
        for thread in threads:
            thread.join()
        replies.put(None)

    reader = threading.Thread(target=read)
    reader.start()
    while (reply := replies.get()) is not None:
        yield kv_pb2.PipelineReplies(replies=[reply])
    reader.join()
