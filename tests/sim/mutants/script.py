"""A plan that is written by hand, with some chance in it: what ``schedules.py`` is written in."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, Literal

from tests.checkers.history import Type
from tests.sim.plan import Ask, Change, Plan, Step
from tests.sim.schedule import draw

Mode = Literal["observed", "blind", "context"]
ORDINARY = {
    "checkpoint_interval_ms": 60_000,
    "checkpoint_keys": 100_000,
    "log_retention_s": 3_600,
    "log_retention_bytes": 1 << 20,
    "log_bytes_max": 1 << 30,
    "snapshot_instead_of_log_ops": 100_000,
    "hold_bytes_max": 16 << 20,
    "push_buffer_bytes": 16 << 20,
    "push_message_bytes": 1 << 20,
    "push_messages_max": 4,
    "pull_bytes": 16 << 20,
    "journal_rows_max": 10_000,
    "requests_remembered": 100_000,
    "compare_interval_ms": 60_000,
}


class Script:
    """A plan being written; times in ms."""

    def __init__(self, seed: int, nodes: int = 3, **settings: int) -> None:
        self.seed = seed
        self.chance = Random(f"script/{seed}")
        self.nodes = tuple(f"n{number}" for number in range(1, nodes + 1))
        self._settings = draw(seed, operations=1).settings | ORDINARY | settings
        self._steps: list[Step] = []
        self._asked = 0

    def step(self, at_ms: int, kind: str, *nodes: str, **more: Any) -> None:
        """Something that happens to hosts."""
        self._steps.append(Step(at_ms, kind, nodes, **more))

    def ask(self, at_ms: int, client: int, node: str, *changes: Change, **more: Any) -> None:
        """A write."""
        self._asked += 1
        ask = Ask(self._asked, client, node, changes, **more)
        self._steps.append(Step(at_ms, "ask", ask=ask))

    def read(self, at_ms: int, client: int, node: str, *keys: str) -> None:
        """A read."""
        self._asked += 1
        ask = Ask(self._asked, client, node, keys=tuple(key.encode() for key in keys))
        self._steps.append(Step(at_ms, "ask", ask=ask))

    def put(self, key: str, kind: Type = "SIBLINGS", mode: Mode = "observed") -> Change:
        """A put of a value that nobody else writes."""
        value = f"{key}.{self._asked}.{self.chance.randrange(1 << 30)}"
        return Change("put", key.encode(), kind, value.encode(), mode=mode)

    def busy(
        self,
        nodes: Sequence[str],
        kinds: Sequence[Type],
        *,
        from_ms: int,
        to_ms: int,
        every_ms: int,
        keys: int = 2,
        deletes: float = 0.25,
        reads: float = 0.2,
        together: int = 1,
        retries: int = 0,
    ) -> None:
        """Clients at work: at each moment so many of them at one node."""
        chance = self.chance
        for at_ms in range(from_ms, to_ms, every_ms):
            node = chance.choice(nodes)
            for client in chance.sample(range(8), together):
                kind = chance.choice(kinds)
                key = f"{kind[0].lower()}{chance.randrange(keys)}"
                if chance.random() < reads:
                    self.read(at_ms, client, node, key)
                    continue
                change = self.change(key, kind, deletes)
                self.ask(at_ms, client, node, change, retries=retries, timeout_s=1.5)

    def change(self, key: str, kind: Type, deletes: float) -> Change:
        """A write of any sort."""
        chance = self.chance
        mode: Mode = chance.choice(("observed", "context"))
        if chance.random() < deletes:
            return Change("delete", key.encode(), kind, mode=mode)
        if kind in ("GCOUNTER", "PNCOUNTER"):
            return Change("increment", key.encode(), kind, amount=chance.randint(1, 9))
        return self.put(key, kind, "observed" if kind == "LWW" else mode)

    def plan(self, lasts_ms: int) -> Plan:
        """What it came to."""
        steps = sorted(self._steps, key=lambda step: step.at_ms)
        return Plan(self.seed, self.nodes, self._settings, "lmdb", tuple(steps), lasts_ms)
