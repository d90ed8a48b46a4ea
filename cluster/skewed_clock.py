"""A wall clock that can be set for one process alone, without a switch in kvnode for it.

libfaketime would do, but is not installed everywhere. Python imports ``sitecustomize`` at every
start if it finds such a module; so a folder with one, put on a node's ``PYTHONPATH``, replaces
``time.time`` and ``time.time_ns``, which is where kvnode reads its wall clock, by ones that add
what eight bytes of a file say. The file is mapped into memory: a step is there with the next look
at the clock, in the middle of whatever the node does, as when an operator sets the date. The
monotonic clock goes on, as it does on a real machine.
"""

from __future__ import annotations

import os
from pathlib import Path
from struct import Struct
from typing import Final

from cluster.processes import ROOT

OFFSET: Final = Struct("=q")
"""Milliseconds to add."""

CUSTOMIZATION: Final = '''\
"""Adds what a file says to the wall clock; see cluster/skewed_clock.py."""
import mmap
import os
import struct
import time

with open(os.environ["KVNODE_CLUSTER_CLOCK"], "rb") as _file:
    _offset = mmap.mmap(_file.fileno(), 8, prot=mmap.PROT_READ)
_time, _time_ns, _unpack = time.time, time.time_ns, struct.Struct("=q").unpack_from
time.time = lambda: _time() + _unpack(_offset)[0] / 1000
time.time_ns = lambda: _time_ns() + _unpack(_offset)[0] * 1_000_000
'''


class SkewedClock:
    """The clock of whatever process is started with ``environment``; right until ``step``."""

    def __init__(self, folder: Path) -> None:
        """``folder`` is made; it has to stay as long as a process uses it."""
        folder.mkdir(parents=True)
        (folder / "sitecustomize.py").write_text(CUSTOMIZATION)
        self._file = folder / "offset_ms"
        self._file.write_bytes(OFFSET.pack(0))
        paths = (str(folder), str(ROOT), os.environ.get("PYTHONPATH", ""))
        self.environment = {
            "KVNODE_CLUSTER_CLOCK": str(self._file),
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        }

    def step(self, offset_ms: int) -> None:
        """Let the clock be off by so much from now on; 0 sets it right."""
        with self._file.open("r+b") as file:
            file.write(OFFSET.pack(offset_ms))
