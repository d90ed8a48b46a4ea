"""A history as a file: JSON lines, one per call, fault and final, in the order they happened.

A driver can write line by line while it runs (``Recorder``), so that a run which is killed leaves
what it had; a file that ends within a line is read up to there. Bytes are strings whose characters
are the bytes (Latin-1), so that plain keys can be read and searched. What has its default value is
left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from tests.checkers.history import Call, Dot, Fault, Final, History, Seen, Vector, Written

VERSION = 1


class RecordError(ValueError):
    """The file is no history, or damaged before its last line."""


class Recorder:
    """Appends to a file; a context manager."""

    def __init__(self, path: Path) -> None:
        self._file: IO[str] = path.open("w", encoding="ascii")
        self._line({"history": VERSION})

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def call(self, call: Call) -> None:
        """A call that has ended, or never will."""
        self._line({"call": _call_out(call)})

    def fault(self, fault: Fault) -> None:
        """A fault that has ended, or never will."""
        self._line({"fault": _fault_out(fault)})

    def final(self, final: Final) -> None:
        """A node's end."""
        self._line({"final": _final_out(final)})

    def about(self, history: History) -> None:
        """What is known of the run as a whole; the last such line holds."""
        self._line(
            {
                "about": {
                    "lost_origins": _vector_out(history.lost_origins),
                    "reissued": sorted(history.reissued),
                    "settled": history.settled,
                    "epoch_ms": history.epoch_ms,
                }
            }
        )

    def _line(self, value: dict[str, Any]) -> None:
        self._file.write(json.dumps(value, separators=(",", ":")) + "\n")


def write(path: Path, history: History) -> None:
    """The whole history."""
    with Recorder(path) as recorder:
        recorder.about(history)
        for call in history.calls:
            recorder.call(call)
        for fault in history.faults:
            recorder.fault(fault)
        for final in history.finals:
            recorder.final(final)


def read(path: Path) -> History:
    """The inverse of ``write``; raises ``RecordError``."""
    history = History()
    with path.open(encoding="ascii") as file:
        for value in _lines(file):
            for kind, content in value.items():
                take = _TAKE.get(kind)
                if take is None:
                    raise RecordError(f"{path}: a line of the unknown kind {kind!r}")
                take(history, content)
    return history


def _lines(file: IO[str]) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(file, 1):
        try:
            value = json.loads(line)
        except ValueError as error:
            if line.endswith("\n"):
                raise RecordError(f"{file.name}, line {number}: {error}") from error
            return  # the writer was killed
        if number == 1 and value != {"history": VERSION}:
            raise RecordError(f"{file.name} is no history of version {VERSION}: {line[:80]!r}")
        if number > 1:
            yield value


def _about(history: History, content: dict[str, Any]) -> None:
    history.lost_origins = _vector_in(content["lost_origins"])
    history.reissued = frozenset(content["reissued"])
    history.settled = content["settled"]
    history.epoch_ms = content["epoch_ms"]


_TAKE: dict[str, Callable[[History, dict[str, Any]], None]] = {
    "about": _about,
    "call": lambda history, content: history.calls.append(_call_in(content)),
    "fault": lambda history, content: history.faults.append(_fault_in(content)),
    "final": lambda history, content: history.finals.append(_final_in(content)),
}


def _vector_out(vector: Vector) -> dict[str, int]:
    return {str(origin): seq for origin, seq in vector.items()}


def _vector_in(raw: dict[str, int]) -> Vector:
    return {int(origin): seq for origin, seq in raw.items()}


def _maybe_vector_in(raw: dict[str, int] | None) -> Vector | None:
    return None if raw is None else _vector_in(raw)


def _bytes_out(value: bytes) -> str:
    return value.decode("latin-1")


def _bytes_in(raw: str) -> bytes:
    return raw.encode("latin-1")


def _dots_in(raw: list[list[int]]) -> Iterator[Dot]:
    return ((origin, seq) for origin, seq in raw)


def _written_out(written: Written) -> dict[str, Any]:
    out: dict[str, Any] = {
        "action": written.action,
        "key": _bytes_out(written.key),
        "type": written.type,
    }
    if written.value:
        out["value"] = _bytes_out(written.value)
    if written.amount:
        out["amount"] = written.amount
    if written.mode != "observed":
        out["mode"] = written.mode
    if written.context is not None:
        out["context"] = sorted(written.context)
    if written.seen is not None:
        out["seen"] = _vector_out(written.seen)
    if written.deadline_ms is not None:
        out["deadline_ms"] = written.deadline_ms
    return out


