"""The reserve on the disk of the broker's store."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from shared.errors import StorageFull
from shared.state import space
from shared.state.space import Space, reserve


def test_the_reserve_is_a_share_of_a_small_disk_and_bounded_on_a_large_one() -> None:
    assert reserve(1 << 30) == int((1 << 30) * 0.05)
    assert reserve(1 << 40) == 256 << 20


def test_less_than_the_reserve_refuses_and_space_that_returns_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free, clock = [10_000], [0.0]
    monkeypatch.setattr(
        os, "statvfs", lambda path: SimpleNamespace(f_bavail=free[0], f_frsize=1 << 20, f_blocks=100_000)
    )
    watched = Space(tmp_path, lambda: clock[0])
    watched.check()
    free[0] = 100
    # measured a moment ago
    watched.check()
    clock[0] += space.FRESH_S
    with pytest.raises(StorageFull, match="100 MiB of free space, less than the reserve of 256 MiB"):
        watched.check()
    free[0] = 300
    watched.check()


def test_a_disk_with_little_more_than_the_reserve_is_measured_at_every_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = [300]
    monkeypatch.setattr(
        os, "statvfs", lambda path: SimpleNamespace(f_bavail=free[0], f_frsize=1 << 20, f_blocks=100_000)
    )
    watched = Space(tmp_path, lambda: 0.0)
    watched.check()
    free[0] = 255
    with pytest.raises(StorageFull):
        watched.check()


def test_a_store_on_another_machine_is_not_watched(tmp_path: Path) -> None:
    Space(tmp_path / "elsewhere").check()
