"""Unpacking layers, kind ones and hostile ones."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.nodeagent.images import paths
from services.nodeagent.images.unpack import OPAQUE_XATTR, Unpacked, unpack
from shared.images.errors import CorruptContent
from tests.unit.shared.images.archives import DIRECTORY, HARD, LINK, entry, tar

pytestmark = pytest.mark.root


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    root = tmp_path / "layer"
    root.mkdir()
    (tmp_path / "host").mkdir()
    (tmp_path / "host/file").write_text("host")
    yield root
    assert (tmp_path / "host/file").read_text() == "host"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["host", "layer"]
    assert [path.name for path in (tmp_path / "host").iterdir()] == ["file"]


def extract(target: Path, *entries: Any) -> Unpacked:
    return unpack(io.BytesIO(tar(*entries)), str(target), "layer x")


def is_opaque(path: Path) -> bool:
    try:
        return os.getxattr(path, OPAQUE_XATTR) == b"y"
    except OSError:
        return False


def is_whiteout(path: Path) -> bool:
    found = path.lstat()
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def test_owner_mode_and_time_are_kept(target: Path) -> None:
    extract(
        target,
        entry("d", DIRECTORY, mode=0o1777, uid=3, gid=4, mtime=1000),
        entry("d/f", data=b"x", mode=0o4755, uid=5, gid=6, mtime=2000),
        entry("d/l", LINK, link="f", uid=7, gid=8, mtime=3000),
    )
    directory, file, link = (target / "d").lstat(), (target / "d/f").lstat(), (target / "d/l").lstat()
    assert (stat.S_IMODE(directory.st_mode), directory.st_uid, directory.st_gid) == (0o1777, 3, 4)
    assert (stat.S_IMODE(file.st_mode), file.st_uid, file.st_gid) == (0o4755, 5, 6)
    assert (link.st_uid, link.st_gid) == (7, 8)
    assert (directory.st_mtime, file.st_mtime, link.st_mtime) == (1000, 2000, 3000)


def test_the_size_counts_content_and_the_end_of_the_stream_is_read(target: Path) -> None:
    source = io.BytesIO(tar(entry("a", data=b"12345"), entry("b", data=b"6")) + b"\0" * 4096)
    assert unpack(source, str(target), "l").size == 6
    assert source.read() == b""


def test_hard_links_share_their_file(target: Path) -> None:
    extract(target, entry("a", data=b"x"), entry("b", HARD, link="a"), entry("c", HARD, link="./a"))
    assert (target / "a").lstat().st_nlink == 3


def test_devices_and_pipes_are_made(target: Path) -> None:
    extract(
        target,
        entry("null", tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
        entry("pipe", tarfile.FIFOTYPE, mode=0o600),
    )
    assert (target / "null").lstat().st_rdev == os.makedev(1, 3)
    assert stat.S_ISFIFO((target / "pipe").lstat().st_mode)


def test_extended_attributes_are_kept_but_not_those_of_overlayfs(target: Path) -> None:
    pax = {
        "SCHILY.xattr.user.a": "b",
        "SCHILY.xattr.trusted.overlay.redirect": "/etc",
        "SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x04\x00\x00" + "\x00" * 12,
    }
    extract(target, entry("f", data=b"x", pax=pax))
    assert os.getxattr(target / "f", "user.a") == b"b"
    assert "security.capability" in os.listxattr(target / "f")
    assert "trusted.overlay.redirect" not in os.listxattr(target / "f")


def test_a_whiteout_becomes_a_device(target: Path) -> None:
    extract(target, entry("d/.wh.gone"))
    assert is_whiteout(target / "d/gone")


def test_an_opaque_marker_becomes_an_attribute(target: Path) -> None:
    extract(target, entry("d", DIRECTORY, mode=0o755), entry("d/.wh..wh..opq"), entry("d/new", data=b"x"))
    assert is_opaque(target / "d")
    assert [path.name for path in (target / "d").iterdir()] == ["new"]


@pytest.mark.parametrize("whiteout_first", [True, False])
def test_a_directory_that_replaces_a_lower_one_is_opaque(target: Path, whiteout_first: bool) -> None:
    entries = [entry(".wh.d"), entry("d", DIRECTORY, mode=0o755)]
    extract(target, *(entries if whiteout_first else reversed(entries)))
    assert is_opaque(target / "d")


def test_a_whiteout_does_not_hide_what_its_own_layer_brings(target: Path) -> None:
    extract(target, entry("f", data=b"x"), entry(".wh.f"))
    assert (target / "f").read_bytes() == b"x"


def test_aufs_bookkeeping_is_left_out(target: Path) -> None:
    extract(target, entry(".wh..wh.plnk", DIRECTORY), entry(".wh..wh.aufs"))
    assert list(target.iterdir()) == []


def test_a_later_entry_replaces_an_earlier_one_of_any_kind(target: Path) -> None:
    extract(
        target,
        entry("a", DIRECTORY, mode=0o755),
        entry("a/b/c", data=b"x"),
        entry("a", data=b"file"),
        entry("l", LINK, link="../host"),
        entry("l", DIRECTORY, mode=0o755),
        entry("l/f", data=b"y"),
    )
    assert (target / "a").read_bytes() == b"file"
    assert (target / "l/f").read_bytes() == b"y"


def test_directories_named_only_by_what_is_below_are_reported(target: Path) -> None:
    found = extract(target, entry("a/b/c", data=b"x"), entry("d/e", data=b"x"), entry("d", DIRECTORY, mode=0o700))
    assert found.implicit == ("a", "a/b")
    assert stat.S_IMODE((target / "a").lstat().st_mode) == 0o755


@pytest.mark.parametrize("name", ["../host/file", "a/../../host/file", "..", "/../host/file"])
def test_a_name_with_dots_is_refused(target: Path, name: str) -> None:
    with pytest.raises(CorruptContent, match="leads outside"):
        extract(target, entry(name, data=b"evil"))


def test_an_absolute_name_is_taken_from_the_layers_root(target: Path) -> None:
    extract(target, entry("/etc/x", data=b"x"))
    assert (target / "etc/x").read_bytes() == b"x"


@pytest.mark.parametrize("link", ["../host", "../../../../../../host", "/host", "x/../../host"])
def test_a_file_behind_a_link_stays_inside(target: Path, link: str) -> None:
    extract(
        target,
        entry("host", DIRECTORY, mode=0o755),
        entry("x", DIRECTORY),
        entry("l", LINK, link=link),
        entry("l/file", data=b"evil"),
    )
    assert (target / "host/file").read_bytes() == b"evil"


def test_a_file_replaces_a_link_and_does_not_write_through_it(target: Path) -> None:
    extract(target, entry("l", LINK, link=f"{target.parent}/host/file"), entry("l", data=b"evil"))
    assert (target / "l").read_bytes() == b"evil"
    assert not (target / "l").is_symlink()


def test_a_hard_link_through_a_link_stays_inside(target: Path) -> None:
    with pytest.raises(CorruptContent, match="not in the layer"):
        extract(target, entry("l", LINK, link="/../host"), entry("h", HARD, link="l/file"))


def test_a_hard_link_to_a_link_links_the_link(target: Path) -> None:
    extract(target, entry("l", LINK, link=f"{target.parent}/host/file"), entry("h", HARD, link="l"))
    assert (target / "h").is_symlink()


def test_a_hard_link_to_the_outside_is_refused(target: Path) -> None:
    with pytest.raises(CorruptContent, match="leads outside"):
        extract(target, entry("h", HARD, link="../host/file"))


def test_a_directory_entry_over_a_link_does_not_change_its_target(target: Path) -> None:
    before = (target.parent / "host").stat()
    extract(target, entry("l", LINK, link=f"{target.parent}/host"), entry("l", DIRECTORY, mode=0o777, uid=9))
    assert (target / "l").is_dir()
    assert not (target / "l").is_symlink()
    after = (target.parent / "host").stat()
    assert (after.st_mode, after.st_uid) == (before.st_mode, before.st_uid)


def test_links_in_a_circle_are_an_error(target: Path) -> None:
    with pytest.raises(CorruptContent, match="cannot be unpacked"):
        extract(target, entry("a", LINK, link="b"), entry("b", LINK, link="a"), entry("a/f", data=b"x"))


@pytest.mark.parametrize("cut", [100, 700, 1600])
def test_an_archive_that_is_cut_off_is_corrupt(target: Path, cut: int) -> None:
    data = tar(entry("a", data=b"x" * 600), entry("b", data=b"y" * 600))[:cut]
    with pytest.raises(CorruptContent):
        unpack(io.BytesIO(data), str(target), "l")


def test_garbage_between_entries_is_no_end_of_the_archive(target: Path) -> None:
    data = tar(entry("a", data=b"x"))[:1024] + b"garbage" * 200 + tar(entry("b", data=b"y"))
    with pytest.raises(CorruptContent, match="header"):
        unpack(io.BytesIO(data), str(target), "l")


def test_garbage_is_corrupt(target: Path) -> None:
    with pytest.raises(CorruptContent, match=r"cannot be read|not a readable tar archive"):
        unpack(io.BytesIO(b"garbage" * 500), str(target), "l")


def test_unpacking_stops_when_nobody_wants_it(target: Path) -> None:
    with pytest.raises(InterruptedError):
        unpack(io.BytesIO(tar(entry("a", data=b"x"))), str(target), "l", lambda: True)


def test_a_tree_deeper_than_descriptors_and_paths_allow_is_removed(target: Path) -> None:
    name = "d" * 40
    steep = "/".join([name] * 60)
    entries = []
    for step in range(8):
        # each link leads to the end of what is there, so the tree grows beyond any path limit
        where = steep if step == 0 else f"l{step - 1}/{steep}"
        entries.append(entry(where, DIRECTORY))
        entries.append(entry(f"l{step}", LINK, link=where))
    extract(target, *entries)
    paths.remove_tree(target / name)
    assert not (target / name).exists()


def test_removal_does_not_follow_links(target: Path) -> None:
    extract(target, entry("d", DIRECTORY), entry("d/l", LINK, link=f"{target.parent}/host"))
    paths.remove_tree(target / "d")
    assert list(target.iterdir()) == []
