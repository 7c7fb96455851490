"""Fetching an image from a registry: the blocking half of the store, run in worker threads.

Why nothing touches the disk in between: a layer goes socket -> digest -> decompression -> diff id -> tar -> files in
one pass, so a pull costs one write per file and no compressed copy.
"""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass

from services.nodeagent.images import paths
from services.nodeagent.images.directory import ImageDirectory, layer_name
from services.nodeagent.images.model import Layer
from services.nodeagent.images.unpack import unpack
from shared.images import compression, digests, manifests
from shared.images.client import Document, Repository, image_of
from shared.images.digests import HashingReader
from shared.images.errors import CorruptContent, StorageFailure, UnsupportedImage
from shared.images.manifests import Descriptor, ImageConfig, Manifest, Platform

_REFUSED = ("+encrypted",)


@dataclass(frozen=True, slots=True)
class Resolved:
    """A manifest for this machine, with its configuration. `digest` is what the name points at, maybe an index."""

    digest: str
    document: Document
    manifest: Manifest
    config: ImageConfig
    config_data: bytes

    @property
    def layers(self) -> list[tuple[Descriptor, str]]:
        """Each layer with the digest of its uncompressed content, bottom first."""
        return list(zip(self.manifest.layers, self.config.diff_ids, strict=True))


def resolve(repository: Repository, version: str, platform: Platform) -> Resolved:
    """Fetch manifest and configuration and check that they describe a runnable image. Raises ImageError kinds."""
    digest, document, manifest = image_of(repository, version, platform)
    what = f"image {repository.name}@{document.digest}"
    data = repository.small_blob(manifest.config, f"configuration of {what}")
    config = manifests.parse_config(data, f"configuration of {what}")
    if len(config.diff_ids) != len(manifest.layers):
        raise CorruptContent(f"{what} has {len(manifest.layers)} layers but {len(config.diff_ids)} diff ids")
    if config.platform.architecture and config.platform.architecture != platform.architecture:
        raise UnsupportedImage(f"{what} is for {config.platform}, this machine is {platform}")
    if config.platform.os not in ("", platform.os):
        raise UnsupportedImage(f"{what} is for {config.platform}, this machine is {platform}")
    for layer in manifest.layers:
        if layer.media_type.endswith(_REFUSED):
            raise UnsupportedImage(f"{what} has an encrypted layer {layer.digest}")
    return Resolved(digest, document, manifest, config, data)


def fetch_layer(
    repository: Repository,
    descriptor: Descriptor,
    diff_id: str,
    directory: ImageDirectory,
    cancelled: threading.Event,
    passed: Callable[[int], None],
) -> Layer:
    """Download, verify and unpack one layer and make it visible. `passed` is told the bytes received so far."""
    what = f"layer {descriptor.digest}"
    work = directory.temporary()
    done = False
    try:
        os.mkdir(work)
        os.chmod(work, 0o755)
        with repository.blob(descriptor) as blob:
            compressed = HashingReader(_Watched(blob, cancelled, passed, what), digests.algorithm_of(descriptor.digest))
            plain = HashingReader(compression.open_layer(compressed, what), digests.algorithm_of(diff_id))
            found = unpack(plain, os.fspath(work), what, cancelled.is_set)
            while compressed.read(compression.CHUNK):
                pass  # a decompressor may stop before trailing bytes that the digest covers
        if compressed.digest != descriptor.digest:
            raise CorruptContent(f"{what} has digest {compressed.digest}")
        if plain.digest != diff_id:
            raise CorruptContent(f"{what} unpacks to {plain.digest}, its image says {diff_id}")
        layer = directory.commit_layer(work, Layer(layer_name(diff_id), diff_id, found.size, found.implicit))
        done = True
        return layer
    except InterruptedError:
        raise
    except OSError as exc:
        raise StorageFailure(f"{what} cannot be unpacked: {exc.strerror or exc}") from exc
    finally:
        if not done:
            paths.remove_tree(work)


class _Watched:
    """Counts received bytes and stops a download that nobody waits for any more."""

    def __init__(
        self, source: digests.Readable, cancelled: threading.Event, passed: Callable[[int], None], what: str
    ) -> None:
        self._source = source
        self._cancelled = cancelled
        self._passed = passed
        self._what = what
        self._count = 0

    def read(self, size: int = -1, /) -> bytes:
        if self._cancelled.is_set():
            raise InterruptedError(f"{self._what} is no longer wanted")
        data = self._source.read(size)
        self._count += len(data)
        self._passed(self._count)
        return data
