"""Schedules for what chance does not find.

Each is a plan written by hand, for one trap or for one path of recovery, with steps that random
plans do not bring together in time. They run as all others do, under the same checks and checkers;
those for a path fail if it is not taken. Those for a trap are known to notice it:
``tests/sim/test_directed.py`` breaks the production code accordingly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from tests.checkers.history import Finding, Type
from tests.sim.plan import Ask, Change, Plan, Step
from tests.sim.schedule import WHOLE_LOG, draw
from tests.sim.world import Result, play

AHEAD_MS = 8_000
"""Of a clock that is fast and still within the bound for register writes."""


@dataclass(frozen=True, slots=True)
class Directed:
    """One of them."""

    name: str
    plan: Plan
    expect: Callable[[Result], str] = lambda _: ""
    """What else was not as it should be; empty if all was."""


class Script:
    """A plan being written: time goes on by itself, in ms."""

    def __init__(self, *nodes: str, **settings: int) -> None:
        self._nodes = nodes
        self._settings = {**draw(0).settings, **QUIET, **settings}
        self._steps: list[Step] = []
        self._asked = 0
        self.now_ms = 0
        self.chunk_bytes = 1 << 20

    def wait(self, ms: int) -> Script:
        """Let time pass."""
        self.now_ms += ms
        return self

    def step(self, kind: str, *nodes: str, **more: Any) -> Script:
        """Something happens now; the next thing does 10 ms later."""
        self._steps.append(Step(self.now_ms, kind, nodes, **more))
        return self.wait(10)

    def write(self, node: str, *changes: Change) -> Script:
        """A client of that node writes; each node has a client of its own."""
        return self._ask(node, changes=changes)

    def read(self, node: str, *keys: bytes) -> Script:
        """It reads."""
        return self._ask(node, keys=keys)

    def _ask(self, node: str, **what: Any) -> Script:
        self._asked += 1
        ask = Ask(self._asked, self._client(node), node, **what)
        return self.step("ask", ask=ask)

    def _client(self, node: str) -> int:
        return sum(node.encode())

    def put(self, node: str, key: bytes, kind: Type = "LWW", mode: Any = "observed") -> Script:
        """A client of that node puts a new value."""
        value = f"w{self._asked + 1}".encode()
        return self.write(node, Change("put", key, kind, value, mode=mode))

    def add(self, node: str, key: bytes, amount: int = 1) -> Script:
        """It increments."""
        return self.write(node, Change("increment", key, "PNCOUNTER", amount=amount))

    def delete(self, node: str, key: bytes, kind: Type) -> Script:
        """It deletes what the node holds."""
        return self.write(node, Change("delete", key, kind))

    def plan(self) -> Plan:
        """What is written."""
        steps = tuple(sorted(self._steps, key=lambda step: step.at_ms))
        return Plan(0, self._nodes, self._settings, "lmdb", steps, self.now_ms, self.chunk_bytes)


QUIET = {
    **WHOLE_LOG,
    "heartbeat_interval_ms": 200,
    "anti_entropy_interval_ms": 200,
    "relay_interval_ms": 400,
    "compare_interval_ms": 60_000,
    "checkpoint_interval_ms": 60_000,
    "checkpoint_keys": 100_000,
    "retention_interval_ms": 300,
    "hold_bytes_max": 16 << 20,
    "push_buffer_bytes": 16 << 20,
    "push_message_bytes": 1 << 20,
    "push_messages_max": 4,
    "pull_bytes": 16 << 20,
    "journal_rows_max": 10_000,
    "requests_remembered": 100_000,
}
SHORT_LOG = {"log_retention_s": 1, "log_retention_bytes": 1, "log_bytes_max": 1 << 30}


def clock_in_checkpoint() -> Directed:
    """A fast node's register is seen, checkpointed, its block leaves the log, and its value is
    deleted and collected: after a restart only the checkpoint knows how late it is.
    """
    script = Script("n1", "n2", **SHORT_LOG)
    script.step("clock step", "n1", amount=AHEAD_MS)
    script.put("n1", b"k").wait(600).put("n1", b"other").wait(600)
    script.read("n2", b"k").wait(200)
    script.step("checkpoint", "n2").wait(2_500).step("checkpoint", "n2").wait(600)
    script.step("kill", "n2", lasts_ms=100).wait(600)
    script.step("cut", "n2", lasts_ms=1_000).wait(100)
    script.read("n2", b"k").wait(50).put("n2", b"k").wait(50).read("n2", b"k").wait(2_000)
    return Directed("a clock that only the checkpoint remembers", script.plan(), _took("log cut"))


def clock_in_snapshot() -> Directed:
    """A newcomer gets a snapshot of a register that a fast node has written, and overwrites it."""
    script = Script("n1", "n2", **SHORT_LOG)
    script.step("clock step", "n1", amount=AHEAD_MS)
    for _ in range(3):
        script.put("n1", b"k").wait(200)
    script.step("checkpoint", "n1").step("checkpoint", "n2").wait(1_500)
    for node in ("n1", "n2"):  # what they still have in memory they would push
        script.step("kill", node, lasts_ms=100).wait(1_000)
    script.step("join", "x1", "n2").wait(4_000)
    script.read("x1", b"k").wait(50).put("x1", b"k").wait(50).read("x1", b"k").wait(1_500)
    return Directed("a clock that only a snapshot brings", script.plan(), _took("snapshot merged"))


def newcomer_collects() -> Directed:
    """A newcomer that a member cannot reach hears from another one that this member has seen a
    delete, before it gets what the member had written without having seen it: the counter's slot
    is not to be collected yet.
    """
    slow_pulls = {"anti_entropy_interval_ms": 1_500, "relay_interval_ms": 200}
    script = Script("n1", "n2", checkpoint_interval_ms=200, **slow_pulls)
    script.add("n1", b"c", 5).wait(800)
    script.step("cut pair", "n1", "x1", lasts_ms=9_000).step("join", "x1", "n2").wait(3_000)
    script.step("cut pair", "n1", "n2", lasts_ms=1_500).wait(100)
    script.delete("n2", b"c", "PNCOUNTER").add("n1", b"c", 7).wait(5_000)
    for node in ("n1", "n2", "x1"):
        script.read(node, b"c")
    return Directed("a newcomer and what is collected", script.wait(1_500).plan())


def report_before_sync() -> Directed:
    """A node with a slow disk dies while what it has received is not on it. Had it reported that,
    it would come back with less than it had said, and be taken for an old copy.
    """
    script = Script("n1", "n2", "n3")
    script.step("slow disk", "n2", lasts_ms=3_000, amount=1.2).wait(50)
    for _ in range(8):
        script.put("n1", b"k").add("n1", b"c").wait(90)
    script.step("kill", "n2", lasts_ms=200).wait(1_500).add("n2", b"c").wait(500)

    def kept_its_name(result: Result) -> str:
        return "n2 was taken for a copy" if result.counts["path: identity lost"] else ""

    return Directed("a report before its sync", script.plan(), kept_its_name)


def naive_new_identity() -> Directed:
    """An old copy is put back below the file system, while its node's last writes are known to one
    member only: they come back, under no number that was used before.
    """
    script = Script("n1", "n2", "n3")
    script.add("n1", b"c", 1).wait(500).step("copy", "n1").wait(50)
    script.step("cut pair", "n1", "n3", lasts_ms=2_500).step("cut pair", "n2", "n3", lasts_ms=2_500)
    script.add("n1", b"c", 10).put("n1", b"s", "SIBLINGS").wait(500)
    script.step("restore", "n1", flag=True, lasts_ms=50).wait(100)
    script.add("n1", b"c", 100).wait(100).add("n1", b"c", 1_000).wait(3_500)
    script.add("n1", b"c", 10_000).read("n1", b"c", b"s").wait(3_000)
    return Directed("an old copy and its next writes", script.plan(), _took("identity lost"))


def two_forgets() -> Directed:
    """Two members are forgotten at two ends of a cut, each with writes only that end has."""
    script = Script("n1", "n2", "n3", "n4", "n5")
    script.add("n4", b"c", 1).add("n5", b"c", 2).wait(500)
    for one in ("n1", "n4"):
        for other in ("n2", "n3", "n5"):
            script.step("cut pair", one, other, lasts_ms=3_000)
    script.add("n4", b"c", 10).add("n5", b"c", 20).wait(500)
    script.delete("n1", b"c", "PNCOUNTER").delete("n2", b"c", "PNCOUNTER").wait(300)
    script.step("forget", "n4", "n1").step("forget", "n5", "n2").wait(4_500)
    script.add("n3", b"c", 100).wait(500)
    for node in ("n1", "n2", "n3"):
        script.read(node, b"c")
    return Directed("two forgets at once", script.wait(500).plan(), _took("forget done", 2))


def late_baseline() -> Directed:
    """A counter is deleted at two ends of a cut while its origin, cut off too, counts on in the
    same slot: neither the late total nor the late baseline may find the slot collected.
    """
    script = Script("n1", "n2", "n3", "n4", checkpoint_interval_ms=200)
    for turn in range(3):
        script.add("n1", b"c", 1).add("n2", b"c", 2).wait(700)
        script.step("cut", "n1", lasts_ms=1_600).step("cut", "n3", lasts_ms=1_600)
        script.delete("n2", b"c", "PNCOUNTER").delete("n3", b"c", "PNCOUNTER")
        script.add("n1", b"c", 4 + turn).wait(1_500)
        script.read("n4", b"c").wait(1_500)
        for node in ("n1", "n2", "n3", "n4"):
            script.read(node, b"c")
    script.delete("n1", b"c", "PNCOUNTER").wait(3_000)
    return Directed("a late baseline", script.plan(), _took("garbage collected"))


def forked() -> Directed:
    """An old copy is put back below the file system where only a member knows better that cannot be
    reached: numbers are used twice, and which history stays is decided when all meet again.
    """
    script = Script("n1", "n2", "n3")
    script.add("n1", b"c", 1).wait(500).step("copy", "n1").wait(50)
    script.step("cut pair", "n1", "n2", lasts_ms=700).step("cut pair", "n2", "n3", lasts_ms=3_500)
    script.add("n1", b"c", 10).put("n1", b"s", "SIBLINGS").wait(500)
    script.step("cut pair", "n1", "n3", lasts_ms=2_500)
    script.step("restore", "n1", flag=True, lasts_ms=50).wait(500)
    for number in range(4):
        script.add("n1", b"c", 100).put("n1", b"t%d" % number, "SIBLINGS").wait(100)
    script.wait(4_000).add("n1", b"c", 10_000)
    for node in ("n1", "n2", "n3"):
        script.read(node, b"c", b"s")
    return Directed("two histories of one node", script.wait(2_000).plan(), _took("fork found"))


def put_back_in_sight() -> Directed:
    """A backup is put back, and the directory tells: the node comes back as another at once."""
    script = Script("n1", "n2", "n3")
    script.add("n1", b"c", 1).wait(500).step("copy", "n1").wait(50)
    script.add("n1", b"c", 10).put("n1", b"s", "SIBLINGS").wait(500)
    script.step("restore", "n1", lasts_ms=50).wait(3_000)
    script.add("n1", b"c", 100).wait(500)
    for node in ("n1", "n2", "n3"):
        script.read(node, b"c", b"s")
    path = "copied directory found out when opened"
    return Directed("a backup that is put back", script.wait(500).plan(), _took(path))


def cloned() -> Directed:
    """A copy of a directory is started while its node runs: it ends, and the node never notices."""
    script = Script("n1", "n2", "n3")
    script.add("n1", b"c", 1).wait(500).step("copy", "n1").add("n1", b"c", 10).wait(300)
    script.step("clone", "n1", lasts_ms=14_000)
    for _ in range(12):
        script.add("n1", b"c", 100).add("n2", b"c", 1_000).wait(1_000)
    for node in ("n1", "n2", "n3"):
        script.read(node, b"c")
    path = "copy of a running node turned away"
    return Directed("a copy of a running node", script.wait(2_000).plan(), _took(path))


def snapshot_in_pieces() -> Directed:
    """A newcomer gets a snapshot over links that break and break again, and goes on with it."""
    script = _before_a_snapshot(keys=60, snapshot_bytes_per_s=2_000)
    script.step("join", "x1", "n2").wait(800)
    for _ in range(6):
        for node in ("n1", "n2"):
            script.step("cut pair", node, "x1", lasts_ms=300)
        script.wait(900)
    script.wait(5_000).read("x1", b"k0", b"k59").wait(1_000)
    return Directed("a snapshot in pieces", script.plan(), _took("snapshot resumed"))


def snapshot_without_room() -> Directed:
    """A newcomer's disk is full while the snapshot comes."""
    script = _before_a_snapshot(keys=60)
    script.step("join", "x1", "n2").wait(40)
    for _ in range(20):
        script.step("disk full", "x1", lasts_ms=40).wait(70)
    script.wait(4_000).read("x1", b"k0", b"k59").wait(1_000)
    return Directed("a snapshot without room", script.plan(), _took("snapshot given up"))


