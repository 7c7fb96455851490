"""OCI image layouts: a directory, or a tar archive of one, with blobs by digest and an index of names.

Source: OCI image spec v1.1 image-layout.md; the annotation `org.opencontainers.image.ref.name` holds the tag.
"""

import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from shared.images import digests, manifests
from shared.images.client import Document
from shared.images.digests import HashingReader
from shared.images.errors import CorruptContent, ImageNotFound
from shared.images.manifests import OCI_INDEX, Descriptor

NAME = "org.opencontainers.image.ref.name"
FULL_NAME = "io.containerd.image.name"


class Layout:
    """A layout directory, as source and as target. Made on the first write."""

    registry = ""
    keeps_indexes = True

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self) -> list[str]:
        """The names in the index."""
        found = [(e.get("annotations") or {}) for e in self._index()["manifests"]]
        return [name for a in found if (name := a.get(FULL_NAME) or a.get(NAME))]

    def document(self, version: str) -> Document:
        """A manifest by name or digest; "" stands for the only one there is."""
        entries = self._index()["manifests"]
        chosen = [e for e in entries if version and version in _names(e)] or (entries if not version else [])
        if len(chosen) > 1:
            raise ImageNotFound(f"layout {self.root} holds {len(entries)} images, name one of {self.names()}")
        if chosen:
            entry = manifests.descriptor(chosen[0], f"index of {self.root}")
        elif digests.is_digest(version):
            entry = Descriptor("", version, 0)
        else:
            raise ImageNotFound(f"layout {self.root} has no image named {version!r}")
        try:
            data = self._blob(entry.digest).read_bytes()
        except FileNotFoundError as exc:
            raise ImageNotFound(f"layout {self.root} has no manifest {entry.digest}") from exc
        digests.verify(data, entry.digest, f"manifest {entry.digest} of {self.root}")
        stated = manifests.decode(data, f"manifest {entry.digest}").get("mediaType")
        return Document(data, entry.media_type or str(stated or ""), entry.digest)

    def open(self, descriptor: Descriptor) -> IO[bytes]:
        """A blob's file."""
        try:
            return open(self._blob(descriptor.digest), "rb")
        except FileNotFoundError as exc:
            raise ImageNotFound(f"layout {self.root} has no blob {descriptor.digest}") from exc

    def repository(self, _: str) -> str:
        """A layout is in no registry."""
        return ""

    def put_blob(self, descriptor: Descriptor, stream: Callable[[], IO[bytes]], _: str = "") -> bool:
        """Store a blob under its digest once it is verified."""
        target = self._blob(descriptor.digest)
        if target.exists():
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        work = target.with_name(f".{target.name}.partial")
        with stream() as source, open(work, "wb") as file:
            reader = HashingReader(source, digests.algorithm_of(descriptor.digest))
            shutil.copyfileobj(reader, file, 1 << 20)
        if reader.digest != descriptor.digest:
            work.unlink()
            raise CorruptContent(f"blob {descriptor.digest} has digest {reader.digest}")
        os.replace(work, target)
        return True

    def put_manifest(self, version: str, document: Document) -> None:
        """Store a manifest and, unless `version` is its digest, name it in the index."""
        target = self._blob(document.digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(document.data)
        if digests.is_digest(version):
            return
        (self.root / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        index = self._index(missing_ok=True)
        entries = [e for e in index["manifests"] if version not in _names(e)]
        tag = version.rpartition(":")[2] if ":" in version.rpartition("/")[2] else version
        annotations = {NAME: tag} if tag == version else {FULL_NAME: version, NAME: tag}
        entries.append(
            Descriptor(document.media_type, document.digest, len(document.data), None, annotations).document()
        )
        index["manifests"] = entries
        (self.root / "index.json").write_bytes(manifests.encode(index))

    def _blob(self, digest: str) -> Path:
        return self.root / "blobs" / digests.algorithm_of(digest) / digests.encoded_of(digest)

    def _index(self, missing_ok: bool = False) -> dict[str, Any]:
        path = self.root / "index.json"
        if not path.exists():
            if missing_ok:
                return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
            raise ImageNotFound(f"{self.root} is not an OCI image layout: it has no index.json")
        index = manifests.decode(path.read_bytes(), f"{path}")
        if not isinstance(index.get("manifests"), list):
            raise CorruptContent(f"{path}: manifests is not a list")
        return index


def _names(entry: dict[str, Any]) -> list[str]:
    annotations = entry.get("annotations") or {}
    return [annotations[key] for key in (NAME, FULL_NAME) if annotations.get(key)]


class DockerArchive:
    """A `docker save` archive unpacked into a directory, as a source: layers are plain tars named by their ids."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._images: dict[str, tuple[Document, dict[str, Path]]] = {}
        try:
            listed = json.loads((root / "manifest.json").read_bytes())
            for image in listed:
                document, blobs = self._image(image)
                for name in image.get("RepoTags") or [""]:
                    self._images[name] = (document, blobs)
        except (ValueError, KeyError, TypeError, AttributeError, FileNotFoundError) as exc:
            raise CorruptContent(f"docker archive: manifest.json cannot be read: {exc}") from exc

    def names(self) -> list[str]:
        """The tags in the archive."""
        return [name for name in self._images if name]

    def document(self, version: str) -> Document:
        """The manifest made for an image of the archive; "" stands for the only one there is."""
        for name, (document, _) in self._images.items():
            if version in (name, document.digest) or (not version and len(self._images) == 1):
                return document
        raise ImageNotFound(f"the archive holds {self.names()}, not {version!r}")

    def open(self, descriptor: Descriptor) -> IO[bytes]:
        """A layer or configuration."""
        for _, blobs in self._images.values():
            if descriptor.digest in blobs:
                return open(blobs[descriptor.digest], "rb")
        raise ImageNotFound(f"the archive has no blob {descriptor.digest}")

    def repository(self, _: str) -> str:
        """An archive is in no registry."""
        return ""

    def _image(self, image: dict[str, Any]) -> tuple[Document, dict[str, Path]]:
        blobs: dict[str, Path] = {}
        found = []
        for name, media_type in [
            (image["Config"], manifests.OCI_CONFIG),
            *((layer, manifests.OCI_LAYER) for layer in image["Layers"]),
        ]:
            path = (self.root / name).resolve()
            if self.root.resolve() not in path.parents:
                raise CorruptContent(f"docker archive: {name!r} is outside the archive")
            with open(path, "rb") as file:
                reader = HashingReader(file)
                head = reader.read(4)
                while reader.read(1 << 20):
                    pass
            if head.startswith(b"\x1f\x8b") and media_type == manifests.OCI_LAYER:
                media_type = manifests.OCI_LAYER_GZIP
            blobs[reader.digest] = path
            found.append(Descriptor(media_type, reader.digest, reader.count))
        data = manifests.Manifest(manifests.OCI_MANIFEST, found[0], tuple(found[1:])).encode()
        return Document(data, manifests.OCI_MANIFEST, digests.of(data)), blobs


def unpack_archive(file: Path, target: Path) -> Layout | DockerArchive:
    """Extract an OCI or docker archive (optionally compressed) below `target` and open it."""
    try:
        with tarfile.open(file) as archive:
            for member in archive:
                _extract(archive, member, target.resolve())
    except (tarfile.TarError, OSError) as exc:
        raise CorruptContent(f"archive {file} cannot be read: {exc}") from exc
    return Layout(target) if (target / "index.json").exists() else DockerArchive(target)


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    """Extract a file, directory or link that stays below `target`; `docker save` links equal layers to each other.

    tarfile's own filters came with Python 3.11.4, and distributions still have earlier ones.
    """
    path = target / member.name
    # a link that is extracted is replaced and not followed, so what matters is where it would be put
    inside = [path if path.name in ("", ".", "..") else path.parent]
    if member.issym():
        inside.append(path.parent / member.linkname)
    elif member.islnk():
        inside.append(target / member.linkname)
    elif not member.isfile() and not member.isdir():
        raise CorruptContent(f"archive: {member.name!r} is neither a file nor a directory nor a link")
    for one in inside:
        if not one.resolve().is_relative_to(target):
            raise CorruptContent(f"archive: {member.name!r} leads out of the archive")
    if member.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    if member.issym():
        path.symlink_to(member.linkname)
    elif member.islnk():
        path.hardlink_to(target / member.linkname)
    else:
        with archive.extractfile(member) as source, path.open("xb") as copy:  # type: ignore[union-attr]
            shutil.copyfileobj(source, copy)


def write_oci_archive(layout: Path, file: Path) -> None:
    """Pack a layout directory into a tar archive, sorted and without times."""
    with _replacing(file) as work, tarfile.open(work, "w") as archive:
        for path in sorted(layout.rglob("*")):
            if path.is_file():
                _add(archive, path, str(path.relative_to(layout)))


def write_docker_archive(layout: Layout, version: str, names: list[str], file: Path, plain: Callable[..., Any]) -> None:
    """Pack one image of a layout in the form `docker load` reads.

    `plain` decompresses: a function from (stream, what) to a readable, as compression.open_layer.
    """
    document = layout.document(version)
    parsed = manifests.parse(document.data, document.media_type, f"manifest {version}")
    if not isinstance(parsed, manifests.Manifest):
        raise CorruptContent(f"{version} is an index, a docker archive holds single images")
    with _replacing(file) as work, tarfile.open(work, "w") as archive:
        config = f"{digests.encoded_of(parsed.config.digest)}.json"
        with layout.open(parsed.config) as source:
            _add_stream(archive, source, config, parsed.config.size)
        members = []
        for descriptor in parsed.layers:
            with layout.open(descriptor) as source, tempfile.TemporaryFile() as spool:
                reader = HashingReader(plain(source, f"layer {descriptor.digest}"))
                shutil.copyfileobj(reader, spool, 1 << 20)
                spool.seek(0)
                member = f"{digests.encoded_of(reader.digest)}.tar"
                if member not in members:
                    _add_stream(archive, spool, member, reader.count)
                members.append(member)
        listed = json.dumps([{"Config": config, "RepoTags": names, "Layers": members}]).encode()
        with tempfile.TemporaryFile() as spool:
            spool.write(listed)
            spool.seek(0)
            _add_stream(archive, spool, "manifest.json", len(listed))


class _replacing:
    """A file that appears under its name only when it is complete."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._work = file.with_name(f".{file.name}.partial")

    def __enter__(self) -> Path:
        return self._work

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            os.replace(self._work, self._file)
        else:
            self._work.unlink(missing_ok=True)


def _add(archive: tarfile.TarFile, path: Path, name: str) -> None:
    with open(path, "rb") as content:
        _add_stream(archive, content, name, path.stat().st_size)


def _add_stream(archive: tarfile.TarFile, content: IO[bytes], name: str, size: int) -> None:
    info = tarfile.TarInfo(name)
    info.size = size
    archive.addfile(info, content)
