"""kill -9 under load: no acknowledged write is lost, none is doubled (P2, P5).

A few rounds of ``python -m tests.durability.kill``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from kvnode import Client

from .kill import Tally, Writer, rounds_of_kills


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("nodes", "rounds", "large"), [(1, 12, False), (3, 8, False), (1, 6, True)]
)
def test_rounds_of_kill_9_under_load_lose_and_double_nothing(
    tmp_path: Path, nodes: int, rounds: int, *, large: bool
) -> None:
    tally = rounds_of_kills(nodes, rounds, tmp_path, seed=nodes, large=large)
    assert not tally.problems, str(tally)
    assert tally.rounds == rounds
    assert tally.acknowledged > 10 * rounds
    assert tally.happened + tally.vanished, "no kill hit a write on its way"


def test_what_is_lost_doubled_torn_or_unexpected_is_counted() -> None:
    """The canary: acknowledged 0 to 3, unknown 4, refused 5."""
    with Client("127.0.0.1:9") as client:
        writer = Writer("w", client, [0, 1, 2, 3], [4], [5])
        for present, count, lost, unexpected, miscounted in (
            ({0, 1, 2, 3}, 4, 0, 0, 0),
            ({0, 1, 2, 3, 4}, 5, 0, 0, 0),
            ({0, 1, 3}, 4, 1, 0, 0),
            ({0, 1, 2, 3}, 5, 0, 0, 1),
            ({0, 1, 2, 3, 4}, 4, 0, 0, 1),
            ({0, 1, 2, 3, 5}, 4, 0, 1, 0),
        ):
            tally = Tally()
            writer.judge(present, {0, 1, 2, 3}, {5}, count, tally)
            found = len(tally.lost), len(tally.unexpected), len(tally.miscounted)
            assert found == (lost, unexpected, miscounted), present
