"""Writing layers: the same files give the same bytes, wherever and whenever they are built.

Why not tarfile.add: it takes owner names, times, and the order of the disk from the machine it runs on.
Source: https://reproducible-builds.org/docs/source-date-epoch; OCI image spec v1.1 layer.md.
"""

import gzip
import os
import stat
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

from shared.images import digests
from shared.images.manifests import OCI_LAYER_GZIP, Descriptor

LEVEL = 6


@dataclass(frozen=True, slots=True)
class LocalLayer:
    """A finished layer in a file: its descriptor and the digest of its uncompressed content."""

    descriptor: Descriptor
    diff_id: str
    path: Path

    def open(self) -> IO[bytes]:
        """A fresh stream of the compressed layer."""
        return open(self.path, "rb")


@dataclass(slots=True)
class Entry:
    """A file to be: its metadata, and the file its content comes from."""

    info: tarfile.TarInfo
    source: Path | None = None


@dataclass(slots=True)
class LayerWriter:
    """Collects entries by path and writes them sorted. `time` (seconds) is every entry's modification time."""

    time: int = 0
    entries: dict[str, Entry] = field(default_factory=dict)

    def add(self, entry: Entry) -> None:
        """Put an entry in; a later one of the same path replaces the earlier."""
        entry.info.mtime = min(entry.info.mtime, self.time) if entry.info.mtime else self.time
        entry.info.uname = entry.info.gname = ""
        entry.info.name = entry.info.name.strip("/")
        self.entries[entry.info.name] = entry

    def add_directory(self, path: str, mode: int = 0o755, uid: int = 0, gid: int = 0) -> None:
        """A directory; one that is there already keeps its attributes."""
        name = path.strip("/")
        if name and name not in self.entries:
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.uid, info.gid, info.mtime = tarfile.DIRTYPE, mode, uid, gid, self.time
            self.add(Entry(info))

    def write(self, path: Path) -> LocalLayer:
        """Write the layer, gzip-compressed, to `path`."""
        with open(path, "wb") as file:
            outer = _HashingWriter(file)
            # name and time in the gzip header would differ between builds
            with gzip.GzipFile("", "wb", LEVEL, outer, mtime=0) as zipped:
                inner = _HashingWriter(zipped)
                # stream mode calls nothing but write(data), whatever the type stubs ask for
                stream = cast(IO[bytes], inner)
                with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT, encoding="utf-8") as archive:
                    self._write_entries(archive)
        return LocalLayer(Descriptor(OCI_LAYER_GZIP, outer.digest, outer.count), inner.digest, path)

    def _write_entries(self, archive: tarfile.TarFile) -> None:
        written: set[str] = set()
        links = [n for n, e in self.entries.items() if e.info.islnk()]
        # a hard link can only name what precedes it
        for name in [*sorted(self.entries.keys() - set(links)), *sorted(links)]:
            entry = self.entries[name]
            if entry.info.islnk() and entry.info.linkname not in written:
                continue
            written.add(name)
            if entry.source is not None and entry.info.isreg():
                with open(entry.source, "rb") as content:
                    archive.addfile(entry.info, content)
            else:
                archive.addfile(entry.info)


def describe(path: Path, name: str) -> tarfile.TarInfo:
    """A TarInfo for the file at `path` as `name`: type, permissions and size; owned by root, without a time.

    Raises OSError for what cannot be read, ValueError for sockets.
    """
    found = os.lstat(path)
    info = tarfile.TarInfo(name.strip("/"))
    info.mode = stat.S_IMODE(found.st_mode)
    info.mtime = 0
    if stat.S_ISREG(found.st_mode):
        info.size = found.st_size
    elif stat.S_ISDIR(found.st_mode):
        info.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(found.st_mode):
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, os.readlink(path), 0o777
    elif stat.S_ISFIFO(found.st_mode):
        info.type = tarfile.FIFOTYPE
    elif stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode):
        info.type = tarfile.CHRTYPE if stat.S_ISCHR(found.st_mode) else tarfile.BLKTYPE
        info.devmajor, info.devminor = os.major(found.st_rdev), os.minor(found.st_rdev)
    else:
        raise ValueError(f"{path} is a socket, which no layer can hold")
    return info


class _HashingWriter:
    """Counts and hashes what is written through it."""

    def __init__(self, target: "IO[bytes] | gzip.GzipFile") -> None:
        self._target = target
        self._hasher = digests.hasher()
        self.count = 0

    @property
    def digest(self) -> str:
        return f"sha256:{self._hasher.hexdigest()}"

    def write(self, data: bytes) -> int:
        self._hasher.update(data)
        self.count += len(data)
        return self._target.write(data)

    def flush(self) -> None:
        self._target.flush()
