"""The file of a backup: a gzipped tar that says at its start what version it is of, and at its end what it held.

```
version.json                 {"format": 1, ...}
data/...                     files of the data directory: settings, keys, certificates, credentials
streams/NAME/stream.json     configuration and state of a stream
streams/NAME/snapshot        its content as JetStream packs it
streams/NAME/tail            the messages that were stored meanwhile (msgpack)
manifest.json                the size and SHA-256 of everything before it
```

A file that was cut off has no manifest, and one bit that flipped gives another sum, so it is read whole before anything
is done with it.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

from shared.cli.cluster import ClusterError

FORMAT = 1
VERSION = "version.json"
MANIFEST = "manifest.json"
COMPRESSION = 3
_READ = 1 << 20


class ArchiveWriter:
    """Adds members; `manifest` describes what was added."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self.members: dict[str, dict[str, Any]] = {}

    def add_bytes(self, name: str, data: bytes, mode: int = 0o600) -> None:
        self._add(name, io.BytesIO(data), len(data), mode)

    def add_json(self, name: str, value: Any) -> None:
        self.add_bytes(name, json.dumps(value, indent=2).encode() + b"\n")

    def add_file(self, name: str, path: Path) -> None:
        """The bytes that the file has now; its mode comes with them."""
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            self._add(name, file, status.st_size, status.st_mode & 0o777)

    def _add(self, name: str, source: IO[bytes], size: int, mode: int) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mode = size, mode
        digest = hashlib.sha256()
        self._tar.addfile(info, _Hashed(source, digest))
        self.members[name] = {"size": size, "sha256": digest.hexdigest()}


class _Hashed:
    """A reader that sums up what passes."""

    def __init__(self, source: IO[bytes], digest: Any) -> None:
        self._source = source
        self._digest = digest

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self._digest.update(data)
        return data


@contextmanager
def writing(path: Path, about: dict[str, Any]) -> Iterator[ArchiveWriter]:
    """Write an archive beside `path`, mode 0600, and put it there when the block has ended well and it is on the disk.

    `about` goes into both the version and the manifest.
    """
    partial = path.with_name(f".{path.name}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)
            with tarfile.open(fileobj=file, mode="w:gz", compresslevel=COMPRESSION) as tar:
                writer = ArchiveWriter(tar)
                writer.add_json(VERSION, {"format": FORMAT, **about})
                yield writer
                writer.add_json(MANIFEST, {"format": FORMAT, **about, "members": writer.members.copy()})
            file.flush()
            os.fsync(descriptor)
        partial.replace(path)
        directory = os.open(path.parent, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def check(path: Path, progress: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """Read an archive to its end; its manifest.

    Raises:
        ClusterError: it is no backup, of another version, cut off or damaged; the text says which.
    """
    with _readable(path):
        return _check(path, progress)


def _check(path: Path, progress: Callable[[str], None]) -> dict[str, Any]:
    found: dict[str, dict[str, Any]] = {}
    manifest: dict[str, Any] | None = None
    read = 0
    for name, _, source in members(path):
        if manifest is not None:
            raise ClusterError(f"{path} goes on behind its manifest with {name}; it is damaged")
        digest = hashlib.sha256()
        size = 0
        kept = bytearray()
        while data := source.read(_READ):
            digest.update(data)
            size += len(data)
            read += len(data)
            if name in (VERSION, MANIFEST):
                kept += data
            progress(f"{read / 2**20:.0f} MiB")
        if name == MANIFEST:
            manifest = _document(path, name, bytes(kept))
        elif not found and name != VERSION:
            raise ClusterError(f"{path} is no backup of Wherry: it begins with {name}")
        else:
            found[name] = {"size": size, "sha256": digest.hexdigest()}
            if name == VERSION:
                _check_version(path, _document(path, name, bytes(kept)))
    if manifest is None:
        raise ClusterError(f"{path} ends without its manifest: it was cut off, or never finished")
    stated = manifest.get("members")
    if stated != found:
        wrong = sorted(name for name in {*found, *(stated or {})} if (stated or {}).get(name) != found.get(name))
        raise ClusterError(f"{path} is damaged: {wrong[0]} is not what its manifest says")
    return manifest


def members(path: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Name, mode and content of each member, in order.

    Raises:
        ClusterError: the file cannot be read, or has a member that leads out of a directory.
    """
    with _readable(path), gzip.open(path) as file:
        with tarfile.open(fileobj=file, mode="r|") as tar:
            for member in tar:
                parts = PurePosixPath(member.name).parts
                source = tar.extractfile(member) if member.isreg() else None
                if source is None or not parts or parts[0] == "/" or ".." in parts:
                    raise ClusterError(f"{path} holds {member.name!r}, which no backup does")
                yield member.name, member.mode & 0o777, source
        # the end of the file is checked as well, though no member is behind it
        while file.read(_READ):
            pass


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, zlib.error, tarfile.TarError) as exc:
        raise ClusterError(f"{path} cannot be read as a backup, it is damaged or cut off: {exc}") from exc


def _check_version(path: Path, version: dict[str, Any]) -> None:
    if version.get("format") != FORMAT:
        raise ClusterError(
            f"{path} is a backup of format {version.get('format')}, this version of Wherry reads format {FORMAT}; "
            "restore it with the version that wrote it"
        )


def _document(path: Path, name: str, data: bytes) -> dict[str, Any]:
    try:
        return dict(json.loads(data))
    except (ValueError, TypeError) as exc:
        raise ClusterError(f"{path} is damaged: {name} cannot be read ({exc})") from exc
