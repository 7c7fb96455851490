"""Which part of the tree of cgroup2 is taken for ours, by the marks of a service manager."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.kernel.cgroups import delegation


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree in which system.slice/w.service, the group below it and the service of a user's manager are marked."""
    marked, session = tmp_path / "system.slice/w.service", tmp_path / "user.slice/user-0.slice/user@0.service"
    (marked / "inner/most").mkdir(parents=True)
    session.mkdir(parents=True)

    def mark(path: str, name: str) -> bytes:
        if name == "trusted.delegate" and path in (str(marked), str(marked / "inner"), str(session)):
            return b"1"
        raise OSError(61, "no such attribute")

    monkeypatch.setattr("os.getxattr", mark)
    return tmp_path


@pytest.mark.parametrize(
    ("own", "found"),
    [
        ("/", ""),
        ("/system.slice", ""),
        ("/system.slice/w.service", "/system.slice/w.service"),
        ("/system.slice/w.service/inner/most", "/system.slice/w.service"),
        ("/../other.service", ""),
        ("/user.slice/user-0.slice/user@0.service/app.slice/terminal.scope", ""),
    ],
)
def test_the_outermost_marked_group_around_the_process_is_ours(
    root: Path, monkeypatch: pytest.MonkeyPatch, own: str, found: str
) -> None:
    monkeypatch.setattr(delegation, "own_path", lambda: own)
    assert delegation.subtree(str(root)) == found


def test_processes_of_the_delegated_group_move_into_a_leaf(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unit = root / "system.slice/w.service"
    monkeypatch.setattr(delegation, "own_path", lambda: "/system.slice/w.service")
    (unit / "cgroup.type").write_text("domain")
    (unit / "cgroup.procs").write_text("0\n17\n")
    delegation.settle(str(root))
    assert (unit / "services/cgroup.procs").read_text() == "17"


def test_the_real_root_is_left_as_it_is(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delegation, "own_path", lambda: "/")
    (root / "cgroup.procs").write_text("1\n")
    delegation.settle(str(root))
    assert not (root / "services").exists()
