"""Bundles with busybox, and the runtime as its callers drive it: one process for each command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.leaks import Leaks, no_leaks
from tests.slowness import LIMIT_S

__all__ = ["no_leaks"]

APPLETS = (
    "cat chmod date echo env false grep head hostname id ls mkdir mount ps pwd readlink rm sh sleep stat stty "
    "sync tail test touch tr true tty umount uname unshare wc"
)


def command() -> list[str]:
    return [sys.executable, "-m", "services.nodeagent.oci"]


def eventually(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + LIMIT_S
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come to be within {LIMIT_S:g} s")
        time.sleep(0.01)
    return value


def make_rootfs(directory: Path) -> None:
    for name in ("bin", "dev", "etc", "proc", "sys", "tmp"):
        (directory / name).mkdir(parents=True)
    directory.chmod(0o755)
    shutil.copy("/bin/busybox", directory / "bin/busybox")
    for applet in APPLETS.split():
        (directory / "bin" / applet).symlink_to("busybox")
    (directory / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n")


class Bundle:
    """A bundle whose `config` is changed before `create`; all commands act on one container."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.id = f"oci{os.urandom(4).hex()}"
        self.root = directory / "state"
        self.rootfs = directory / "rootfs"
        make_rootfs(self.rootfs)
        safe = ["nosuid", "noexec", "nodev"]
        self.config: dict[str, Any] = {
            "ociVersion": "1.0.2",
            "root": {"path": "rootfs"},
            "hostname": "inside",
            "process": {"cwd": "/", "args": ["true"], "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
                {
                    "destination": "/dev/pts",
                    "type": "devpts",
                    "source": "devpts",
                    "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
                },
                {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*safe, "ro"]},
            ],
            "linux": {
                "cgroupsPath": f"/{self.id}/container",
                "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")],
            },
        }

    @property
    def process(self) -> dict[str, Any]:
        process: dict[str, Any] = self.config["process"]
        return process

    @property
    def linux(self) -> dict[str, Any]:
        linux: dict[str, Any] = self.config["linux"]
        return linux

    def shell(self, script: str) -> None:
        self.process["args"] = ["sh", "-c", script]

    def save(self) -> None:
        (self.directory / "config.json").write_text(json.dumps(self.config))

    def run(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command(), "--root", str(self.root), *words],
            text=True,
            check=False,
            timeout=LIMIT_S,
            **({"capture_output": True, "stdin": subprocess.DEVNULL} | options),
        )

    def ok(self, *words: str, **options: Any) -> str:
        done = self.run(*words, **options)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return str(done.stdout)

    def create(self) -> None:
        """The container's output goes to the file `output`."""
        self.save()
        with open(self.directory / "output", "wb") as output, open(self.directory / "errors", "wb") as errors:
            done = self.run(
                "create", "--bundle", str(self.directory), self.id, capture_output=False, stdout=output, stderr=errors
            )
        assert done.returncode == 0, (self.directory / "errors").read_text()

    def foreground(self) -> subprocess.CompletedProcess[str]:
        self.save()
        return self.run("run", "--bundle", str(self.directory), self.id)

    def output(self) -> str:
        """Run in the foreground, successfully, and return what it wrote."""
        done = self.foreground()
        assert done.returncode == 0, (done.stdout, done.stderr)
        return done.stdout

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self.ok("state", self.id))
        return state

    def wait_status(self, status: str) -> None:
        eventually(lambda: self.state()["status"] == status, f"the status {status}")

    def delete(self) -> None:
        self.run("delete", "--force", self.id)


@pytest.fixture
def bundle(tmp_path: Path, no_leaks: Leaks) -> Iterator[Bundle]:
    """A container that leaves nothing behind."""
    made = Bundle(tmp_path)
    no_leaks.only(made.id)
    try:
        yield made
    finally:
        made.delete()
