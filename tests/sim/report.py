"""What a run of many seeds amounts to: failures, and how often each fault and path really happened.

A fault that never happened tested nothing, and a recovery path that was never taken is not known to
work. So a run that is long enough to expect them fails if one of them is at zero. What random plans
do not bring about often, directed schedules do: they are a part of the run, and their counts too.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from tests.checkers.history import Finding
from tests.sim.schedule import kinds

SEEDS_ENOUGH = 400
"""So many seeds take every path, by a wide margin."""

EXPECTED = (
    *(f"fault: {kind}" for kind in kinds()),
    "fault: call broken by a cut",
    "fault: answer lost on its last hop",
    "fault: message kept by a silent cut",
    "fault: late after a silent cut",
    "fault: given up",
    "fault: message lost, connection broken",
    "fault: push message repeated",
    "fault: bit flipped in a block on its way",
    "client: retries",
    "client: unknown",
    "refused: CLOCK_OFF",
    "refused: DISK_FULL",
    "refused: TYPE_CONFLICT",
    "refused: JOINING",
    "refused: STOPPING",
    "client: session given up",
    "refused: BEHIND",
    "client: done, and not yet where it was to be",
    "refused: QUEUE_FULL",
    "pipeline ended: OK",
    "path: program told that the node stops",
    "pipeline ended: connection refused",
    "pipeline ended: connection reset by peer",
    "pipeline ended: no route to host",
    "path: written in columns",
    "path: values read beside states",
    "path: written at the program's next node",
    "path: several requests in one block",
    "path: retry recognised",
    "path: block came again",
    "path: block held for others before it",
    "path: hold buffer full",
    "path: blocks pulled",
    "path: log replayed at start",
    "path: on disk, and nobody was told",
    "path: ended with a round on its way to disk",
    "path: checkpoint written",
    "path: checkpoint put off",
    "path: garbage collected",
    "path: register lost and journalled",
    "path: log cut",
    "path: log cut over a member's head",
    "path: log cut put off",
    "path: sent to a snapshot",
    "path: push stream opened",
    "path: serving now",
    "path: watch resumed",
    "path: watch moved on",
    "watch ended: broken",
    "watch ended: WATCH_BEHIND",
    "path: snapshot made",
    "path: snapshot begun",
    "path: snapshot merged",
    "path: snapshot interrupted",
    "path: block quarantined",
    "path: quarantine settled",
    "path: identity lost",
    "path: began anew under a new identity",
    "path: directory set aside",
    "path: join done",
    "path: replace done",
    "path: forget done",
    "path: forgotten now",
    "path: joining now",
    "path: leave done",
    "path: node stopped by itself",
)

EXPECTED_OF_DIRECTED = (
    "path: snapshot resumed",
    "path: snapshot given up",
    "path: copied directory found out when opened",
    "path: copy of a running node turned away",
    "path: fork found",
    "path: writes issued again",
    "path: block of a forgotten member refused",
    "path: roster put off",
    "path: node displaced",
)
"""Each of these has a schedule that is about it, and fails without it (``directed.py``)."""

UNREACHED = {
    "path: malformed block refused": "no fault makes a well-sealed block with a senseless "
    "operation; a node with a bug would",
    "path: own writes met that are unknown here": "a report has told of them before, in "
    "every schedule so far",
    "path: own origin fenced": "a report has told of the other history before, too",
}
"""Why nothing here leads to them: second lines of defence. They have tests of their own."""


@dataclass(slots=True)
class Failure:
    """A seed that found something."""

    seed: int
    findings: list[Finding]
    command: str

    def __str__(self) -> str:
        lines = [f"seed {self.seed}: {each.checker}: {each.text}" for each in self.findings[:5]]
        if len(self.findings) > 5:
            lines.append(f"seed {self.seed}: and {len(self.findings) - 5} more")
        return "\n".join([*lines, f"replay: {self.command}"])


@dataclass(slots=True)
class Tally:
    """Of many runs."""

    seeds: int = 0
    operations: int = 0
    cpu_s: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    directed: bool = False
    """Whether the directed schedules were played too."""

    def add_directed(self, counts: Counter[str]) -> None:
        """What happened in the directed schedules happened in the run."""
        self.directed = True
        self.counts.update(counts)

    def add(self, other: Tally) -> None:
        """Take in what another worker has done."""
        self.seeds += other.seeds
        self.operations += other.operations
        self.cpu_s += other.cpu_s
        self.counts.update(other.counts)
        self.failures += other.failures

    def never(self) -> list[str]:
        """What was expected and did not happen, if there were enough seeds to expect it."""
        if self.seeds < SEEDS_ENOUGH:
            return []
        return [what for what in self.expected() if not self.counts[what]]

    def expected(self) -> tuple[str, ...]:
        """What should happen in a long run of this kind."""
        return EXPECTED + EXPECTED_OF_DIRECTED if self.directed else EXPECTED

    def table(self) -> str:
        """For people."""
        rows = sorted({*self.counts, *self.expected()})
        lines = [f"{self.counts[what]:>12,}  {what}" for what in rows]
        return "\n".join(lines)
