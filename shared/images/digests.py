"""Content addresses: `algorithm:encoded`, and streams that compute them as bytes pass.

Why a reader of its own: layers are verified while they stream, so that nothing is ever read twice or held whole.
Source: OCI image spec v1.1, descriptor.md, section Digests.
"""

import hashlib
import re
from typing import Protocol

from shared.images.errors import CorruptContent

LENGTHS = {"sha256": 64, "sha512": 128}
PATTERN = re.compile(r"(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})\Z")


class Readable(Protocol):
    """Anything with `read(size)`; an empty result is the end."""

    def read(self, size: int = -1, /) -> bytes: ...


class Hasher(Protocol):
    """What hashlib returns."""

    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


def check(text: str) -> str:
    """Return `text` if it is a digest of a known algorithm, else raise CorruptContent naming it."""
    if not PATTERN.match(text):
        raise CorruptContent(f"digest {text[:140]!r} is not sha256:<64 hex> or sha512:<128 hex>")
    return text


def is_digest(text: str) -> bool:
    """Whether `text` is a well-formed digest of a known algorithm."""
    return PATTERN.match(text) is not None


def hasher(algorithm: str = "sha256") -> Hasher:
    """A fresh hash of a known algorithm."""
    if algorithm not in LENGTHS:
        raise CorruptContent(f"digest algorithm {algorithm!r} is not supported")
    return hashlib.new(algorithm)


def of(data: bytes, algorithm: str = "sha256") -> str:
    """The digest of `data`."""
    digest = hasher(algorithm)
    digest.update(data)
    return f"{algorithm}:{digest.hexdigest()}"


def algorithm_of(digest: str) -> str:
    """`sha256` or `sha512`."""
    return check(digest).partition(":")[0]


def encoded_of(digest: str) -> str:
    """The hexadecimal part."""
    return check(digest).partition(":")[2]


def verify(data: bytes, expected: str, what: str) -> None:
    """Raise CorruptContent unless `data` has the digest `expected`; `what` names the document in the message."""
    actual = of(data, algorithm_of(expected))
    if actual != expected:
        raise CorruptContent(f"{what} has digest {actual}, expected {expected}")


class HashingReader:
    """Passes a stream through while counting and hashing it."""

    def __init__(self, source: Readable, algorithm: str = "sha256") -> None:
        self._source = source
        self._algorithm = algorithm
        self._hasher = hasher(algorithm)
        self.count = 0

    @property
    def digest(self) -> str:
        """The digest of what has passed so far."""
        return f"{self._algorithm}:{self._hasher.hexdigest()}"

    def read(self, size: int = -1, /) -> bytes:
        data = self._source.read(size)
        self._hasher.update(data)
        self.count += len(data)
        return data
