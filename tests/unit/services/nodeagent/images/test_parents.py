"""Attributes of directories that a layer only passes through."""

from __future__ import annotations

import io
import stat
from pathlib import Path
from typing import Any

import pytest

from services.nodeagent.images import parents
from services.nodeagent.images.model import Layer
from services.nodeagent.images.parents import Attributes
from services.nodeagent.images.unpack import unpack
from tests.unit.shared.images.archives import DIRECTORY, LINK, entry, tar

pytestmark = pytest.mark.root
TMP = entry("tmp", DIRECTORY, mode=0o1777, gid=3)
FILE = entry("tmp/x", data=b"x")


def layer(tmp_path: Path, name: str, *entries: Any) -> tuple[Path, tuple[str, ...]]:
    path = tmp_path / name
    path.mkdir()
    return path, unpack(io.BytesIO(tar(*entries)), str(path), name).implicit


def wanted(tmp_path: Path, upper: list[Any], *lower: list[Any]) -> dict[str, Attributes]:
    below = [layer(tmp_path, f"lower{i}", *entries)[0] for i, entries in enumerate(lower)]
    path, implicit = layer(tmp_path, "upper", *upper)
    return parents.wanted(path, implicit, below)


def test_attributes_come_from_the_nearest_lower_layer(tmp_path: Path) -> None:
    found = wanted(tmp_path, [FILE], [TMP], [entry("tmp", DIRECTORY, mode=0o700)], [entry("a", data=b"x")])
    assert found == {"tmp": Attributes(0o700, 0, 0)}


def test_a_directory_with_an_entry_of_its_own_is_left_alone(tmp_path: Path) -> None:
    assert wanted(tmp_path, [entry("tmp", DIRECTORY, mode=0o755), FILE], [TMP]) == {}


def test_nothing_is_wanted_if_nothing_differs(tmp_path: Path) -> None:
    assert wanted(tmp_path, [FILE], [entry("tmp", DIRECTORY, mode=0o755)]) == {}


def test_a_directory_that_was_deleted_in_between_counts_for_nothing(tmp_path: Path) -> None:
    assert wanted(tmp_path, [FILE], [TMP], [entry(".wh.tmp")]) == {}


def test_a_link_below_counts_for_nothing(tmp_path: Path) -> None:
    assert wanted(tmp_path, [FILE], [TMP], [entry("tmp", LINK, link="var")]) == {}


def test_the_extra_layer_has_the_directories_and_nothing_else(tmp_path: Path) -> None:
    path, _ = layer(tmp_path, "upper", entry("a/b/c", data=b"x"))
    target = tmp_path / "extra"
    target.mkdir()
    parents.build(target, path, {"a/b": Attributes(0o1770, 5, 6)})
    found = (target / "a/b").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o1770, 5, 6)
    assert sorted(str(p.relative_to(target)) for p in target.rglob("*")) == ["a", "a/b"]


def test_the_same_need_has_the_same_name() -> None:
    own = Layer("n", "sha256:" + "a" * 64, 0)
    one, two = {"tmp": Attributes(0o1777, 0, 0)}, {"tmp": Attributes(0o1777, 0, 1)}
    assert parents.name_of(own, one) == parents.name_of(own, dict(one))
    assert parents.name_of(own, one) != parents.name_of(own, two)
