"""Does to a running cluster what the schedule says, undoes it, and counts what was hit.

One thread for each track of the schedule. A fault that met nothing proves nothing: a cut is counted
by the connections and bytes it stopped, a full disk by the writes it refused, a wrong clock by the
node that says so itself. What a run planned and never hit is a problem of that run.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from random import Random
from time import monotonic
from traceback import format_exc
from typing import Final

from cluster.control import ClusterError
from cluster.faults import Fault as LinkFault
from cluster.faults import Mode
from cluster.node_process import Life
from cluster.processes import LocalCluster
from cluster.skewed_clock import SkewedClock
from kvnode import Client, KvnodeError
from tests.checkers.history import Fault
from tests.nemesis import disk
from tests.nemesis.doors import Doors
from tests.nemesis.recorder import Recorder
from tests.nemesis.schedule import Kind, Planned

FLAP_S: Final = (0.1, 0.6)
HELD_S: Final = (0.05, 2.5)
"""Around a client's patience of 1.5 s."""
CLOCK_SEEN_MS: Final = 1_500
"""How far a node's measure of its own clock may be from the truth."""
STATUS_TIMEOUT_S: Final = 1.0
STOP_DEADLINE_S: Final = 15.0
HALF_WAY_S: Final = 5.0
"""What a node gets to stop in, if it has to: it may have done without that call."""
POLL_S: Final = 0.05


