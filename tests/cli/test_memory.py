"""A node gives memory back, where its C library lets it."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import platform
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kvnode.cli.memory import give_back_rest, limit_pools, no_look_for_cycles
from kvnode.cli.serve import StopSignal, _run
from kvnode.config import Config
from kvnode.node import node as node_module
from kvnode.node.node import Node
from kvnode.storage import directory

FREED = """
import sys
from pathlib import Path
from kvnode.cli.memory import give_back_rest, limit_pools

def anonymous_kib():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))

if "limited" in sys.argv:
    assert limit_pools()
bytes(16 << 20)  # one that was mapped and freed: the next ones up to its size are not mapped
size, count = (4 << 20, 10) if "large" in sys.argv else (1 << 20, 30)
before = anonymous_kib()
blocks = [bytes([number % 256]) * size for number in range(count)]
last = None if "all" in sys.argv else blocks[-1]
blocks = None
if "rest" in sys.argv:
    give_back_rest()
print(anonymous_kib() - before - size // 1024)
"""

BESIDE = """
import random, sys
from pathlib import Path
from kvnode.cli.memory import give_back_rest
from kvnode.core.requests import RequestWindow

def anonymous_kib():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))

window = RequestWindow(100_000)
before = anonymous_kib()
entries = []
for number in range(3_000):
    window.add(number.to_bytes(16, "big"), 1, number + 1, 1)
    entries += ((number, each) for each in range(1_000, 1_100))
random.Random(1).shuffle(entries)  # as they are let go of, so room is found again
del entries
window.drop_unsaved(window.unsaved)
if "copy" in sys.argv:
    copy = window.copying()()
    window.lie_in(copy)
    copy.clear()
give_back_rest()
print(anonymous_kib() - before)
"""


def kept_kib(script: str, *how: str) -> int:
    """What a process of its own keeps of the memory that it has freed."""
    done = subprocess.run(
        [sys.executable, "-c", script, *how], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is about glibc's pools")
@pytest.mark.parametrize("how", [("large", "limited"), ("rest", "limited")])
def test_what_is_freed_below_what_is_in_use_is_given_back(how: tuple[str, str]) -> None:
    """What is large at once, the rest at rest; and that it was told to do so is why."""
    assert kept_kib(FREED, how[0] if how[0] == "large" else "") > 25_000
    assert kept_kib(FREED, *how) < 5_000


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is about glibc's pools")
@pytest.mark.parametrize("how", ["but one", "all"])
def test_under_load_what_is_freed_is_kept_for_the_next_round(how: str) -> None:
    assert kept_kib(FREED, "limited", how) > 25_000


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def other(_name: Any) -> object:
        return object()

    monkeypatch.setattr(ctypes, "CDLL", other)
    assert not limit_pools()
    give_back_rest()


@pytest.mark.skipif(sys.platform != "linux", reason="nothing else tells RssAnon")
def test_few_requests_do_not_keep_the_memory_of_what_was_made_beside_them() -> None:
    assert kept_kib(BESIDE) > 20_000, "then nothing needs to be copied"
    assert kept_kib(BESIDE, "copy") < 12_000


class Cycle:
    """Only a look for cycles frees it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def unfrozen() -> Iterator[None]:
    gc.collect()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("unfrozen")
def test_while_a_node_starts_nothing_is_looked_at_and_later_only_what_came_since() -> None:
    with no_look_for_cycles():
        assert not gc.isenabled()
        early = weakref.ref(Cycle())
    assert gc.isenabled()
    late = weakref.ref(Cycle())
    gc.collect()
    assert (early() is None, late() is None) == (False, True)


@pytest.mark.usefixtures("unfrozen")
def test_what_an_earlier_start_made_is_freed_by_the_next() -> None:
    """A node that starts again as another must not keep what it had."""
    with no_look_for_cycles():
        first = weakref.ref(Cycle())
    with no_look_for_cycles():
        assert first() is None


@pytest.mark.usefixtures("unfrozen")
def test_a_start_that_fails_leaves_the_looks_on() -> None:
    with pytest.raises(OSError, match="no"), no_look_for_cycles():
        raise OSError("no")
    assert gc.isenabled()


def test_at_rest_there_is_a_look_which_also_frees_what_is_kept_for_the_next_objects() -> None:
    late = weakref.ref(Cycle())
    assert late() is not None
    give_back_rest()
    assert late() is None


@pytest.mark.usefixtures("unfrozen")
def test_a_node_that_is_served_looks_for_cycles_at_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes: list[Node] = []

    class Noted(Node):
        def __init__(self, config: Config) -> None:
            super().__init__(config)
            nodes.append(self)

    monkeypatch.setattr(node_module, "Node", Noted)
    monkeypatch.setattr(directory, "tell_of_death", lambda _folder: None)  # it is this process's
    asked = StopSignal()
    asked.asked = True
    config = Config(name="a", listen="127.0.0.1:0", data=str(tmp_path / "a"), found=True)
    assert asyncio.run(_run(config, asked))[0] is None
    (node,) = nodes
    assert node.engine.rest.on_end is give_back_rest
