"""Pods come by the hundred from one template, so what was worked out for one spec is remembered for the next.

A value is found again by its msgpack, which takes a microsecond to make; the work that is spared takes fifty times as
long.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from typing import Any, Final, TypeVar

import msgspec

REMEMBERED: Final = 512
# many large values would fill the memory, and they are seldom alike
LARGEST_BYTES: Final = 16 << 10
# of all values that one function remembers; what comes of a value is some two or three times as large
MOST_BYTES: Final = 2 << 20

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")

pack: Final = msgspec.msgpack.Encoder().encode
unpack: Final = msgspec.msgpack.Decoder().decode


def same(left: Any, right: Any) -> bool:
    """Whether two values are equal to the order of their fields and to the types of their numbers."""
    return left is right or (left == right and pack(left) == pack(right))


def remembered(work: Callable[[Key, Any], Result]) -> Callable[[Key, Any], Result]:
    """A function of a key and JSON data that remembers its results; those are shared, so nobody may change them.

    What raises is not remembered. Who sends ever new values makes it forget, and gains nothing else by it.
    """
    held = 0

    @functools.lru_cache(maxsize=REMEMBERED)
    def known(key: Key, packed: bytes) -> Result:
        nonlocal held
        held += len(packed)
        if held > MOST_BYTES:
            # values that were dropped since are counted as well, so that this is an upper bound
            known.cache_clear()
            held = len(packed)
        return work(key, unpack(packed))

    def call(key: Key, value: Any) -> Result:
        try:
            packed = pack(value)
        except OverflowError:
            return work(key, value)
        return known(key, packed) if len(packed) <= LARGEST_BYTES else work(key, value)

    return call
