"""Layouts and archives."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from shared.images import compression, layout
from shared.images.client import Document
from shared.images.errors import CorruptContent, ImageNotFound
from shared.images.layout import DockerArchive, Layout
from shared.images.manifests import Descriptor, Platform
from shared.images.transfer import copy
from tests.unit.shared.images import archives

AMD64 = Platform("linux", "amd64")


def filled(root: Path, name: str = "web:1") -> tuple[Layout, archives.TestImage]:
    found = archives.image(archives.tar(archives.entry("a", data=b"hello")))
    target = Layout(root)
    for digest, data in found.blobs.items():
        target.put_blob(Descriptor("", digest, len(data)), lambda data=data: io.BytesIO(data))
    target.put_manifest(name, Document(found.manifest, found.media_type, found.digest))
    return target, found


def test_a_layout_gives_back_what_was_put_in(tmp_path: Path) -> None:
    target, image = filled(tmp_path)
    assert target.names() == ["web:1"]
    assert target.document("").data == image.manifest
    assert target.document(image.digest).data == image.manifest


def test_the_same_name_is_replaced(tmp_path: Path) -> None:
    filled(tmp_path)
    target, _ = filled(tmp_path)
    assert target.names() == ["web:1"]


def test_a_blob_that_does_not_match_leaves_nothing(tmp_path: Path) -> None:
    _, image = filled(tmp_path / "one")
    other = Layout(tmp_path / "two")
    digest = next(iter(image.blobs))
    with pytest.raises(CorruptContent):
        other.put_blob(Descriptor("", digest, 1), lambda: io.BytesIO(b"wrong"))
    assert not [path for path in (tmp_path / "two").rglob("*") if path.is_file()]


def test_an_unknown_name_is_not_found(tmp_path: Path) -> None:
    target, _ = filled(tmp_path)
    with pytest.raises(ImageNotFound):
        target.document("other:1")


def test_a_docker_archive_goes_through_a_file_and_back(tmp_path: Path) -> None:
    source, image = filled(tmp_path / "layout")
    layout.write_docker_archive(source, image.digest, ["web:1"], tmp_path / "a.tar", compression.open_layer)
    (tmp_path / "out").mkdir()
    opened = layout.unpack_archive(tmp_path / "a.tar", tmp_path / "out")
    assert isinstance(opened, DockerArchive)
    assert opened.names() == ["web:1"]
    again = Layout(tmp_path / "again")
    copy(opened, "web:1", again, "web:2", AMD64)
    assert again.names() == ["web:2"]


def test_an_oci_archive_goes_through_a_file_and_back(tmp_path: Path) -> None:
    _, image = filled(tmp_path / "layout")
    layout.write_oci_archive(tmp_path / "layout", tmp_path / "a.tar")
    (tmp_path / "out").mkdir()
    opened = layout.unpack_archive(tmp_path / "a.tar", tmp_path / "out")
    assert isinstance(opened, Layout)
    assert opened.document("").data == image.manifest


def test_an_archive_cannot_name_files_outside_of_it(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    root = tmp_path / "root"
    root.mkdir()
    (root / "manifest.json").write_text(json.dumps([{"Config": "../secret", "RepoTags": ["a:1"], "Layers": []}]))
    with pytest.raises(CorruptContent, match="outside the archive"):
        DockerArchive(root)


def _member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


@pytest.mark.parametrize(
    "members",
    [
        [_member("../escaped")],
        [_member("/escaped")],
        [_member("x/../../escaped")],
        [_member("x/..", tarfile.DIRTYPE), _member("..", tarfile.DIRTYPE)],
        [_member("up", tarfile.SYMTYPE, "..")],
        [_member("escaped", tarfile.LNKTYPE, "../evil.tar")],
        [_member("here", tarfile.SYMTYPE, "."), _member("here/../../escaped")],
        [_member("device", tarfile.CHRTYPE)],
        [_member("pipe", tarfile.FIFOTYPE)],
    ],
)
def test_an_archive_cannot_write_outside_of_its_directory(tmp_path: Path, members: list[tarfile.TarInfo]) -> None:
    with tarfile.open(tmp_path / "evil.tar", "w") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(b""))
    (tmp_path / "out").mkdir()
    with pytest.raises(CorruptContent):
        layout.unpack_archive(tmp_path / "evil.tar", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evil.tar", "out"]
    assert not Path("/escaped").exists()


def test_layers_that_are_linked_to_each_other_are_unpacked(tmp_path: Path) -> None:
    first = _member("1/layer.tar")
    first.size = 3
    with tarfile.open(tmp_path / "image.tar", "w") as archive:
        archive.addfile(first, io.BytesIO(b"one"))
        archive.addfile(_member("2/layer.tar", tarfile.SYMTYPE, "../1/layer.tar"))
        archive.addfile(_member("3/layer.tar", tarfile.LNKTYPE, "1/layer.tar"))
        manifest = _member("manifest.json")
        manifest.size = 2
        archive.addfile(manifest, io.BytesIO(b"[]"))
    layout.unpack_archive(tmp_path / "image.tar", tmp_path / "out")
    assert [(tmp_path / "out" / name / "layer.tar").read_bytes() for name in "123"] == [b"one"] * 3
