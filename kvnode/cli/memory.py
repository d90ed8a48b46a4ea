"""How a node gives memory back to the machine, and when it looks for what it can give back.

Blocks, messages and LMDB's dirty pages are taken and freed in sizes of 4 KiB to MiBs, by several
threads. glibc keeps what is freed of them in pools, one for each thread, and after the first large
one it serves others of that size from there too: what is free between two that are in use then
stays with the process. Told to map large ones one by one, and to keep few pools, it gives them
back. On other C libraries nothing is changed.

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
MAPPED_BYTES_MIN = 64 << 10
"""Smaller ones come often, and mapping them would take longer than what is done with them."""
ARENAS_MAX = 2


def give_back_memory() -> bool:
    """Set it for this process; False if its C library has no such thing."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = (
        (M_MMAP_THRESHOLD, MAPPED_BYTES_MIN),
        (M_TRIM_THRESHOLD, 2 * MAPPED_BYTES_MIN),
        (M_ARENA_MAX, ARENAS_MAX),
    )
    taken = [mallopt(*setting) for setting in settings]
    return all(taken)


def give_back_rest() -> None:
    """What Python keeps of what was let go: thousands of tuples and such, for the next ones. They
    lie in all the pieces of memory that it has taken from the machine (``node/rest.py``).
    """
    gc.collect()


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
