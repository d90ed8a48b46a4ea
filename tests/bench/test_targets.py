"""The table at the end says what was found and nothing else."""

from __future__ import annotations

import json

import pytest

from bench.figures import Figures, circumstances, dumped
from bench.report import percentile
from bench.targets import DEEPER, TARGETS, Target, as_objects, rows_of, table

FASTER = Target("writes", ("w", "kvnode"), 2.0, at_least=True, peer=(("w", "redis"),), called="it")
SLOWER = Target("latency", ("l", "kvnode"), 1.25, peer=(("e", "grpcio"), ("f", "bare")))
FIXED = Target("memory", ("m", "kvnode"), 150)


def found(**values: float) -> Figures:
    """By the names above."""
    figures = Figures()
    for name, value in values.items():
        what, _, subject = name.partition("_")
        figures.add(what, subject, value, "units")
    return figures


def test_a_ratio_is_kvnode_over_its_peer() -> None:
    (row,) = rows_of(found(w_kvnode=30.0, w_redis=10.0), [FASTER])
    assert (row.kvnode, row.peer, row.ratio, row.met) == (30.0, 10.0, 3.0, True)
    (row,) = rows_of(found(w_kvnode=10.0, w_redis=30.0), [FASTER])
    assert row.ratio == pytest.approx(1 / 3)
    assert row.met is False


def test_a_peer_of_two_parts_is_their_sum() -> None:
    (row,) = rows_of(found(l_kvnode=1.5, e_grpcio=0.9, f_bare=0.3), [SLOWER])
    assert row.peer == pytest.approx(1.2)
    assert row.ratio == pytest.approx(1.25)
    (row,) = rows_of(found(l_kvnode=1.5, e_grpcio=0.9), [SLOWER])
    assert (row.peer, row.ratio, row.met) == (None, None, None), "half a sum is no sum"


def test_without_a_peer_the_figure_itself_is_bounded() -> None:
    (row,) = rows_of(found(m_kvnode=150.0), [FIXED])
    assert (row.ratio, row.met) == (None, True)
    (row,) = rows_of(found(m_kvnode=150.1), [FIXED])
    assert row.met is False


def test_a_figure_is_the_median_of_its_repetitions() -> None:
    figures = Figures()
    for value in (1.0, 9.0, 2.0):
        figures.add("w", "kvnode", value, "units")
    assert figures.value("w", "kvnode") == 2.0
    assert figures.value("w", "redis") is None
    assert "2.00 units (1.00 .. 9.00)" in figures.text({"w"})


def test_what_was_not_measured_is_not_filled_in() -> None:
    figures = found(w_kvnode=5.0)
    figures.absent["redis"] = "redis-server is not installed"
    figures.failed["lag"] = "TimeoutError: too long"
    figures.untaken["growth of etcd"] = "OSError: no disk"
    rows = rows_of(figures, [FASTER, FIXED])
    text = table(rows, figures)
    assert "it [not measured]" in text
    assert "unknown" in text
    assert "not measured in this run: 1 of 2 rows" in text
    assert "absent: redis: redis-server is not installed" in text
    assert "failed: lag: TimeoutError: too long" in text
    assert "not taken: growth of etcd: OSError: no disk" in text
    assert "memory" not in text


def test_a_missed_target_is_called_so() -> None:
    figures = found(w_kvnode=15.0, w_redis=10.0)
    assert "missed" in table(rows_of(figures, [FASTER]), figures)
    figures = found(w_kvnode=20.0, w_redis=10.0)
    assert "missed" not in table(rows_of(figures, [FASTER]), figures)


def test_the_json_has_machine_commit_and_every_repetition() -> None:
    figures = found(w_kvnode=20.0, w_redis=10.0)
    figures.untaken["w of etcd"] = "TimeoutError: no answer"
    whole = json.loads(dumped(figures, circumstances(), as_objects(rows_of(figures, [FASTER]))))
    assert {"commit", "processor", "cores", "memory_gib", "python"} <= whole["circumstances"].keys()
    assert whole["figures"][0]["values"] == [20.0]
    assert whole["table"][0]["ratio"] == 2.0
    assert whole["table"][0]["met"] is True
    assert whole["untaken"] == {"w of etcd": "TimeoutError: no answer"}


@pytest.mark.parametrize(
    ("count", "percent", "wanted"),
    [(1, 50, 1), (1, 99, 1), (2, 50, 1), (100, 50, 50), (100, 99, 99), (100, 100, 100), (3, 99, 3)],
)
def test_a_percentile_is_the_least_value_that_so_many_do_not_exceed(
    count: int, percent: float, wanted: float
) -> None:
    assert percentile(list(range(count, 0, -1)), percent) == wanted


def test_a_tree_of_more_keys_may_cost_what_its_depth_says() -> None:
    """3 M keys lie half again as deep as 10 K do, about."""
    assert 1.6 < DEEPER < 1.65


def test_no_two_targets_are_the_same() -> None:
    assert len({(target.kvnode, target.peer) for target in TARGETS}) == len(TARGETS)
