"""Whether the nodes hold what was written: read back through the client, compared with the CSV."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from cluster import operations as key
from cluster.flights import Totals
from cluster.notes import Note, wrong_survivors
from cluster.vectors import Vector, joined, lacking
from kvnode import Client, KeyState, Put, StoredValue

POLL_S: Final = 0.01
RESOLVE_BATCH: Final = 500

Clients = Mapping[str, Client]


class NotConverged(Exception):
    """The nodes still differ after the deadline."""


def vector_at(client: Client) -> Vector:
    """What the node has applied."""
    return {entry.origin: entry.seq for entry in client.admin.status().vector}


def own_seq(client: Client) -> int:
    """How many operations the node itself has accepted."""
    status = client.admin.status()
    return next((entry.seq for entry in status.vector if entry.origin == status.origin), 0)


def wait_converged(clients: Clients, written: Mapping[int, int], *, timeout_s: float) -> Vector:
    """The version vector that all nodes have, once they have the same and all that was written."""
    deadline_s = monotonic() + timeout_s
    pause = threading.Event()
    while True:
        vectors = {name: vector_at(client) for name, client in clients.items()}
        first, *others = vectors.values()
        if all(vector == first for vector in others) and not lacking(first, written):
            return first
        if monotonic() > deadline_s:
            known = joined(vectors.values())
            behind = ", ".join(f"{name} {lacking(v, known):,}" for name, v in vectors.items())
            raise NotConverged(
                f"the nodes still differ after {timeout_s:.0f} s; operations they lack: {behind}"
            )
        pause.wait(POLL_S)


@dataclass(slots=True)
class Held:
    """Everything one node shows, by key."""

    counters: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Key -> ("G" or "PN", sum)."""
    registers: dict[str, StoredValue] = field(default_factory=dict)
    notes: dict[str, tuple[StoredValue, ...]] = field(default_factory=dict)
    strange: list[str] = field(default_factory=list)
    """Keys of several types: the replay writes each key as one type everywhere."""

    def conflicts(self) -> set[str]:
        """The keys that show more than one value."""
        several = {name for name, siblings in self.notes.items() if len(siblings) > 1}
        return several | set(self.strange)

    def __len__(self) -> int:
        return len(self.counters) + len(self.registers) + len(self.notes)


def read_node(client: Client) -> Held:
    """All visible keys of a node."""
    held = Held()
    for state in client.scan():
        _sort_in(held, state)
    return held


def _sort_in(held: Held, state: KeyState) -> None:
    name = state.key.decode()
    match (state.g_counter, state.pn_counter, state.register, state.siblings):
        case (int(count), None, None, ()):
            held.counters[name] = "G", count
        case (None, int(count), None, ()):
            held.counters[name] = "PN", count
        case (None, None, StoredValue() as register, ()):
            held.registers[name] = register
        case (None, None, None, tuple(siblings)):
            held.notes[name] = siblings
        case _:
            held.strange.append(name)


def expected_counters(totals: Totals) -> dict[str, tuple[str, int]]:
    """Key -> type and sum, as the CSV says."""
    return {
        prefix + name: (kind, count)
        for prefix, kind, counts in (
            (key.FLIGHTS_BY_CARRIER, "G", totals.flights_by_carrier),
            (key.FLIGHTS_BY_DESTINATION, "G", totals.flights_by_destination),
            (key.DELAY_BY_CARRIER, "PN", totals.delay_by_carrier),
            (key.DELAY_BY_AIRCRAFT, "PN", totals.delay_by_aircraft),
        )
        for name, count in counts.items()
    }


def differences(held: Held, totals: Totals, written: Mapping[str, Sequence[Note]]) -> Iterator[str]:
    """What one node holds otherwise than the CSV and the receipts say, a line per key."""
    for name in held.strange:
        yield f"{name} has several types"
    expected = expected_counters(totals)
    for name in sorted(expected.keys() | held.counters.keys()):
        if held.counters.get(name) != expected.get(name):
            yield f"{name}: expected {expected.get(name)}, found {held.counters.get(name)}"
    movements = {key.MOVEMENT + aircraft: last for aircraft, last in totals.movements.items()}
    for name in sorted(movements.keys() | held.registers.keys()):
        register = held.registers.get(name)
        possible = {last.encode() for last in movements.get(name, {}).values()}
        if register is None or register.value not in possible:
            yield f"{name}: expected one of {sorted(possible)}, found {register}"
    yield from _note_differences(held, totals, written)


def _note_differences(
    held: Held, totals: Totals, written: Mapping[str, Sequence[Note]]
) -> Iterator[str]:
    expected = {
        key.NOTE + day: sorted(note.encode() for notes in airports.values() for note in notes)
        for day, airports in totals.notes.items()
    }
    for name in sorted(expected.keys() | held.notes.keys() | written.keys()):
        acknowledged = written.get(name, [])
        if sorted(note.value for note in acknowledged) != expected.get(name):
            yield f"{name}: {len(acknowledged)} notes acknowledged, not those of the flights"
        found = {(s.dot.origin, s.dot.seq): s.value for s in held.notes.get(name, ())}
        for problem in wrong_survivors(acknowledged, found):
            yield f"{name}: {problem}"


def disagreements(nodes: Mapping[str, Held]) -> Iterator[str]:
    """Where nodes hold different things, a line per key and node."""
    (first_name, first), *others = nodes.items()
    for name, held in others:
        for mine, theirs in (
            (first.counters, held.counters),
            (first.registers, held.registers),
            (first.notes, held.notes),
        ):
            for entry in sorted(mine.keys() | theirs.keys()):
                if mine.get(entry) != theirs.get(entry):
                    yield f"{entry} at {first_name} is not {entry} at {name}"


def conflicts_at(client: Client) -> dict[str, KeyState]:
    """The keys in conflict, as the node lists them."""
    return {state.key.decode(): state for state in client.conflicts()}


def merged(state: KeyState) -> bytes:
    """One note that says what all of them say, in the order they were written."""
    return b"; ".join(sibling.value for sibling in state.siblings)


def resolve(client: Client, conflicts: Mapping[str, KeyState]) -> Vector:
    """Replace exactly the siblings that were read, through one node; its session afterwards."""
    puts = [Put(state.key, merged(state), context=state.context) for state in conflicts.values()]
    session: Vector = {}
    for start in range(0, len(puts), RESOLVE_BATCH):
        session = dict(client.write(puts[start : start + RESOLVE_BATCH]).session)
    return session


def unresolved(clients: Clients, conflicts: Mapping[str, KeyState]) -> Iterator[str]:
    """What is not settled, a line per key and node."""
    for name, client in clients.items():
        for left in conflicts_at(client):
            yield f"{left} is still in conflict at {name}"
        keys = [state.key for state in conflicts.values()]
        for start in range(0, len(keys), RESOLVE_BATCH):
            for state in client.batch_get(keys[start : start + RESOLVE_BATCH]):
                expected = merged(conflicts[state.key.decode()])
                if [sibling.value for sibling in state.siblings] != [expected]:
                    yield f"{state.key.decode()} at {name} is not the merged note"
