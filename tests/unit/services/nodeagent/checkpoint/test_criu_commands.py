"""criu's command lines, what it is told is outside of a container, and what is made of its log."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.nodeagent.checkpoint import criu, external
from services.nodeagent.checkpoint.external import External
from services.nodeagent.keeper import plan
from services.nodeagent.runtime.model import ContainerSpec, Mount, SandboxSpec
from shared.kernel.cgroups.groups import GroupMount


@pytest.mark.parametrize(
    "line",
    [
        "(00.089913)      1: Error (criu/mount-v2.c:628): mnt-v2: no such mount",
        "     1: Error (criu/mount-v2.c:628): mnt-v2: no such mount",
        "(00.099801) Error (criu/mount-v2.c:628): mnt-v2: no such mount",
        "Error (criu/mount-v2.c:628): mnt-v2: no such mount",
    ],
)
def test_errors_are_found_in_logs_of_any_level(tmp_path: Path, line: str) -> None:
    (tmp_path / "log").write_text(f"Warn  (criu/x.c:1): something\n{line}\n")
    assert criu.failure(str(tmp_path / "log")) == "criu: mnt-v2: no such mount"


def test_a_missing_log_is_no_second_failure(tmp_path: Path) -> None:
    assert "does `criu check` succeed?" in criu.failure(str(tmp_path / "restore.log"))


def test_an_external_file_is_named_once_however_often_it_is_open() -> None:
    assert criu.with_files(["criu"], ["file[1:2]", "file[1:2]"]) == ["criu", "--external", "file[1:2]"]


def test_volumes_shared_memory_and_groups_come_from_outside() -> None:
    spec = ContainerSpec(
        "c",
        "s",
        "c",
        ["true"],
        lower=["/l"],
        writable="/w",
        mounts=[Mount("/host", "/data/"), Mount("t", "/t", "tmpfs")],
    )
    steps = plan.plan_root(spec, SandboxSpec("s"), "/shm", [GroupMount("cgroup2", "", "")]).inside
    targets = [target for step in steps if (target := external.external_target(step))]
    assert sorted(targets) == ["/data", "/dev/shm", "/sys/fs/cgroup"]


def test_mounts_below_a_volume_are_taken_from_below_its_place() -> None:
    staged = {"/data": "/stage/1", "/data/inner": "/stage/2"}
    assert external.sources(["/data", "/data/sub", "/data/inner/x"], staged) == {
        "/data": "/stage/1",
        "/data/sub": "/stage/1/sub",
        "/data/inner/x": "/stage/2/x",
    }
    with pytest.raises(ValueError, match="/database that the container no longer has"):
        external.sources(["/database"], staged)


def test_what_is_outside_is_remembered_beside_the_images(tmp_path: Path) -> None:
    outside = External(["/data"], {"stdout": "file[1:2]"})
    outside.save(str(tmp_path))
    assert External.load(str(tmp_path)) == outside