def _before_a_snapshot(keys: int, **settings: int) -> Script:
    settings |= {"snapshot_instead_of_log_ops": 10, "pull_bytes": 2_000}
    script = Script("n1", "n2", **SHORT_LOG, **settings)
    script.chunk_bytes = 150
    for number in range(keys):
        script.put("n1", b"k%d" % number)
    script.wait(300).step("checkpoint", "n1").step("checkpoint", "n2").wait(1_500)
    for node in ("n1", "n2"):  # what they still have in memory they would push
        script.step("kill", node, lasts_ms=100).wait(1_000)
    return script


def roster_without_room() -> Directed:
    """A member has no room for the roster when a newcomer is taken in."""
    script = Script("n1", "n2", "n3")
    script.add("n1", b"c", 1).wait(300)
    script.step("disk full", "n2", lasts_ms=2_500).step("join", "x1", "n1").wait(4_000)
    script.add("x1", b"c", 10).wait(1_000)
    return Directed("a roster without room", script.plan(), _took("roster put off"))


def wiped_founder() -> Directed:
    """A founder loses its disk and is started as if it founded a cluster: it finds itself displaced
    and waits until somebody says that it takes its own old place.
    """
    script = Script("n1", "n2", "n3")
    script.add("n1", b"c", 1).add("n2", b"c", 10).wait(1_000)
    script.step("wipe", "n1", "n2", lasts_ms=100, flag=True).wait(5_000)
    script.add("n1", b"c", 100).wait(1_000)
    return Directed("a founder without its disk", script.plan(), _took("node displaced"))


