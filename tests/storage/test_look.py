"""The process that looks at stored data beside a node (``storage/soundness.py``)."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from kvnode.storage.soundness import NICE, Looker, Undecided
from tests.cluster.convergence import wait_for


def test_it_lets_its_node_have_the_processor_first(tmp_path: Path) -> None:
    """In a session of its own: Linux may weigh sessions before it weighs what is in them."""
    os.mkfifo(tmp_path / "data.mdb")  # whoever opens it waits
    looker = Looker()
    outcomes: list[BaseException] = []

    def look() -> None:
        try:
            looker.look([tmp_path], beside=True)
        except Undecided as error:
            outcomes.append(error)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        wait_for(lambda: looker.pid is not None, "it is started")
        pid = looker.pid
        assert pid is not None
        own = os.getpriority(os.PRIO_PROCESS, os.getpid())
        wait_for(lambda: os.getpriority(os.PRIO_PROCESS, pid) == min(19, own + NICE), "gives way")
        assert os.getsid(pid) == pid
        group = Path(f"/proc/{pid}/autogroup")
        if group.exists():
            wait_for(lambda: group.read_text().split()[-1] == str(NICE), "so does its session")
    finally:
        looker.stop()
        thread.join()
    assert outcomes
    with pytest.raises(Undecided, match="stopping"):
        looker.look([tmp_path])
