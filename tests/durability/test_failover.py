"""A node dies under load: its clients go on, and nothing is lost or doubled (P2, P5).

A few rounds of ``python -m tests.durability.failover``, without a word about time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kvnode import KeyState
from kvnode.client.values import Value
from tests.durability.callers import Caller, Tally
from tests.durability.failover import rounds_of_kills


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_clients_go_on_when_their_node_is_killed(tmp_path: Path) -> None:
    tally = rounds_of_kills(4, tmp_path)
    assert not tally.problems, str(tally)
    assert tally.rounds == 4
    assert sum(map(len, tally.back_s.values())) >= 4, "no kill hit a client's node"
    assert tally.held_s or tally.raised, "no kill met a write on its way"


def test_what_is_lost_doubled_unexpected_or_undocumented_is_counted() -> None:
    """The canary: acknowledged 0 and 1, unknown 2, refused 3."""
    for present, count, broken in (
        ({0, 1}, 2, ""),
        ({0, 1, 2}, 3, ""),
        ({0}, 1, "lost"),
        ({0, 1, 3}, 3, "unexpected"),
        ({0, 1}, 3, "miscounted"),
        ({0, 1, 2}, 2, "miscounted"),
    ):
        caller = Caller("w", 0.0, acknowledged={0, 1}, unknown={2}, refused={3})
        states = {caller.key(number).encode(): value() for number in present}
        states[b"w/count"] = value(pn_counter=count)
        tally = Tally()
        caller.judge(states, tally)
        found = {
            name for name in ("lost", "unexpected", "miscounted", "strange") if getattr(tally, name)
        }
        assert found == ({broken} if broken else set()), (present, count)
    caller = Caller("w", 0.0)
    caller.failed(0, RuntimeError("what nobody told of"))
    tally = Tally()
    caller.judge({}, tally)
    assert tally.problems == 1


def value(**fields: Any) -> KeyState:
    """A key with something in it."""
    parts = {"g_counter": None, "pn_counter": None, "register": None, "siblings": (), **fields}
    return Value(key=b"", context=b"", freshness=(), value=b"", **parts)
