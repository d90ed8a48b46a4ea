"""One run: a cluster, its clients, its tormentor, and the history of it all."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from time import monotonic
from traceback import format_exc
from typing import Final

from cluster.processes import LocalCluster
from cluster.skewed_clock import SkewedClock
from tests.checkers.history import History
from tests.nemesis.doors import Doors
from tests.nemesis.ending import conclude, make_whole
from tests.nemesis.hands import Hands
from tests.nemesis.pulse import Beat, Pulse
from tests.nemesis.recorder import Recorder
from tests.nemesis.schedule import Kind, schedule
from tests.nemesis.session import Session
from tests.nemesis.workloads import WORKLOADS, Board

NODE_SETTINGS: Final = """\
# Logs of seconds instead of a day, so that a fault can outlast them,
log_retention_bytes = 15_000
log_bytes_max = 30_000
retention_interval_ms = 500
push_buffer_bytes = 10_000
# and checkpoints so often that a kill meets one.
checkpoint_interval_ms = 700
"""

PAUSE_S: Final = 0.025
"""Of a client between two steps, on average: the processors are the nodes'."""
IN_VAIN: Final = 3
"""A fault may meet nothing now and then: a link between two nodes that are both down."""
PROGRESS_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run does."""

    nodes: int
    seconds: float
    seed: int
    kinds: tuple[Kind, ...]
    workloads: tuple[str, ...]
    clients: int


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of it."""

    history: History
    beats: list[Beat]
    problems: list[str]
    times: Counter[Kind]
    hits: Counter[Kind]
    """How often each kind of fault was there, and met something."""
    converged_s: float
    """After the heal."""


def run(settings: Settings, directory: Path, say: Callable[[str], None]) -> Ran:
    """Torment a cluster in ``directory`` (which is there); its logs and data stay there."""
    names = [f"n{number}" for number in range(1, settings.nodes + 1)]
    clocks = {name: SkewedClock(directory / f"clock-{name}") for name in names}
    config = directory / "nodes.toml"
    config.write_text(NODE_SETTINGS)
    plan = schedule(settings.kinds, names, settings.seconds, settings.seed)
    with LocalCluster(
        names=names,
        directory=directory,
        node_config=config,
        environments={name: clock.environment for name, clock in clocks.items()},
    ) as cluster:
        cluster.wait_connected()
        recorder = Recorder()
        began_s = monotonic()

        def tell(text: str) -> None:
            say(f"[{monotonic() - began_s:4.0f} s] {text}")

        with ExitStack() as stack:
            pulse = stack.enter_context(Pulse(cluster.endpoints, recorder))
            doors = stack.enter_context(Doors(cluster.endpoints))
            stack.enter_context(Clients(settings, doors.endpoints, recorder))
            hands = stack.enter_context(Hands(cluster, clocks, doors, recorder, plan, tell))
            _wait(settings.seconds, recorder, tell)
        make_whole(cluster, recorder)
        tell("All is healed; the nodes have to come to the same.")
        finals, converged_s = conclude(cluster, recorder)
    history = recorder.history()
    history.finals = finals
    planned = {planned.kind for planned in plan}
    idle = [
        kind for kind in sorted(planned) if hands.times[kind] >= IN_VAIN and not hands.hits[kind]
    ]
    problems = [
        *recorder.problems,
        *(f"{kind}: done {hands.times[kind]} times and never met anything" for kind in idle),
    ]
    return Ran(history, pulse.beats, problems, hands.times, hands.hits, converged_s)


def _wait(seconds: float, recorder: Recorder, tell: Callable[[str], None]) -> None:
    """Let it all happen, and say now and then how it goes."""
    until_s = monotonic() + seconds
    pause = threading.Event()
    while (left_s := until_s - monotonic()) > 0:
        pause.wait(min(PROGRESS_S, left_s))
        counts = recorder.outcomes
        tell(f"calls: {counts['ok']:,} ok, {counts['refused']:,} refused, {counts['unknown']:,} ?")


class Clients:
    """Threads that each do one step of some workload after the other. A context manager."""

    def __init__(self, settings: Settings, endpoints: dict[str, str], recorder: Recorder) -> None:
        self._recorder = recorder
        self._workloads: Sequence[str] = settings.workloads
        self._board = Board()
        self._over = threading.Event()
        self._threads = [
            threading.Thread(
                target=self._live,
                args=(
                    Session(
                        number, endpoints, recorder, Random(f"{settings.seed} client {number}")
                    ),
                ),
                name=f"client {number}",
                daemon=True,
            )
            for number in range(settings.clients)
        ]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _live(self, session: Session) -> None:
        chance = session.chance
        try:
            while not self._over.wait(chance.expovariate(1 / PAUSE_S)):
                WORKLOADS[chance.choice(self._workloads)](session, self._board)
        except Exception:  # a bug of ours, or of the client library: the run has to tell
            self._recorder.complain(f"client {session.number} stopped: {format_exc()}")
        finally:
            session.close()
