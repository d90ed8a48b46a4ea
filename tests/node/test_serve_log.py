"""``kvnode serve`` as a process: its log stays small, and says whom that costs what."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.rpc.api import Api

from .conftest import Start
from .process import NodeProcess, until

Connect = Callable[[NodeProcess], Api]


def settings(folder: Path, **figures: int) -> str:
    """A configuration file for a log of next to nothing, looked after all the time."""
    eager = {"log_retention_bytes": 1, "checkpoint_interval_ms": 20, "retention_interval_ms": 20}
    file = folder / "kvnode.toml"
    file.write_text("".join(f"{name} = {n}\n" for name, n in (eager | figures).items()))
    return str(file)


def test_the_log_shrinks_by_itself_and_a_restart_loses_nothing(
    start: Start, connect: Connect, tmp_path: Path
) -> None:
    config = settings(tmp_path)
    process = start("data", "--config", config).ready()
    api = connect(process)

    def is_cut() -> bool:
        api.increment(b"n")  # a checkpoint comes with a commit
        return api.status().log.first_arrival > 5

    until(is_cut, "blocks have left the log")
    status = api.status()
    assert status.log.floor[0].seq >= 5
    assert status.log.retention_bytes == 1
    process.kill()
    process = start("data", "--config", config).ready()
    again = connect(process).status()
    assert again.log.first_arrival >= status.log.first_arrival
    assert again.vector[0].seq >= status.vector[0].seq
    process.stop()


def test_trap_12_the_log_waits_for_a_dead_peer_up_to_the_cap(
    start: Start, connect: Connect, tmp_path: Path
) -> None:
    """Trap 12 "log cut past a lagging peer without telling it": it is said, and not before."""
    config = settings(tmp_path, log_bytes_max=100_000)
    process = start("data", "--config", config, "--found", "--peer", "dead=127.0.0.1:1").ready()
    api = connect(process)

    def written(size: int) -> Callable[[], bool]:
        def reached() -> bool:
            api.put(b"k", bytes(2000))
            return api.status().log.block_bytes > size

        return reached

    until(written(60_000), "the log grows")
    assert api.status().log.first_arrival == 1, "nobody has acknowledged"

    def is_cut() -> bool:
        api.put(b"k", bytes(2000))
        return api.status().log.first_arrival > 1

    until(is_cut, "the cap overrules")
    process.stop()
    (line,) = [line for line in process.stderr.splitlines() if "log_bytes_max" in line]
    assert "WARNING" in line
    assert line.endswith("these now need a snapshot: dead")
