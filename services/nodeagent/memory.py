"""Keeping the agent small: it runs on every node, beside the pods that the node is there for.

glibc gives each thread an arena of its own and keeps what was freed. The agent's threads only wait for the kernel, so
one arena serves them all, and what starting up and pulling images needed is given back.
"""

import ctypes
import gc

_M_ARENA_MAX = -8

_libc = ctypes.CDLL(None)


def limit_arenas() -> None:
    """Use one malloc arena (mallopt(3)); call it before any thread is started. Nothing happens without glibc."""
    if hasattr(_libc, "mallopt"):
        _libc.mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Collect garbage and return free memory to the kernel (malloc_trim(3))."""
    gc.collect()
    if hasattr(_libc, "malloc_trim"):
        _libc.malloc_trim(0)
