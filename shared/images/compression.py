"""Layers as a plain tar stream, whatever they are compressed with.

Why by content and not by media type: registries hold layers whose type says gzip and whose bytes say otherwise, and
every runtime looks at the magic number. Output is bounded per read, so a decompression bomb costs disk, not memory.
gzip comes from zlib; zstd from the system's libzstd through ctypes, because Python 3.11 has none of its own and most
hosts carry the library (dpkg and rpm need it).
Source: RFC 1952 (members may be concatenated), RFC 8878, OCI image spec v1.1 layer.md.
"""

import ctypes
import functools
import zlib
from typing import Protocol

from shared.images.digests import Readable
from shared.images.errors import CorruptContent, UnsupportedImage

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
CHUNK = 256 << 10
"""Bytes asked from the source at a time; above the size at which hashlib releases the interpreter lock."""


class Decompressor(Protocol):
    """One incremental decoder: `feed` more input, `take` at most `limit` bytes of output; `idle` between two frames."""

    idle: bool

    def feed(self, data: bytes) -> None: ...
    def take(self, limit: int) -> bytes: ...


def open_layer(source: Readable, what: str) -> Readable:
    """A reader of the uncompressed bytes of `source`; `what` names the layer in errors."""
    head = b""
    while len(head) < 4:
        more = source.read(CHUNK)
        if not more:
            break
        head += more
    rest = _Pushback(head, source)
    if head.startswith(GZIP_MAGIC):
        return _DecompressingReader(rest, _Gzip(), what)
    if head.startswith(ZSTD_MAGIC):
        return _DecompressingReader(rest, _Zstd(what), what)
    return rest


class _Pushback:
    def __init__(self, head: bytes, source: Readable) -> None:
        self._head = head
        self._source = source

    def read(self, size: int = -1, /) -> bytes:
        if not self._head:
            return self._source.read(size)
        if size < 0:
            data, self._head = self._head, b""
            return data
        data, self._head = self._head[:size], self._head[size:]
        return data


class _DecompressingReader:
    def __init__(self, source: Readable, decoder: Decompressor, what: str) -> None:
        self._source = source
        self._decoder = decoder
        self._what = what
        self._ended = False

    def read(self, size: int = -1, /) -> bytes:
        limit = CHUNK if size < 0 else size
        while limit:
            try:
                data = self._decoder.take(limit)
            except (zlib.error, ValueError) as exc:
                raise CorruptContent(f"{self._what} cannot be decompressed: {exc}") from exc
            if data:
                return data
            if self._ended:
                if not self._decoder.idle:
                    raise CorruptContent(f"{self._what} is cut off inside its compressed data")
                return b""
            more = self._source.read(CHUNK)
            if more:
                self._decoder.feed(more)
            else:
                self._ended = True
        return b""


class _Gzip:
    def __init__(self) -> None:
        self.idle = True
        self._input = b""
        self._inflater = zlib.decompressobj(31)

    def feed(self, data: bytes) -> None:
        self._input += data

    def take(self, limit: int) -> bytes:
        while True:
            if self.idle:
                # GNU tar and some registries pad with zero bytes after the last member
                self._input = self._input.lstrip(b"\0")
                if not self._input:
                    return b""
                self._inflater = zlib.decompressobj(31)
                self.idle = False
            data = self._inflater.decompress(self._input, limit)
            if self._inflater.eof:
                self._input = self._inflater.unused_data
                self.idle = True
                if data:
                    return data
                continue
            self._input = self._inflater.unconsumed_tail
            return data


class _Buffer(ctypes.Structure):
    """ZSTD_inBuffer and ZSTD_outBuffer: pointer, size, position."""

    _fields_ = (("pointer", ctypes.c_void_p), ("size", ctypes.c_size_t), ("position", ctypes.c_size_t))


@functools.cache
def _libzstd() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL("libzstd.so.1")
    except OSError:
        return None
    library.ZSTD_createDStream.restype = ctypes.c_void_p
    library.ZSTD_freeDStream.argtypes = [ctypes.c_void_p]
    library.ZSTD_decompressStream.argtypes = [ctypes.c_void_p, ctypes.POINTER(_Buffer), ctypes.POINTER(_Buffer)]
    library.ZSTD_decompressStream.restype = ctypes.c_size_t
    library.ZSTD_isError.argtypes = [ctypes.c_size_t]
    library.ZSTD_getErrorName.argtypes = [ctypes.c_size_t]
    library.ZSTD_getErrorName.restype = ctypes.c_char_p
    return library


class _Zstd:
    """ZSTD_decompressStream over a single input buffer (zstd.h, "Streaming decompression")."""

    def __init__(self, what: str) -> None:
        library = _libzstd()
        if library is None:
            raise UnsupportedImage(f"{what} is compressed with zstd, which needs libzstd.so.1 on this machine")
        self.idle = True
        self._library = library
        self._stream = library.ZSTD_createDStream()
        self._input = b""
        self._position = 0
        self._output = ctypes.create_string_buffer(CHUNK)
        self._full = False

    def __del__(self) -> None:
        if getattr(self, "_stream", None):
            self._library.ZSTD_freeDStream(self._stream)

    def feed(self, data: bytes) -> None:
        self._input = self._input[self._position :] + data
        self._position = 0

    def take(self, limit: int) -> bytes:
        # a full output buffer may leave more behind in the decoder even though all input is consumed
        if self._position >= len(self._input) and not self._full:
            return b""
        source = ctypes.c_char_p(self._input)
        given = _Buffer(ctypes.cast(source, ctypes.c_void_p), len(self._input), self._position)
        taken = _Buffer(ctypes.cast(self._output, ctypes.c_void_p), min(limit, CHUNK), 0)
        code = self._library.ZSTD_decompressStream(self._stream, ctypes.byref(taken), ctypes.byref(given))
        if self._library.ZSTD_isError(code):
            raise ValueError(self._library.ZSTD_getErrorName(code).decode())
        self._position = given.position
        self.idle = code == 0
        self._full = not self.idle and taken.position == taken.size
        return self._output.raw[: taken.position] if taken.position < CHUNK else self._output.raw
