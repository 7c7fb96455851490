"""The other runtimes of the table in `make bench-node`: each as one command that runs `true` in a container."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests import docker as dockers

Run = Callable[[str], None]

_PODMAN = ("podman", "run", "--rm", "--network", "none", "--log-driver", "none")


def bundle(directory: Path, layer: Path) -> Path:
    """A bundle whose container gets what a pod's does: all namespaces, a control group, Docker's kind of filter."""
    from services.nodeagent.keeper import capabilities, seccomp

    made = directory / "bundle"
    shutil.copytree(layer, made / "rootfs", symlinks=True)
    names = [f"CAP_{name}" for name in sorted(capabilities.DEFAULT)]
    safe = ["nosuid", "noexec", "nodev"]
    document: dict[str, Any] = {
        "ociVersion": "1.0.2",
        "process": {
            "args": ["/bin/true"],
            "cwd": "/",
            "env": ["PATH=/bin"],
            "user": {"uid": 0, "gid": 0},
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), names),
        },
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": safe},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": safe},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*safe, "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": [*safe, "ro"]},
        ],
        "linux": {
            "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")],
            "resources": {"memory": {"limit": 256 << 20}, "devices": [{"allow": False, "access": "rwm"}]},
            "seccomp": seccomp.profile(capabilities.DEFAULT),
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    }
    (made / "config.json").write_text(json.dumps(document))
    return made


def _command(words: list[str], **options: Any) -> None:
    options.setdefault("env", {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"})
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, **options)


@contextmanager
def peers(directory: Path, layer: Path) -> Iterator[dict[str, Run]]:
    """What is installed, by the name of its row. A mount namespace of their own hides cgroup2 beside v1, which crun
    cannot work with; entering it is done once, before anything is measured."""
    place = bundle(directory, layer)
    root = str(directory / "state")
    found: dict[str, Run] = {}
    ours = [str(Path(sys.executable).with_name("wherry-runtime"))]
    for name, command in (("wherry-runtime run", ours), ("runc run", ["runc"]), ("crun run", ["crun"])):
        if name.startswith("wherry") or shutil.which(command[0]):
            words = [*command, "--root", root, "run", "--bundle", str(place)]
            found[name] = lambda identity, words=words: _command([*words, identity])  # type: ignore[misc]
    with ExitStack() as stack:
        if dockers.installed():
            home = directory / f"bench{os.getpid()}"
            home.mkdir()
            docker = stack.enter_context(dockers.daemon(home))
            docker.load(layer, "bench")
            words = docker.command("run", "--rm", "--network", "none", "bench", "/bin/true")
            found["docker run"] = lambda _identity: _command(words, env=docker.environment)
        if shutil.which("podman"):
            podman = [*_PODMAN, "--rootfs", str(place / "rootfs"), "/bin/true"]
            settings = directory / "containers.conf"  # its usual limits need CAP_SYS_RESOURCE
            settings.write_text('[containers]\ndefault_ulimits = []\n[engine]\ncgroup_manager = "cgroupfs"\n')
            changed = {**os.environ, "CONTAINERS_CONF": str(settings)}
            found["podman run"] = lambda _identity: _command(podman, stderr=subprocess.DEVNULL, env=changed)
        yield found


def hide_second_generation() -> None:
    """Leave the mount namespace for one without cgroup2 beside v1."""
    from shared.kernel import mounts, syscalls

    points = mounts.mount_points()
    if any(point.kind == "cgroup" for point in points):
        syscalls.unshare(syscalls.CLONE_NEWNS)
        syscalls.mount("", "/", "", syscalls.MS_SLAVE | syscalls.MS_REC)
        for point in points:
            if point.kind == "cgroup2":
                mounts.unmount(point.target)