class Hands:
    """Use as a context manager: leaving it undoes what is under way, and waits for that."""

    def __init__(
        self,
        cluster: LocalCluster,
        clocks: Mapping[str, SkewedClock],
        doors: Doors,
        recorder: Recorder,
        plan: Sequence[Planned],
        say: Callable[[str], None],
    ) -> None:
        self.times: Counter[Kind] = Counter()
        self.hits: Counter[Kind] = Counter()
        self._cluster = cluster
        self._clocks = clocks
        self._doors = doors
        self._recorder = recorder
        self._say = say
        self._over = threading.Event()
        self._traces = 0
        self._begun_s = monotonic()
        self._threads = [
            threading.Thread(
                target=self._follow,
                args=([planned for planned in plan if planned.track == track],),
                name=f"faults of {track}",
                daemon=True,
            )
            for track in sorted({planned.track for planned in plan})
        ]

    def __enter__(self) -> Hands:
        self._begun_s = monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _follow(self, plan: Sequence[Planned]) -> None:
        for planned in plan:
            if self._over.wait(max(0.0, self._begun_s + planned.start_s - monotonic())):
                return
            try:
                self._carry_out(planned)
            except Exception:  # a bug of ours: nothing more would be done on this track
                self._recorder.complain(f"{planned.kind}: {format_exc()}")

    def _carry_out(self, planned: Planned) -> None:
        started_ms = self._recorder.now_ms()
        self._say(f"{planned.kind} {_about(planned)}")
        detail = ""
        try:
            hits, detail = self._act(planned)
            self.hits[planned.kind] += hits
        except (ClusterError, KvnodeError) as error:
            self._recorder.complain(f"{planned.kind} {_about(planned)}: {error}")
        self.times[planned.kind] += 1
        ends = planned.nodes or tuple(
            sorted({name for pair in planned.directions for name in pair})
        )
        fault = Fault(planned.kind, ends, started_ms, self._recorder.now_ms(), detail)
        self._recorder.fault(fault)

    def _act(self, planned: Planned) -> tuple[int, str]:
        """Do it, wait, undo it; how much was hit, and a few words."""
        match planned.kind:
            case Kind.KILL:
                return self._kill(planned)
            case Kind.PAUSE:
                return self._pause(planned)
            case Kind.RESTARTS:
                return self._restarts(planned)
            case Kind.FULL_DISK:
                return self._trouble(planned, disk.FULL)
            case Kind.SLOW_DISK:
                return self._trouble(planned, disk.slow(planned.measure))
            case Kind.CLOCK:
                return self._clock(planned)
            case Kind.LOST_REPLIES:
                return self._lose_replies(planned)
            case Kind.FLAPPING:
                return self._flap(planned)
            case _:
                with self._links(planned):
                    before = self._stopped(planned)
                    self._set_links(planned, _link_fault(planned))
                    self._last(planned)
                    hits = self._stopped(planned) - before
                return hits, f"{_about(planned)}, hit {hits} times"

    def _last(self, planned: Planned) -> None:
        """Let it last."""
        self._over.wait(planned.for_s)

    # ---- links

    @contextmanager
    def _links(self, planned: Planned) -> Iterator[None]:
        try:
            yield
        finally:
            self._set_links(planned, LinkFault())

    def _set_links(self, planned: Planned, fault: LinkFault) -> None:
        for source, target in planned.directions:
            self._cluster.set_link(source, target, fault)

    def _stopped(self, planned: Planned) -> int:
        """How often any fault hit these directions so far."""
        views = self._cluster.status().links
        wanted = set(planned.directions)
        return sum(view.counters.faults for view in views if (view.source, view.target) in wanted)

    def _flap(self, planned: Planned) -> tuple[int, str]:
        chance = Random(planned.start_s)
        until_s = monotonic() + planned.for_s
        before = self._stopped(planned)
        changes = 0
        with self._links(planned):
            while monotonic() < until_s and not self._over.is_set():
                changes += 1
                self._set_links(planned, _link_fault(planned) if changes % 2 else LinkFault())
                self._over.wait(chance.uniform(*FLAP_S))
        hits = self._stopped(planned) - before
        return hits, f"{_about(planned)}, {changes} changes, hit {hits} times"

    def _lose_replies(self, planned: Planned) -> tuple[int, str]:
        """Hold replies and then break their connections; or, silently, deliver them late."""
        until_s = monotonic() + planned.for_s
        before = self._doors.hits()
        after = LinkFault() if planned.silently else LinkFault(Mode.RESET)
        chance = Random(planned.start_s)
        try:
            while monotonic() < until_s and not self._over.is_set():
                self._doors.set(planned.nodes, LinkFault(), LinkFault(Mode.DROP))
                self._over.wait(chance.uniform(*HELD_S))
                self._doors.set(planned.nodes, LinkFault(), after)
                self._over.wait(chance.uniform(*FLAP_S))
        finally:
            self._doors.set(planned.nodes, LinkFault(), LinkFault())
        hits = self._doors.hits() - before
        return hits, f"{'late' if planned.silently else 'lost'}, hit {hits} times"

    # ---- processes

    def _kill(self, planned: Planned) -> tuple[int, str]:
        for name in planned.nodes:
            self._cluster.kill(name)
        self._last(planned)
        self._cluster.start(*planned.nodes)
        return len(planned.nodes), "SIGKILL"

    def _pause(self, planned: Planned) -> tuple[int, str]:
        paused = []
        try:
            for name in planned.nodes:
                self._cluster.pause(name)
                paused.append(name)
            self._last(planned)
        finally:
            for name in paused:
                self._cluster.resume(name)
        return len(planned.nodes), "SIGSTOP"

    def _restarts(self, planned: Planned) -> tuple[int, str]:
        (name,) = planned.nodes
        until_s = monotonic() + planned.for_s
        count = 0
        while monotonic() < until_s and not self._over.is_set():
            if count % 2:
                self._cluster.stop(name)
            else:
                self._cluster.kill(name)
            self._cluster.start(name)
            count += 1
        return count, f"{count} times"

    def _trouble(self, planned: Planned, injection: str) -> tuple[int, str]:
        troubles: dict[str, disk.Trouble] = {}
        told = {name: self._cluster.node(name).log.stat().st_size for name in planned.nodes}
        try:
            for name in planned.nodes:
                view = self._cluster.node(name)
                if view.pid is None:
                    raise ClusterError(f"{name} {view.life.clause}")
                self._traces += 1
                trace = self._cluster.directory / name / f"trace-{self._traces}"
                troubles[name] = disk.Trouble(view.pid, injection, trace)
            self._last(planned)
        finally:
            hits = sum(trouble.end() for trouble in troubles.values())
        broken = [
            name
            for name, trouble in troubles.items()
            if self._broke(name, told[name]) or (trouble.half_way and self._died(name, HALF_WAY_S))
        ]
        if broken:
            self._cluster.start(*broken)
        ended = f", {', '.join(broken)} stopped itself and was started again" if broken else ""
        return hits, f"{hits} system calls{ended}"

    def _broke(self, name: str, told: int) -> bool:
        """Whether the fault began within a commit (see disk.py); the node has to stop then."""
        log = self._cluster.node(name).log
        if not disk.is_broken(name, log.read_bytes()[told:].decode(errors="replace")):
            return False
        if not self._died(name, STOP_DEADLINE_S):
            raise ClusterError(f"{name} lost its environment ({disk.BROKEN}) and does not stop")
        return True

    def _died(self, name: str, within_s: float) -> bool:
        """Whether the node ends by itself now."""
        until_s = monotonic() + within_s
        pause = threading.Event()
        while self._cluster.node(name).life is not Life.DIED:
            if monotonic() > until_s:
                return False
            pause.wait(POLL_S)
        return True

    # ---- clocks

    def _clock(self, planned: Planned) -> tuple[int, str]:
        try:
            for name in planned.nodes:
                self._clocks[name].step(planned.measure)
            self._last(planned)
            seen = [name for name in planned.nodes if self._knows(name, planned.measure)]
        finally:
            for name in planned.nodes:
                self._clocks[name].step(0)
        return len(seen), f"{planned.measure:+} ms, measured by {', '.join(seen) or 'nobody'}"

    def _knows(self, name: str, offset_ms: int) -> bool:
        with Client(self._cluster.endpoint(name), timeout_s=STATUS_TIMEOUT_S) as client:
            try:
                return abs(client.admin.status().clock_offset_ms - offset_ms) < CLOCK_SEEN_MS
            except KvnodeError:
                return False


def _link_fault(planned: Planned) -> LinkFault:
    match planned.kind:
        case Kind.SLOW_LINK:
            delay_ms = planned.measure
            return LinkFault(Mode.DELAY, delay_ms=delay_ms, jitter_ms=delay_ms / 2)
        case Kind.NARROW_LINK:
            return LinkFault(rate_bytes_s=planned.measure)
        case _:
            return LinkFault(Mode.DROP if planned.silently else Mode.CUT)


def _about(planned: Planned) -> str:
    """Where it is, for people."""
    match planned.kind:
        case Kind.SLOW_LINK:
            return f"all links, {planned.measure} ms"
        case Kind.NARROW_LINK:
            return f"all links, {planned.measure:,} bytes/s"
        case Kind.CLOCK:
            return f"{' '.join(planned.nodes)} {planned.measure / 1000:+g} s"
        case Kind.SLOW_DISK:
            return f"{' '.join(planned.nodes)}, {planned.measure} ms a sync"
        case _ if planned.nodes:
            return " ".join(planned.nodes)
    both = {pair for pair in planned.directions if pair[::-1] in planned.directions}
    words = [f"{a}-{b}" for a, b in sorted(both) if a < b]
    words += [f"{a}>{b}" for a, b in planned.directions if (a, b) not in both]
    return f"{' '.join(words)}{' silently' if planned.silently else ''}"
