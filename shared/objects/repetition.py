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

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")

pack: Final = msgspec.msgpack.Encoder().encode
unpack: Final = msgspec.msgpack.Decoder().decode


def remembered(work: Callable[[Key, Any], Result]) -> Callable[[Key, Any], Result]:
    """A function of a key and JSON data that remembers its results; those are shared, so nobody may change them.

    What raises is not remembered.
    """

    @functools.lru_cache(maxsize=REMEMBERED)
    def known(key: Key, packed: bytes) -> Result:
        return work(key, unpack(packed))

    def call(key: Key, value: Any) -> Result:
        try:
            packed = pack(value)
        except OverflowError:
            return work(key, value)
        return known(key, packed) if len(packed) <= LARGEST_BYTES else work(key, value)

    return call
