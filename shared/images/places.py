"""Where images are kept, by what a user types: a reference, or `oci:DIR`, `oci-archive:FILE`, `docker-archive:FILE`.

Why these words: they are skopeo's and podman's, so nobody has to learn new ones. An unqualified reference means the
cluster's own registry.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from shared.images import compression, credentials, layout, manifests, references
from shared.images.builder import Base
from shared.images.client import Repository, catalog
from shared.images.endpoint import Endpoint, is_plain
from shared.images.errors import ImageError
from shared.images.layout import DockerArchive, Layout
from shared.images.manifests import Platform
from shared.images.references import Reference
from shared.images.transfer import Report, RepositorySource, RepositoryTarget, Source, copy, image_manifest

SCHEMES = ("oci", "oci-archive", "docker-archive")


@dataclass(slots=True)
class Registries:
    """The cluster's registry (host:port, plain HTTP) and a parsed Docker config for the others.

    A context manager: leaving it closes the connections.
    """

    cluster: str
    auth: Mapping[str, Any] | None = None
    _open: list[Endpoint] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for endpoint in self._open:
            endpoint.close()

    def qualify(self, name: str) -> Reference:
        """A reference with its registry filled in."""
        parsed = references.parse(name)
        return references.candidates(parsed, self.cluster)[0]

    def endpoint(self, reference: Reference) -> Endpoint:
        """A connection to the registry of a qualified reference."""
        credential = credentials.find(self.auth, reference.registry, reference.repository)
        endpoint = Endpoint(reference.registry, is_plain(reference.registry, self.cluster), credential)
        self._open.append(endpoint)
        return endpoint

    def repositories(self) -> list[str]:
        """All repositories of the cluster's registry."""
        endpoint = Endpoint(self.cluster, is_plain(self.cluster, self.cluster))
        self._open.append(endpoint)
        return catalog(endpoint)

    def repository(self, reference: Reference) -> Repository:
        """The repository of a qualified reference."""
        return Repository(self.endpoint(reference), reference.repository)

    def source(self, reference: Reference) -> RepositorySource:
        return RepositorySource(self.repository(reference), reference.registry)

    def target(self, reference: Reference) -> RepositoryTarget:
        return RepositoryTarget(self.repository(reference), reference.registry)

    def base(self, name: str, platform: Platform) -> Base:
        """An image to build on."""
        reference = self.qualify(name)
        repository = self.repository(reference)
        source = RepositorySource(repository, reference.registry)
        _, manifest = image_manifest(source, reference.version, platform)
        data = repository.small_blob(manifest.config, f"configuration of {name}")
        return Base(repository, manifest, manifests.decode(data, f"configuration of {name}"))


def split(text: str) -> tuple[str, str]:
    """(scheme, rest) of `scheme:path`; a path without a scheme is an archive if it ends in .tar, else a layout."""
    scheme, colon, rest = text.partition(":")
    if colon and scheme in SCHEMES:
        return scheme, rest
    return ("docker-archive" if text.endswith(".tar") else "oci"), text


def is_path(text: str) -> bool:
    """Whether an argument names a file and not a reference."""
    return text.partition(":")[0] in SCHEMES or text.startswith(("/", "./", "../")) or os.path.exists(text)


@contextmanager
def open_path(text: str) -> Iterator[Layout | DockerArchive]:
    """Open a layout or archive as a source; archives are unpacked beside nothing, in a temporary directory."""
    path = Path(split(text)[1])
    if path.is_dir():
        yield Layout(path)
        return
    if not path.is_file():
        raise ImageError(f"{path} is neither a directory nor a file")
    with tempfile.TemporaryDirectory(prefix="wherry-image-") as name:
        yield layout.unpack_archive(path, Path(name))


def save(source: Source, version: str, name: str, text: str, platform: Platform, report: Report) -> str:
    """Store an image in the layout or archive that `text` names, under `name`; returns the digest."""
    scheme, rest = split(text)
    path = Path(rest)
    if scheme == "oci":
        return copy(source, version, Layout(path), name, platform, report)
    with tempfile.TemporaryDirectory(prefix="wherry-image-", dir=path.parent if path.parent.is_dir() else None) as work:
        staged = Layout(Path(work))
        if scheme == "oci-archive":
            digest = copy(source, version, staged, name, platform, report)
            layout.write_oci_archive(Path(work), path)
            return digest
        staged.keeps_indexes = False
        digest = copy(source, version, staged, name, platform, report)
        layout.write_docker_archive(staged, digest, [name], path, compression.open_layer)
        return digest
