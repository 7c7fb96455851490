"""The control groups of a container that is run by itself: every hierarchy of the host, at the path config.json names.

The keeper keeps to its own subtree and to the controllers it needs; here the caller decides the path, expects the
container in all hierarchies, and expects that nothing is removed that was there before.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterable

from services.nodeagent.keeper import plan
from services.nodeagent.oci.resources import Setting, device_rules, settings_v1, settings_v2
from shared.kernel import signals
from shared.kernel.cgroups import devices, groups
from shared.kernel.cgroups.groups import DeviceRule
from shared.kernel.mounts import MountPoint, mount_points

DEFAULT_PARENT = "/wherry-runtime"
REMOVAL_LIMIT_S = 5.0
_CONTROLLERS_V2 = ("cpu", "cpuset", "io", "memory", "pids", "hugetlb", "rdma", "misc")


class Hierarchies:
    """What is mounted: `controllers` (v1, by name, also the named hierarchies) and `unified`, the cgroup2 or ""."""

    def __init__(self, points: list[MountPoint] | None = None) -> None:
        self.controllers: dict[str, str] = {}
        self.unified = ""
        for point in mount_points(("cgroup", "cgroup2")) if points is None else points:
            if point.kind == "cgroup2":
                self.unified = self.unified or point.target
            elif point.kind == "cgroup":
                for option in point.super_options:
                    if option not in ("rw", "ro", "xattr", "noprefix", "clone_children"):
                        self.controllers.setdefault(option, point.target)
        if not self.controllers and not self.unified:
            raise RuntimeError("no cgroup file system is mounted at /sys/fs/cgroup")

    @property
    def version(self) -> int:
        return 1 if self.controllers else 2

    def roots(self) -> list[str]:
        """Every hierarchy once."""
        return list(dict.fromkeys([*self.controllers.values(), *([self.unified] if self.unified else [])]))


def path_of(container_id: str, wanted: str, *, systemd: bool) -> str:
    """The group's path below each root, beginning with "/". ValueError for one that leads elsewhere.

    With `systemd`, `wanted` is slice:prefix:name, whose place in the tree is used without asking systemd.
    """
    if not wanted:
        return f"{DEFAULT_PARENT}/{container_id}"
    if systemd and wanted.count(":") == 2:
        slice_, prefix, name = wanted.split(":")
        unit = name if name.endswith(".slice") else f"{prefix}-{name}.scope" if prefix else f"{name}.scope"
        return f"{_slice_path(slice_ or 'system.slice')}/{unit}"
    parts = [part for part in wanted.split("/") if part not in ("", ".")]
    if ".." in parts or not parts:
        raise ValueError(f"linux.cgroupsPath {wanted!r} is not a path below the root of the hierarchy")
    return "/" + "/".join(parts)


def _slice_path(name: str) -> str:
    """`a-b.slice` lies in `a.slice` (systemd.slice(5))."""
    words = name.removesuffix(".slice").split("-")
    if words == [""]:
        return ""
    return "".join("/" + "-".join(words[: count + 1]) + ".slice" for count in range(len(words)))


class ContainerGroups:
    """The groups of one container. `made` are the directories that `create` made, parents first."""

    def __init__(self, path: str, made: Iterable[str] = (), hierarchies: Hierarchies | None = None) -> None:
        self.path = path
        self.made = list(made)
        self._hierarchies = hierarchies or Hierarchies()

    @property
    def version(self) -> int:
        return self._hierarchies.version

    def directory(self, controller: str) -> str:
        """The group's directory in a controller's hierarchy, or "" if the host has none."""
        if self.version == 2:
            return self._hierarchies.unified + self.path
        root = self._hierarchies.controllers.get(controller, "")
        return root and root + self.path

    def visible(self) -> list[tuple[str, list[str], str]]:
        """(name below /sys/fs/cgroup, controllers, the container's directory) of every v1 hierarchy."""
        names: dict[str, list[str]] = {}
        for controller, root in self._hierarchies.controllers.items():
            names.setdefault(root, []).append(controller)
        return [(root.rpartition("/")[2], found, root + self.path) for root, found in names.items()]

    def create(self) -> None:
        """Make the group in every hierarchy."""
        cpuset = self._hierarchies.controllers.get("cpuset")
        for root in self._hierarchies.roots():
            made = groups.make_directories(root, self.path)
            self.made += made
            if root == cpuset:
                _inherit_cpuset(root, self.path)
            if root == self._hierarchies.unified and self.version == 2:
                _hand_down(root, self.path)

    def apply(self, resources: dict[str, object]) -> list[str]:
        """Set the limits; return what was passed over. ValueError, OSError for what cannot be done."""
        settings = settings_v1(resources) if self.version == 1 else settings_v2(resources)
        warnings = []
        pending = settings
        while pending:
            refused: list[Setting] = []
            problem: OSError | None = None
            for setting in pending:
                try:
                    warnings += self._write(setting)
                except OSError as exc:
                    if exc.errno != errno.EINVAL:
                        raise
                    refused.append(setting)  # two that must keep an order which depends on what was set before
                    problem = problem or exc
            if problem is not None and len(refused) == len(pending):
                raise problem
            pending = refused
        return warnings

    def _write(self, setting: Setting) -> list[str]:
        directory = self.directory(setting.controller)
        for file in setting.files if directory else ():
            path = f"{directory}/{file}"
            if os.path.exists(path):
                try:
                    groups.write(path, setting.value)
                except OSError as exc:
                    if setting.optional:
                        return [f"linux.resources.{setting.field} is not set: {exc.strerror}"]
                    raise
                return []
        if setting.otherwise is not None:
            return self._write(setting.otherwise)
        problem = f"linux.resources.{setting.field} cannot be set: this host has no {setting.files[0]}"
        if setting.optional:
            return [problem]
        raise ValueError(problem)

    def restrict_devices(self, resources: dict[str, object]) -> list[str]:
        """Apply the listed rules in order, then permit what every container may use; return warnings."""
        rules = device_rules(resources)
        if not rules:
            return []
        rules += plan.ALLOWED_DEVICES
        directory = self._hierarchies.controllers.get("devices")
        if directory:
            for rule in rules:
                groups.write(f"{directory}{self.path}/devices.{'allow' if rule.allow else 'deny'}", _line(rule))
            return []
        if not self._hierarchies.unified:
            return ["devices are not restricted: this host has no devices cgroup controller"]
        return devices.restrict(self._hierarchies.unified + self.path, tuple(rules))

    def birth_fd(self) -> int:
        """A descriptor for clone3's CLONE_INTO_CGROUP, or -1."""
        if not self._hierarchies.unified:
            return -1
        return os.open(self._hierarchies.unified + self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def entrances(self) -> list[str]:
        """Files to which a newborn process of one thread writes "0", after `birth_fd`."""
        return [f"{root}{self.path}/tasks" for root in dict.fromkeys(self._hierarchies.controllers.values())]

    def processes(self) -> list[int]:
        return groups.member_ids(self._any())

    def _any(self) -> str:
        return (self._hierarchies.unified or self._hierarchies.roots()[0]) + self.path

    def signal(self, number: int) -> None:
        """Send a signal to every process in the group and below."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def freeze(self, *, frozen: bool) -> None:
        """Stop or resume every process of the group, and wait until it is so."""
        if self._hierarchies.unified:
            groups.write(f"{self._any()}/cgroup.freeze", "1" if frozen else "0")
        elif "freezer" in self._hierarchies.controllers:
            groups.write(f"{self.directory('freezer')}/freezer.state", "FROZEN" if frozen else "THAWED")
        else:
            raise RuntimeError("this host has no way to freeze a control group")
        deadline = time.monotonic() + REMOVAL_LIMIT_S
        while self.frozen() != frozen:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the processes of {self.path} were not {'frozen' if frozen else 'resumed'}")
            time.sleep(0.002)

    def frozen(self) -> bool:
        if self._hierarchies.unified:
            return groups.table(groups.read(f"{self._any()}/cgroup.events")).get("frozen", 0) == 1
        if "freezer" in self._hierarchies.controllers:
            return groups.read(f"{self.directory('freezer')}/freezer.state").strip() == "FROZEN"
        return False

    def remove(self) -> None:
        """Kill what is left in it and remove the directories that `create` made, with what the container put there.

        OSError(EBUSY) if processes do not go away.
        """
        own = [root + self.path for root in self._hierarchies.roots() if root + self.path in self.made]
        deadline = time.monotonic() + REMOVAL_LIMIT_S
        while not groups.remove_directories(own, "", parents=False):
            if time.monotonic() > deadline:
                raise OSError(errno.EBUSY, "processes in the control group do not end", self.path)
            if self._any() in own:
                groups.kill_members(self._any())
                with contextlib.suppress(OSError, RuntimeError, TimeoutError):
                    self.freeze(frozen=False)
            time.sleep(0.002)
        shared = [root + DEFAULT_PARENT for root in self._hierarchies.roots()]  # whoever made it, the last one removes
        for directory in [*reversed(self.made), *(shared if self.path.startswith(f"{DEFAULT_PARENT}/") else [])]:
            with contextlib.suppress(OSError):
                os.rmdir(directory)

    def kill(self) -> None:
        """SIGKILL for everything in the group."""
        with contextlib.suppress(FileNotFoundError):
            groups.kill_members(self._any())
        self.signal(signals.SIGKILL)


def _line(rule: DeviceRule) -> str:
    major, minor = ("*" if part is None else part for part in (rule.major, rule.minor))
    return f"{rule.kind} {major}:{minor} {rule.access}"


def _inherit_cpuset(root: str, path: str) -> None:
    """Both lists are empty in a new group, and no task may enter it so."""
    directory = root
    for part in path.strip("/").split("/"):
        parent, directory = directory, f"{directory}/{part}"
        for name in ("cpuset.cpus", "cpuset.mems"):
            if not groups.read(f"{directory}/{name}").strip():
                groups.write(f"{directory}/{name}", groups.read(f"{parent}/{name}").strip())


def _hand_down(root: str, path: str) -> None:
    """Give the group what its parents have; one that may not hand down ("no internal processes") stays as it is."""
    directory = root
    for part in path.strip("/").split("/"):
        available = set(groups.read(f"{directory}/cgroup.controllers").split())
        enabled = set(groups.read(f"{directory}/cgroup.subtree_control").split())
        for name in _CONTROLLERS_V2:
            if name in available - enabled:
                with contextlib.suppress(OSError):
                    groups.write(f"{directory}/cgroup.subtree_control", f"+{name}")
        directory = f"{directory}/{part}"
