"""What a node gives back when nobody writes any more.

Entries that wait for a checkpoint are made by the hundred thousand, and let go of when it is
written. Python takes memory from the machine by the MiB, and gives such a piece back when nothing
at all is left in it. What was made beside those entries and is kept for longer is little, but lies
in all the pieces: after a load of a million keys some megabytes kept a hundred from going back.

So when the state has been tidied, which is once after the writes have ended,
- messages of the last vectors, kept in case that they are asked for again, are let go;
- request ids are copied, and the old ones let go (``core/requests.py``);
- ``on_end`` does what is to be done for a whole process (``cli/memory.py``).

Own blocks that are kept for pushing go before that, as soon as nobody lacks them: ``Retention``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from kvnode.core.errors import Refused
from kvnode.core.requests import RequestWindow
from kvnode.rpc.replication_codec import forget_vectors

if TYPE_CHECKING:
    from kvnode.node.engine import Engine


class Rest:
    """Of one engine."""

    def __init__(self, engine: Engine) -> None:
        self.on_end: Callable[[], None] = lambda: None
        self._engine = engine

    def begin(self) -> None:
        """Nobody writes any more: do it, in the thread that writes the state."""
        forget_vectors()
        enqueue = self._engine.checkpoints.enqueue
        window = self._engine.replica.durable.requests
        copy, copies = window.copying(), list[RequestWindow]()

        def copied(error: BaseException | None) -> None:
            if error is not None:
                self._engine.on_failure(error)
                return
            window.lie_in(copies[0])
            with suppress(Refused):  # the node has stopped meanwhile
                enqueue(copies.pop().clear, lambda _: self._end())

        with suppress(Refused):
            enqueue(lambda: copies.append(copy()), copied)

    def _end(self) -> None:
        if not len(self._engine.memtable):  # else somebody writes again, and will have ended again
            self.on_end()
