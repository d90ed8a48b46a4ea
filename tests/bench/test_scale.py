"""The simulated cluster costs what it must, and agrees; the bench prints it."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from bench.scale import COMMITS, main, measure
from bench.simulated_cluster import SimulatedCluster


def test_without_loss_a_commit_is_pushed_once_to_each_other_and_answered() -> None:
    for replicas in (2, 3, 6):
        for writers in COMMITS:
            row = measure(replicas, 0.0, writers, batch=2)
            assert row.pushes_per_commit == replicas - 1
            assert row.messages_per_commit == 2 * (replicas - 1)
            assert row.block_copies == 1
            assert row.rounds == 0


def test_with_loss_all_arrive_within_a_few_rounds_and_few_blocks_twice() -> None:
    row = measure(6, 0.1, "all", batch=2)
    assert 0 < row.rounds <= 5
    assert 1 < row.block_copies < 1.5


def test_the_simulation_ends_with_equal_states_and_not_only_equal_vectors() -> None:
    cluster = SimulatedCluster(4, loss=0.3, seed=7)
    for _ in range(5):
        cluster.advance(writers=3, batch=3)
    for _ in range(20):
        cluster.advance(0, 0)
    assert cluster.converged()
    first, *others = (member.node.encoded() for member in cluster.members.values())
    assert len(first) == 3, "as many registers as a batch writes"
    assert all(other == first for other in others)
    assert cluster.traffic.pull.messages, "nothing was ever repaired by a pull"


def test_a_larger_batch_costs_less_per_operation_and_more_replicas_cost_more() -> None:
    single, batched = (measure(3, 0.0, "one", batch) for batch in (1, 50))
    assert batched.bytes_per_operation < single.bytes_per_operation
    larger = measure(6, 0.0, "all", 1)
    assert larger.report_bytes > single.report_bytes
    assert larger.idle_bytes_s < larger.idle_bytes_s_with_relayed


@pytest.mark.parametrize("as_json", [True, False], ids=["json", "table"])
def test_the_bench_prints_a_row_per_configuration(*, as_json: bool) -> None:
    options = ["--size", "2", "--size", "3", "--batch", "2", *(["--json"] if as_json else [])]
    result = CliRunner().invoke(main, options)
    assert result.exit_code == 0, result.output
    if as_json:
        rows = json.loads(result.output)
        assert [(row["replicas"], row["writers"], row["loss_percent"]) for row in rows] == [
            (replicas, writers, loss)
            for replicas in (2, 3)
            for writers in ("one", "all")
            for loss in (0, 10)
        ]
    else:
        assert "computed, not simulated" in result.output
        assert "What would have to change" in result.output