def late_from_the_dead() -> Directed:
    """A member is forgotten while what it wrote last waits for a slow disk at the only other one
    that got it: what is applied after that one has acknowledged the forget is refused.
    """
    script = Script("n1", "n2", "n3")
    script.add("n1", b"c", 1).wait(500)
    script.step("cut pair", "n1", "n3", lasts_ms=9_000)
    script.step("slow disk", "n2", lasts_ms=6_000, amount=0.6)
    for number in range(60):
        script.add("n1", b"c", 1).wait(30)
        if number == 40:
            script.step("forget", "n1", "n3", flag=True)
    return Directed(
        "late from the dead",
        script.wait(8_000).plan(),
        _took("block of a forgotten member refused"),
    )


def _took(path: str, times: int = 1) -> Callable[[Result], str]:
    """It is about this path, which has to be taken."""

    def expect(result: Result) -> str:
        taken = result.counts[f"path: {path}"]
        return "" if taken >= times else f"{path} happened {taken} times, not {times}"

    return expect


DIRECTED: tuple[Callable[[], Directed], ...] = (
    clock_in_checkpoint,
    clock_in_snapshot,
    newcomer_collects,
    report_before_sync,
    naive_new_identity,
    two_forgets,
    late_baseline,
    forked,
    put_back_in_sight,
    cloned,
    snapshot_in_pieces,
    snapshot_without_room,
    roster_without_room,
    wiped_founder,
    late_from_the_dead,
)


def run_one(directed: Directed, *, seed: int = 0, traced: bool = False) -> Result:
    """Play it; a seed other than 0 varies every moment and delay a little."""
    result = play(replace(directed.plan, seed=seed), traced=traced)
    problem = directed.expect(result)
    if problem:
        result.findings.append(Finding("directed", problem))
    return result


def run_directed() -> Iterator[tuple[str, Result]]:
    """Name and result of each."""
    for make in DIRECTED:
        directed = make()
        yield directed.name, run_one(directed)
