"""Layers whatever they are compressed with."""

from __future__ import annotations

import gzip
import io
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.images import compression
from shared.images.digests import Readable
from shared.images.errors import CorruptContent


class Trickle:
    """A source that gives a few bytes at a time."""

    def __init__(self, data: bytes, step: int) -> None:
        self._source = io.BytesIO(data)
        self._step = step

    def read(self, size: int = -1, /) -> bytes:
        return self._source.read(self._step if size < 0 else min(size, self._step))


def read_all(source: Readable, size: int = 1 << 16) -> bytes:
    parts = []
    while part := source.read(size):
        parts.append(part)
    return b"".join(parts)


@given(st.binary(max_size=3000), st.integers(1, 700), st.integers(1, 900))
def test_gzip_gives_the_content_in_any_step(data: bytes, step: int, size: int) -> None:
    assert read_all(compression.open_layer(Trickle(gzip.compress(data), step), "l"), size) == data


@given(st.binary(max_size=3000).filter(lambda b: b[:2] != b"\x1f\x8b" and b[:4] != b"\x28\xb5\x2f\xfd"))
def test_what_is_not_compressed_passes_through(data: bytes) -> None:
    assert read_all(compression.open_layer(Trickle(data, 3), "l")) == data


def test_concatenated_members_are_one_stream() -> None:
    data = gzip.compress(b"one ") + gzip.compress(b"two") + b"\0" * 512
    assert read_all(compression.open_layer(io.BytesIO(data), "l")) == b"one two"


def test_one_read_never_gives_more_than_was_asked_for() -> None:
    source = compression.open_layer(io.BytesIO(gzip.compress(b"\0" * (8 << 20))), "l")
    assert len(source.read(1000)) <= 1000


def test_a_stream_that_is_cut_off_is_corrupt() -> None:
    data = gzip.compress(bytes(range(256)) * 50)[:-20]
    with pytest.raises(CorruptContent, match="cut off"):
        read_all(compression.open_layer(io.BytesIO(data), "l"))


def test_garbage_after_the_magic_number_is_corrupt() -> None:
    with pytest.raises(CorruptContent, match="cannot be decompressed"):
        read_all(compression.open_layer(io.BytesIO(b"\x1f\x8b\x08" + b"\xff" * 40), "l"))


@pytest.mark.skipif(shutil.which("zstd") is None, reason="zstd is not installed")
@pytest.mark.parametrize("step", [1, 100, 1 << 20])
def test_zstd_gives_the_content(step: int) -> None:
    data = bytes(range(256)) * 5000 + b"\0" * 700_000
    packed = b"".join(
        subprocess.run(["zstd", "-c", "-q"], input=part, stdout=subprocess.PIPE, check=True).stdout
        for part in (data, b"tail")
    )
    assert read_all(compression.open_layer(Trickle(packed, step), "l")) == data + b"tail"


@pytest.mark.skipif(shutil.which("zstd") is None, reason="zstd is not installed")
def test_zstd_that_is_cut_off_is_corrupt() -> None:
    packed = subprocess.run(["zstd", "-c", "-q"], input=b"abc" * 900, stdout=subprocess.PIPE, check=True).stdout
    with pytest.raises(CorruptContent, match="cut off"):
        read_all(compression.open_layer(io.BytesIO(packed[:-5]), "l"))
