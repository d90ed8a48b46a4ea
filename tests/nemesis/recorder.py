"""The history as it comes into being: one clock, one number for each call, many threads.

A call is noted when it has ended. So that a call whose thread never came back is not missing, it
is announced before it is sent, and what is still open in the end goes in as unknown.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from time import monotonic

from tests.checkers.history import Call, Fault, History


class Recorder:
    """Takes calls and faults. Thread safe."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        """"ok", "refused" and "unknown" so far."""
        self.problems: list[str] = []
        """What should not have happened and is no call: a node that ended by itself."""
        self._history = History()
        self._open: dict[int, Call] = {}
        self._number = 0
        self._lock = threading.Lock()
        self._begun_s = monotonic()

    def now_ms(self) -> float:
        """Since the beginning of the history."""
        return (monotonic() - self._begun_s) * 1000

    def begin(self, call: Call) -> Call:
        """The call as it is about to be sent, with its number and its start."""
        with self._lock:
            self._number += 1
            call = replace(call, number=self._number, started_ms=self.now_ms())
            self._open[call.number] = call
            return call

    def end(self, call: Call) -> None:
        """It has come to its end; its end's time is now."""
        call = replace(call, ended_ms=self.now_ms())
        with self._lock:
            del self._open[call.number]
            self._history.calls.append(call)
            self.outcomes[call.outcome] += 1

    def fault(self, fault: Fault) -> None:
        """Something was done to the cluster, and is over."""
        with self._lock:
            self._history.faults.append(fault)

    def complain(self, problem: str) -> None:
        """Something is wrong that no checker would see."""
        with self._lock:
            self.problems.append(problem)

    def history(self) -> History:
        """All of it, calls in the order of their start; what is open is unknown."""
        with self._lock:
            calls = [*self._history.calls, *self._open.values()]
            calls.sort(key=lambda call: call.number)
            faults = sorted(self._history.faults, key=lambda fault: fault.started_ms)
            return History(calls, faults)
