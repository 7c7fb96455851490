"""The image store on disk: layers, documents and names, each made elsewhere and renamed into place.

Why no index file: what is there is there. A crash leaves at most leftovers in `tmp`, which the next start removes, and
a layer directory without a name pointing at it, which garbage collection removes.

root/
├── layers/<40 hex of the diff id>       an unpacked layer, used by overlayfs as it is
├── layers/p<40 hex>                     directories whose attributes a layer left to its parents (parents.py)
├── about/<layer name>.json              size, whole diff id and implicit directories of a layer
├── documents/<64 hex>                   manifests and configurations, by digest
├── names/<hash of the reference>.json   one Record each
└── tmp/                                 work in progress

Layer names are 160 bits long and not 256 because overlayfs takes all lower directories in one page of mount options.
"""

import contextlib
import errno
import json
import logging
import os
import secrets
import time
from dataclasses import asdict
from pathlib import Path

from services.nodeagent.images import paths
from services.nodeagent.images.model import Layer, Record
from shared.images import digests, manifests
from shared.images.errors import CorruptContent, StorageFailure
from shared.images.manifests import ImageConfig

log = logging.getLogger(__name__)


class ImageDirectory:
    """The files of an image store. All methods block; none is used by two processes at once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("layers", "about", "documents", "names", "tmp"):
            (root / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        for leftover in (root / "tmp").iterdir():
            paths.remove_tree(leftover)

    def layer_path(self, name: str) -> Path:
        """Where a layer of this name is or would be."""
        return self.root / "layers" / name

    def temporary(self) -> Path:
        """A fresh path in tmp that nothing has yet."""
        return self.root / "tmp" / secrets.token_hex(8)

    def layer(self, name: str) -> Layer | None:
        """What is known of a layer, None unless it is completely there."""
        try:
            about = json.loads((self.root / "about" / f"{name}.json").read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        if not self.layer_path(name).is_dir():
            return None
        return Layer(name, about["diff_id"], about["size"], tuple(about["implicit"]))

    def layers(self) -> list[str]:
        """Names of all layer directories."""
        return sorted(entry.name for entry in (self.root / "layers").iterdir())

    def commit_layer(self, work: Path, layer: Layer) -> Layer:
        """Make an unpacked directory the layer of that name; if another pull was faster its result stays."""
        fd = os.open(work, os.O_RDONLY | os.O_DIRECTORY)
        try:
            paths.syncfs(fd)
        finally:
            os.close(fd)
        self._write(self.root / "about" / f"{layer.name}.json", json.dumps(asdict(layer)).encode())
        try:
            os.rename(work, self.layer_path(layer.name))
        except OSError as exc:
            if exc.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise StorageFailure(f"layer {layer.diff_id} cannot be stored: {exc.strerror}") from exc
            paths.remove_tree(work)
        return layer

    def discard_layer(self, name: str) -> Path:
        """Take a layer out of use at once and return where its files wait for `paths.remove_tree`."""
        grave = self.temporary()
        with contextlib.suppress(FileNotFoundError):
            os.rename(self.layer_path(name), grave)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.root / "about" / f"{name}.json")
        return grave

    def put_document(self, data: bytes) -> str:
        """Keep a manifest or configuration; returns its digest."""
        digest = digests.of(data)
        path = self.root / "documents" / digests.encoded_of(digest)
        if not path.exists():
            self._write(path, data)
        return digest

    def config(self, digest: str) -> ImageConfig | None:
        """A stored image configuration, None if missing or damaged."""
        path = self.root / "documents" / digests.encoded_of(digest)
        try:
            data = path.read_bytes()
            digests.verify(data, digest, f"configuration {path}")
            return manifests.parse_config(data, f"configuration {digest}")
        except (FileNotFoundError, CorruptContent):
            return None

    def drop_documents(self, keep: set[str]) -> None:
        """Remove every document whose digest is not in `keep`."""
        names = {digests.encoded_of(d) for d in keep}
        for entry in (self.root / "documents").iterdir():
            if entry.name not in names:
                entry.unlink(missing_ok=True)

    def records(self) -> list[Record]:
        """All names with their images; unreadable ones are removed, the image is then simply not there."""
        found = []
        for entry in (self.root / "names").iterdir():
            try:
                value = json.loads(entry.read_bytes())
                found.append(Record(**{**value, "layers": tuple(value["layers"])}))
            except (ValueError, TypeError, KeyError):
                log.warning("image record %s cannot be read, removing it", entry)
                entry.unlink(missing_ok=True)
        return found

    def put_record(self, record: Record) -> None:
        """Store or replace a name."""
        self._write(self._record_path(record.reference), json.dumps(asdict(record)).encode())

    def drop_record(self, reference: str) -> None:
        """Forget a name; a missing one is fine."""
        self._record_path(reference).unlink(missing_ok=True)

    def usage(self) -> tuple[int, int]:
        """(used, capacity) of the file system in bytes, as a non-root user counts them."""
        found = os.statvfs(self.root)
        available = found.f_bavail * found.f_frsize
        used = (found.f_blocks - found.f_bfree) * found.f_frsize
        return used, used + available

    def _record_path(self, reference: str) -> Path:
        return self.root / "names" / f"{digests.encoded_of(digests.of(reference.encode()))}.json"

    def _write(self, path: Path, data: bytes) -> None:
        work = self.temporary()
        try:
            with open(work, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.rename(work, path)
        except OSError as exc:
            with contextlib.suppress(OSError):
                work.unlink(missing_ok=True)
            raise StorageFailure(f"{path} cannot be written: {exc.strerror}") from exc


def layer_name(diff_id: str) -> str:
    """The directory name of the layer with this diff id."""
    return digests.encoded_of(diff_id)[:40]


def now() -> float:
    """Wall-clock seconds, as stored in records."""
    return time.time()
