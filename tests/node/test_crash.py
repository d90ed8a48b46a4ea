"""SIGKILL while clients write: after the restart every acknowledged write is there, once."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import grpc
import pytest

from tests.rpc.api import (
    G_COUNTER,
    LWW_REGISTER,
    PN_COUNTER,
    SIBLINGS,
    Api,
    failed_with,
    increment,
    put,
)

from .conftest import Start
from .process import NodeProcess, until

Connect = Callable[[NodeProcess], Api]
WRITERS = 6
ROUNDS = 3
DELETED = {b"g": G_COUNTER, b"p": PN_COUNTER, b"r": LWW_REGISTER, b"s": SIBLINGS}


@dataclass
class Writer:
    """One client: batches of a put and an increment, each under a request id."""

    number: int
    batches: int = 0
    """Acknowledged."""
    seqs: list[int] = field(default_factory=list)
    """Their dots."""
    unknown: bytes = b""
    """The request id of the batch in flight when the node died."""

    @property
    def counter(self) -> bytes:
        """The key that counts its batches."""
        return b"counter %d" % self.number

    def key(self, batch: int) -> bytes:
        """The key that its batch puts."""
        return b"writer %d, %06d" % (self.number, batch)

    def write(self, api: Api, request_id: bytes) -> None:
        """Its next batch."""
        name = self.key(self.batches)
        answer = api.write(put(name, name), increment(self.counter), request_id=request_id)
        self.seqs.extend(result.dot.seq for result in answer.results)
        self.batches += 1

    def run(self, api: Api) -> None:
        """Write until the node is gone."""
        while True:
            request_id = os.urandom(16)
            code = failed_with(lambda: self.write(api, request_id))  # noqa: B023 - called at once
            if code is not None:
                assert code is grpc.StatusCode.UNAVAILABLE
                self.unknown = request_id
                return


def test_every_acknowledged_write_survives_kill_9(start: Start, connect: Connect) -> None:
    """And no other: a batch whose fate is unknown is resent under its id, and counts once."""
    writers = [Writer(number) for number in range(WRITERS)]
    process = start("data").ready()
    for _ in range(ROUNDS):
        before = total(writers)
        with ThreadPoolExecutor(WRITERS) as pool:
            api = connect(process)
            running = [pool.submit(writer.run, api) for writer in writers]
            try:
                until(lambda: total(writers) >= before + 150, "150 batches acknowledged")  # noqa: B023
            finally:
                process.kill()
            for future in running:
                future.result()
        process = start("data").ready()
        api = connect(process)
        check(api, writers)
    process.stop()


def total(writers: list[Writer]) -> int:
    """Batches acknowledged."""
    return sum(writer.batches for writer in writers)


def check(api: Api, writers: list[Writer]) -> None:
    """All that was acknowledged is there; then what was in flight is settled."""
    for writer in writers:
        assert writer.unknown
        names = [writer.key(batch) for batch in range(writer.batches)]
        found = api.names(prefix=b"writer %d," % writer.number)
        assert found[: len(names)] == names
        happened = found[len(names) :]
        assert happened in ([], [writer.key(writer.batches)])
        counted = api.batch_get(writer.counter).states[0].pn_counter.value
        assert counted == writer.batches + len(happened), "a batch was torn"
        writer.write(api, writer.unknown)
        assert api.get(writer.counter).pn_counter.value == writer.batches
    seqs = sorted(seq for writer in writers for seq in writer.seqs)
    assert seqs == list(range(1, api.seq() + 1)), "a dot was lost or given twice"


@pytest.mark.parametrize("ending", ["kill", "stop"])
def test_what_a_client_holds_is_good_over_a_restart(
    start: Start, connect: Connect, ending: str
) -> None:
    """Request ids, contexts, and that deleted is deleted, of all four types."""
    process = start("data").ready()
    api = connect(process)
    request_id = os.urandom(16)
    first = api.increment(b"n", 5, request_id=request_id)
    api.put(b"k", b"read", blind=True)
    context = api.get(b"k").context
    api.put(b"k", b"not read", blind=True)
    for key, kind in DELETED.items():
        if kind in (G_COUNTER, PN_COUNTER):
            api.increment(key, 5, type=kind)
        else:
            api.put(key, b"v", type=kind)
        api.delete(key)
    if ending == "kill":
        process.kill()
    else:
        process.stop()

    process = start("data").ready()
    api = connect(process)
    again = api.increment(b"n", 5, request_id=request_id)
    assert again.repeated
    assert again.result == first.result
    assert api.get(b"n").pn_counter.value == 5
    api.put(b"k", b"new", context=context)
    assert api.values(b"k") == [b"not read", b"new"]
    assert api.names() == [b"k", b"n"]
    assert api.increment(b"g", 1, type=G_COUNTER).result.counter.value == 1
    assert api.increment(b"p", -1).result.counter.value == -1
    process.stop()


def test_a_crash_while_starting_leaves_a_directory_that_starts(start: Start) -> None:
    """Killed at whatever point of making its directory."""
    for wait_for in ("LOCK", "new", "v1"):
        process = start(f"data {wait_for.replace('/', ' ')}")
        wait_until_made(process, wait_for)
        process.kill()
        start(process.data.name).ready().stop()


def wait_until_made(process: NodeProcess, part: str) -> None:
    """Until this part of the directory is there, or a later one is."""
    until(
        lambda: (process.data / part).exists() or (process.data / "v1").exists(),
        f"{part} is made",
    )
