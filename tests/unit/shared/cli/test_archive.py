"""The file of a backup: whatever is wrong with it is said before anybody uses it."""

from __future__ import annotations

import io
import json
import stat
import tarfile
from pathlib import Path

import pytest

from shared.cli import archive
from shared.cli.cluster import ClusterError

ABOUT = {"cluster": "c"}


def write(path: Path) -> None:
    with archive.writing(path, ABOUT) as writer:
        writer.add_bytes("data/pki/ca.key", b"secret" * 100_000)
        writer.add_json("data/cluster.json", {"nodes": []})


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "c.backup"
    write(path)
    return path


def test_what_was_written_is_read_and_only_the_owner_may(written: Path) -> None:
    manifest = archive.check(written)
    assert manifest["cluster"] == "c"
    names = {name: source.read() for name, _, source in archive.members(written)}
    assert names["data/pki/ca.key"] == b"secret" * 100_000
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert [path.name for path in written.parent.iterdir()] == [written.name]


def test_a_failure_leaves_the_earlier_file(written: Path) -> None:
    before = written.read_bytes()
    with pytest.raises(FileNotFoundError), archive.writing(written, ABOUT) as writer:
        writer.add_file("data/x", written.with_name("missing"))
    assert written.read_bytes() == before
    assert [path.name for path in written.parent.iterdir()] == [written.name]


@pytest.mark.parametrize("kept", [0, 1, 10, 500, 0.5, 0.99])
def test_a_file_that_was_cut_off_is_refused(written: Path, kept: float) -> None:
    data = written.read_bytes()
    written.write_bytes(data[: int(kept * len(data)) if 0 < kept < 1 else int(kept)])
    with pytest.raises(ClusterError, match=r"cut off|cannot be read"):
        archive.check(written)


def test_a_tar_that_ends_before_its_manifest_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with tarfile.open(path, "w:gz") as tar:
        add(tar, "version.json", json.dumps({"format": archive.FORMAT}).encode())
        add(tar, "data/x", b"x")
    with pytest.raises(ClusterError, match="ends without its manifest"):
        archive.check(path)


def test_every_flipped_byte_is_found(written: Path) -> None:
    data = written.read_bytes()
    # the header's time, flags and system (RFC 1952 2.3) mean nothing for the content
    for position in range(10, len(data), max(1, len(data) // 60)):
        damaged = bytearray(data)
        damaged[position] ^= 0x10
        written.write_bytes(damaged)
        with pytest.raises(ClusterError):
            archive.check(written)


def test_content_that_is_not_what_the_manifest_says_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with tarfile.open(path, "w:gz") as tar:
        add(tar, "version.json", json.dumps({"format": archive.FORMAT}).encode())
        add(tar, "data/x", b"x")
        add(tar, "manifest.json", json.dumps({"members": {"data/x": {"size": 1, "sha256": "0"}}}).encode())
    with pytest.raises(ClusterError, match="data/x is not what its manifest says"):
        archive.check(path)


def test_another_version_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with tarfile.open(path, "w:gz") as tar:
        add(tar, "version.json", b'{"format": 99}')
    with pytest.raises(ClusterError, match="of format 99, this version of Wherry reads format 1"):
        archive.check(path)


@pytest.mark.parametrize("name", ["../x", "/etc/x", "data/../../x"])
def test_a_member_that_leads_out_of_the_directory_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x"
    with tarfile.open(path, "w:gz") as tar:
        add(tar, "version.json", json.dumps({"format": archive.FORMAT}).encode())
        add(tar, name, b"x")
    with pytest.raises(ClusterError, match="which no backup does"):
        archive.check(path)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("hello")
    with pytest.raises(ClusterError, match="cannot be read as a backup"):
        archive.check(path)
    with tarfile.open(path, "w:gz") as tar:
        add(tar, "hello.txt", b"x")
    with pytest.raises(ClusterError, match=r"it begins with hello\.txt"):
        archive.check(path)
    with pytest.raises(ClusterError, match="cannot be read as a backup"):
        archive.check(tmp_path / "missing")


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))