def _written_in(raw: dict[str, Any]) -> Written:
    context = raw.get("context")
    return Written(
        raw["action"],
        _bytes_in(raw["key"]),
        raw["type"],
        _bytes_in(raw.get("value", "")),
        raw.get("amount", 0),
        raw.get("mode", "observed"),
        None if context is None else frozenset(_dots_in(context)),
        _maybe_vector_in(raw.get("seen")),
        raw.get("deadline_ms"),
    )


def _seen_out(seen: Seen) -> dict[str, Any]:
    out: dict[str, Any] = {"key": _bytes_out(seen.key)}
    if seen.siblings:
        out["siblings"] = [[*dot, _bytes_out(value)] for dot, value in seen.siblings.items()]
    if seen.lww is not None:
        out["lww"] = [*seen.lww[0], _bytes_out(seen.lww[1])]
    if seen.counters:
        out["counters"] = seen.counters
    return out


def _seen_in(raw: dict[str, Any]) -> Seen:
    lww = raw.get("lww")
    return Seen(
        _bytes_in(raw["key"]),
        {(origin, seq): _bytes_in(value) for origin, seq, value in raw.get("siblings", ())},
        None if lww is None else ((lww[0], lww[1]), _bytes_in(lww[2])),
        raw.get("counters", {}),
    )


def _call_out(call: Call) -> dict[str, Any]:
    out: dict[str, Any] = {
        "number": call.number,
        "client": call.client,
        "node": call.node,
        "started_ms": call.started_ms,
        "ended_ms": call.ended_ms,
        "outcome": call.outcome,
    }
    if call.reason:
        out["reason"] = call.reason
    if call.writes:
        out["writes"] = [_written_out(written) for written in call.writes]
    if call.dots:
        out["dots"] = call.dots
    if call.repeated:
        out["repeated"] = True
    if call.request:
        out["request"] = _bytes_out(call.request)
    if call.seen:
        out["seen"] = [_seen_out(seen) for seen in call.seen]
    if call.token is not None:
        out["token"] = _vector_out(call.token)
    if call.vector:
        out["vector"] = _vector_out(call.vector)
    if call.before is not None:
        out["before"] = _vector_out(call.before)
    if call.durability != "fsync":
        out["durability"] = call.durability
    if call.clock is not None:
        out["clock"] = call.clock
    return out


def _call_in(raw: dict[str, Any]) -> Call:
    return Call(
        raw["number"],
        raw["client"],
        raw["node"],
        raw["started_ms"],
        raw["ended_ms"],
        raw["outcome"],
        raw.get("reason", ""),
        tuple(_written_in(written) for written in raw.get("writes", ())),
        tuple(_dots_in(raw.get("dots", []))),
        raw.get("repeated", False),
        _bytes_in(raw.get("request", "")),
        tuple(_seen_in(seen) for seen in raw.get("seen", ())),
        _maybe_vector_in(raw.get("token")),
        _vector_in(raw.get("vector", {})),
        _maybe_vector_in(raw.get("before")),
        raw.get("durability", "fsync"),
        _clock_in(raw),
    )


def _clock_in(raw: dict[str, Any]) -> tuple[float, float] | None:
    clock = raw.get("clock")
    return None if clock is None else (clock[0], clock[1])


def _fault_out(fault: Fault) -> dict[str, Any]:
    return {
        "kind": fault.kind,
        "nodes": fault.nodes,
        "started_ms": fault.started_ms,
        "ended_ms": fault.ended_ms,
        "detail": fault.detail,
    }


def _fault_in(raw: dict[str, Any]) -> Fault:
    return Fault(
        raw["kind"], tuple(raw["nodes"]), raw["started_ms"], raw["ended_ms"], raw["detail"]
    )


def _final_out(final: Final) -> dict[str, Any]:
    return {
        "node": final.node,
        "vector": _vector_out(final.vector),
        "digest": final.digest,
        "keys": [_seen_out(seen) for seen in final.keys.values()],
        "at_ms": final.at_ms,
        "journal": None if final.journal is None else sorted(final.journal),
        "clock": final.clock,
    }


def _final_in(raw: dict[str, Any]) -> Final:
    journal = raw["journal"]
    return Final(
        raw["node"],
        _vector_in(raw["vector"]),
        raw["digest"],
        {seen.key: seen for seen in map(_seen_in, raw["keys"])},
        raw["at_ms"],
        None if journal is None else frozenset(_dots_in(journal)),
        _clock_in(raw),
    )
