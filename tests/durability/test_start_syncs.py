"""A start syncs what it goes on from, by its system calls."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kvnode.core.block import Block
from kvnode.core.operations import Put
from kvnode.storage.tailed_log import TailedLog
from tests.core.memory_node import MemoryNode
from tests.storage.stores import ORIGIN, abandon

from .order import LOG, SYNCS, TAIL
from .strace import STRACE, calls, command

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not STRACE, reason="needs strace (apt-get install strace)"),
]

ROUNDS = """
import os, sys
from pathlib import Path
from kvnode.storage.tailed_log import TailedLog
from tests.durability.test_start_syncs import blocks
from tests.storage.stores import ORIGIN

log = TailedLog(Path(sys.argv[1]), ORIGIN)
for block in blocks()[log.last_arrival:]:
    log.append([block])
os._exit(0)
"""


def blocks() -> list[Block]:
    """Four of one origin."""
    node = MemoryNode(7)
    made = []
    for _ in range(4):
        node.write(Put(b"k", b"v"))
        made.append(node.last_block)
    return made


def test_what_lmdb_has_is_synced_before_the_tail_is_written_over(tmp_path: Path) -> None:
    """Who moved it may have been killed when LMDB's transaction was written and not synced."""
    folder = tmp_path / "v1" / "log"
    folder.mkdir(parents=True)
    log = TailedLog(folder, ORIGIN)
    for block in blocks()[:3]:
        log.append([block])
    log._move()  # noqa: SLF001
    abandon(log)
    trace = tmp_path / "trace"
    watch = [argument for argument in command(trace) if argument != "-D"]
    program = [sys.executable, "-P", "-c", ROUNDS, str(folder)]
    subprocess.run([*watch, *program], check=True, timeout=60)
    found = [
        (call.name, part)
        for call in calls(trace)
        for part in (LOG, TAIL)
        if part in call.target and (call.name in SYNCS or call.name == "pwrite64")
    ]
    assert ("pwrite64", TAIL) in found
    before = found[: found.index(("pwrite64", TAIL))]
    assert any(name in SYNCS and part == LOG for name, part in before)
