"""Small tar archives and images for tests, written down as lists of entries."""

from __future__ import annotations

import gzip
import io
import tarfile
from dataclasses import dataclass, field
from typing import Any

from shared.images import digests
from shared.images.manifests import (
    OCI_CONFIG,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
    encode,
)

FILE, DIRECTORY, LINK, HARD = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE


def entry(name: str, kind: bytes = FILE, data: bytes = b"", link: str = "", mode: int = 0o644, **more: Any) -> Any:
    """One member: a TarInfo and its content. `more` sets further attributes, `pax` extended headers."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode, info.size = kind, link, mode, len(data)
    info.pax_headers = more.pop("pax", {})
    for key, value in more.items():
        setattr(info, key, value)
    return info, data


def tar(*entries: Any) -> bytes:
    """An uncompressed archive."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, data in entries:
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


@dataclass
class TestImage:
    """Blobs by digest and the manifest that ties them together."""

    __test__ = False
    manifest: bytes
    media_type: str = OCI_MANIFEST
    blobs: dict[str, bytes] = field(default_factory=dict)
    parsed: Manifest | None = None

    @property
    def digest(self) -> str:
        return digests.of(self.manifest)


def image(*layers: bytes, config: dict[str, Any] | None = None, architecture: str = "amd64") -> TestImage:
    """An image of uncompressed tars; every layer is stored with gzip, except those that are gzip already."""
    blobs: dict[str, bytes] = {}
    descriptors = []
    for layer in layers:
        packed = gzip.compress(layer, mtime=0)
        blobs[digests.of(packed)] = packed
        descriptors.append(Descriptor(OCI_LAYER_GZIP, digests.of(packed), len(packed)))
    document = encode(
        {
            "architecture": architecture,
            "os": "linux",
            "config": config or {},
            "rootfs": {"type": "layers", "diff_ids": [digests.of(layer) for layer in layers]},
        }
    )
    blobs[digests.of(document)] = document
    manifest = Manifest(OCI_MANIFEST, Descriptor(OCI_CONFIG, digests.of(document), len(document)), tuple(descriptors))
    return TestImage(manifest.encode(), OCI_MANIFEST, blobs, manifest)


def plain(layer: bytes) -> Descriptor:
    """The descriptor of an uncompressed layer."""
    return Descriptor(OCI_LAYER, digests.of(layer), len(layer))
