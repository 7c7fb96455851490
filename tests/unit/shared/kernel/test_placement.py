"""Directories are spread over a file system that can do so, and others are left alone."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from shared.kernel import placement


def test_a_directory_on_ext4_is_marked_as_a_top_of_the_hierarchy(tmp_path: Path) -> None:
    kind = subprocess.run(["stat", "-fc", "%T", tmp_path], check=True, capture_output=True, text=True).stdout
    if kind.strip() != "ext2/ext3":
        pytest.skip(f"{tmp_path} is on {kind.strip()}, which knows of no such marks")
    placement.spread(tmp_path)
    placement.spread(tmp_path)
    listed = subprocess.run(["lsattr", "-d", tmp_path], check=True, capture_output=True, text=True).stdout
    assert "T" in listed.split()[0]


def test_a_file_system_without_such_marks_is_left_alone() -> None:
    placement.spread("/proc")
    assert os.path.isdir("/proc")


def test_a_directory_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        placement.spread(tmp_path / "missing")
