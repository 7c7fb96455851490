"""Manifests, indexes and image configurations as typed values.

Why parse at all: a manifest comes from anywhere, so every field that is used later is checked once, here, with an error
that names it. Docker's schema 2 documents have the same shape under other media types and are accepted as they are.
Source: OCI image spec v1.1, manifest.md, image-index.md, config.md.
"""

import json
import platform as host
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.images import digests
from shared.images.errors import CorruptContent, UnsupportedImage

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = OCI_LAYER + "+gzip"
OCI_LAYER_ZSTD = OCI_LAYER + "+zstd"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_SCHEMA1 = (
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
)

MANIFEST_TYPES = (OCI_MANIFEST, DOCKER_MANIFEST)
INDEX_TYPES = (OCI_INDEX, DOCKER_LIST)
ACCEPTED = (*MANIFEST_TYPES, *INDEX_TYPES)
DOCUMENT_LIMIT = 4 << 20
"""Largest manifest or configuration read, in bytes; the distribution spec asks registries to accept at least this."""


_MACHINES = {
    "x86_64": ("amd64", ""),
    "i686": ("386", ""),
    "aarch64": ("arm64", "v8"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
}


@dataclass(frozen=True, slots=True)
class Platform:
    """What a manifest of an index is for."""

    os: str
    architecture: str
    variant: str = ""

    @staticmethod
    def local() -> "Platform":
        """The platform of this machine in the words of Go's runtime, which OCI uses."""
        machine = host.machine()
        architecture, variant = _MACHINES.get(machine, (machine, ""))
        return Platform("linux", architecture, variant)

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A pointer to content: media type, digest, size in bytes."""

    media_type: str
    digest: str
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    artifact_type: str = ""

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        out: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.artifact_type:
            out["artifactType"] = self.artifact_type
        if self.platform:
            out["platform"] = {"os": self.platform.os, "architecture": self.platform.architecture}
            if self.platform.variant:
                out["platform"]["variant"] = self.platform.variant
        if self.annotations:
            out["annotations"] = dict(self.annotations)
        return out


@dataclass(frozen=True, slots=True)
class Manifest:
    """One image (or artifact): its configuration and its layers, lowest first."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    subject: Descriptor | None = None
    artifact_type: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Canonical JSON bytes of this manifest."""
        document: dict[str, Any] = {"schemaVersion": 2, "mediaType": self.media_type}
        if self.artifact_type:
            document["artifactType"] = self.artifact_type
        document["config"] = self.config.document()
        document["layers"] = [layer.document() for layer in self.layers]
        if self.subject:
            document["subject"] = self.subject.document()
        if self.annotations:
            document["annotations"] = dict(self.annotations)
        return encode(document)


@dataclass(frozen=True, slots=True)
class Index:
    """A list of manifests, one for each platform."""

    media_type: str
    manifests: tuple[Descriptor, ...]
    subject: Descriptor | None = None
    artifact_type: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)

    def select(self, platform: Platform) -> Descriptor:
        """The manifest for `platform`: exact variant first, then the same architecture. Raises UnsupportedImage."""
        fitting = [
            m
            for m in self.manifests
            if m.platform and m.platform.os == platform.os and m.platform.architecture == platform.architecture
        ]
        exact = [m for m in fitting if m.platform and (m.platform.variant or platform.variant) == platform.variant]
        if not fitting:
            offered = ", ".join(sorted({str(m.platform) for m in self.manifests if m.platform})) or "none"
            raise UnsupportedImage(f"no manifest for platform {platform}, the index offers {offered}")
        return (exact or fitting)[0]


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """The parts of an image configuration that matter for running it. `entrypoint`/`cmd` are None when not set."""

    entrypoint: list[str] | None = None
    cmd: list[str] | None = None
    env: list[str] = field(default_factory=list)
    workdir: str = ""
    user: str = ""
    stop_signal: str = ""
    exposed: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    volumes: list[str] = field(default_factory=list)
    platform: Platform = Platform("linux", "")
    created: str = ""
    diff_ids: list[str] = field(default_factory=list)


def encode(document: Mapping[str, Any]) -> bytes:
    """JSON as images use it: compact, UTF-8, keys in the given order."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def decode(data: bytes, what: str) -> dict[str, Any]:
    """Parse a JSON object, CorruptContent otherwise; `what` names the document."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise CorruptContent(f"{what} is not valid JSON") from exc
    if not isinstance(document, dict):
        raise CorruptContent(f"{what} is not a JSON object")
    return document


def parse(data: bytes, media_type: str, what: str) -> Manifest | Index:
    """Parse a manifest or an index.

    `media_type` is the Content-Type the document came with, "" if unknown. The document's own mediaType field wins over
    a generic Content-Type but must not contradict a specific one (the confusion of CVE-2021-41190).
    """
    document = decode(data, what)
    stated = _text(document, "mediaType", what)
    media_type = media_type.partition(";")[0].strip()
    if media_type in DOCKER_SCHEMA1 or document.get("schemaVersion") == 1:
        raise UnsupportedImage(f"{what} is a Docker schema 1 manifest, which nothing should produce any more")
    if stated and media_type in ACCEPTED and stated != media_type:
        raise CorruptContent(f"{what} says mediaType {stated!r} but was served as {media_type!r}")
    if "manifests" in document and ("layers" in document or "config" in document):
        raise CorruptContent(f"{what} is both an index and a manifest")
    kind = stated or (media_type if media_type in ACCEPTED else "")
    if not kind:
        kind = OCI_INDEX if "manifests" in document else OCI_MANIFEST
    subject = descriptor(document["subject"], f"{what}: subject") if document.get("subject") else None
    annotations = _strings(document, "annotations", what)
    artifact_type = _text(document, "artifactType", what)
    if kind in INDEX_TYPES:
        entries = [descriptor(d, f"{what}: manifests[{i}]") for i, d in enumerate(_items(document, "manifests", what))]
        return Index(kind, tuple(entries), subject, artifact_type, annotations)
    if kind not in MANIFEST_TYPES:
        raise UnsupportedImage(f"{what} has media type {kind!r}, which is no manifest or index")
    config = descriptor(document.get("config"), f"{what}: config")
    layers = [descriptor(d, f"{what}: layers[{i}]") for i, d in enumerate(_items(document, "layers", what))]
    return Manifest(kind, config, tuple(layers), subject, artifact_type, annotations)


def descriptor(value: Any, what: str) -> Descriptor:
    """Parse a descriptor; `what` names the field in errors."""
    if not isinstance(value, dict):
        raise CorruptContent(f"{what} is not a descriptor")
    size = value.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise CorruptContent(f"{what}: size {size!r} is not a byte count")
    platform = None
    if isinstance(value.get("platform"), dict):
        platform = _platform(value["platform"], what)
    return Descriptor(
        _text(value, "mediaType", what),
        digests.check(_text(value, "digest", what)),
        size,
        platform,
        _strings(value, "annotations", what),
        _text(value, "artifactType", what),
    )


def parse_config(data: bytes, what: str) -> ImageConfig:
    """Parse an image configuration (config.md, "Properties")."""
    document = decode(data, what)
    run = document.get("config") or {}
    rootfs = document.get("rootfs") or {}
    if not isinstance(run, dict) or not isinstance(rootfs, dict):
        raise CorruptContent(f"{what}: config or rootfs is not an object")
    diff_ids = _texts(rootfs, "diff_ids", what) or []
    return ImageConfig(
        entrypoint=_texts(run, "Entrypoint", what),
        cmd=_texts(run, "Cmd", what),
        env=_texts(run, "Env", what) or [],
        workdir=_text(run, "WorkingDir", what),
        user=_text(run, "User", what),
        stop_signal=_text(run, "StopSignal", what),
        exposed=sorted(run.get("ExposedPorts") or {}),
        labels=dict(_strings(run, "Labels", what)),
        volumes=sorted(run.get("Volumes") or {}),
        platform=_platform(document, what),
        created=_text(document, "created", what),
        diff_ids=[digests.check(d) for d in diff_ids],
    )


def _platform(document: Mapping[str, Any], what: str) -> Platform:
    architecture = _text(document, "architecture", what)
    return Platform(_text(document, "os", what) or "linux", architecture, _text(document, "variant", what))


def _text(document: Mapping[str, Any], key: str, what: str) -> str:
    value = document.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise CorruptContent(f"{what}: {key} is not a string")
    return value


def _texts(document: Mapping[str, Any], key: str, what: str) -> list[str] | None:
    value = document.get(key)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise CorruptContent(f"{what}: {key} is not a list of strings")
    return value


def _strings(document: Mapping[str, Any], key: str, what: str) -> Mapping[str, str]:
    value = document.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise CorruptContent(f"{what}: {key} is not a map of strings")
    return value


def _items(document: Mapping[str, Any], key: str, what: str) -> list[Any]:
    value = document.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise CorruptContent(f"{what}: {key} is not a list")
    return value
