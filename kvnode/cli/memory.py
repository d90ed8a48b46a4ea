"""How a node gives memory back to the machine, and when it looks for what it can give back.

Rounds, messages and LMDB's dirty pages are taken and freed in sizes of 4 KiB to MiBs, by several
threads. glibc keeps what is freed of them in pools, one for each thread. Under load that is as it
should be: a round of 800 puts takes 1 MB in pieces of 100 KB, and when each of them was mapped and
unmapped, so that nothing is kept, the node took 37,000 page faults a second and a tenth to a fifth
longer. But it keeps much: so there are few pools, what is very large is mapped by itself, and at
rest all that is free goes back, also what lies between two pieces in use. A node that never rests
keeps what its largest rounds took, and uses it again. (Left alone, glibc would
raise the size from which it maps with every larger piece that is freed.) On other C libraries
nothing is changed.

A start makes some hundred thousand objects, of what it imports and of the writes it replays, and
none of them is garbage. Python's looks for cycles among them, each time at more, take longer than
the replay, and after it at all of them again. So there are none meanwhile, and none later at what
was there then: what is let go without a cycle is freed as ever.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
MAPPED_BYTES_MIN = 2 << 20
"""Larger than a usual message or round."""
KEPT_BYTES = 32 << 20
"""So much may be free at the end of a pool: what a few of the largest messages take."""
ARENAS_MAX = 2


def limit_pools() -> bool:
    """Set that for this process; False if its C library has no such thing."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = (
        (M_MMAP_THRESHOLD, MAPPED_BYTES_MIN),
        (M_TRIM_THRESHOLD, KEPT_BYTES),
        (M_ARENA_MAX, ARENAS_MAX),
    )
    taken = [mallopt(*setting) for setting in settings]
    return all(taken)


def give_back_rest() -> None:
    """What is kept of what was let go.

    Python keeps thousands of tuples and such, for the next ones; they lie in all the pieces of
    memory that it has taken from the machine (``node/rest.py``). Then the pools: some 4 ms.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


@contextmanager
def no_look_for_cycles() -> Iterator[None]:
    """Till the end of the block; later looks leave out what was made by then."""
    if gc.get_freeze_count():  # of a node that was started before in this process: it has ended
        gc.unfreeze()
        gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
