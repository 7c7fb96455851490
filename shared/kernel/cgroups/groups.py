"""What a container runtime asks of control groups, whichever generation the host has mounted.

A group is named by its path below one subtree of the hierarchy (`/<cluster>/<node>`), the only place ever written to.
Three layouts exist: `v1` (a mount per controller), `hybrid` (the same plus a cgroup2 without controllers, used here for
killing, freezing and birth into a group) and `v2`. See cgroups(7) and the kernel's admin-guide/cgroup-v2.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable

from shared.kernel import signals
from shared.kernel.cgroups import delegation
from shared.kernel.mounts import MountPoint, mount_points
from shared.records import frozen, mutable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol
else:
    Protocol = object


@mutable
class Limits:
    """Limits of one group; `None` (or "") leaves what is set."""

    cpu_shares: int | None = None  # 2..262144, 1024 is one CPU's worth
    cpu_quota_us: int | None = None  # CPU time per period; -1 is unlimited
    cpu_period_us: int | None = None  # default 100000
    cpuset_cpus: str = ""  # "0-1,4"
    memory_bytes: int | None = None  # hard limit, swap included; -1 is unlimited
    memory_reservation_bytes: int | None = None
    pids: int | None = None  # -1 is unlimited
    oom_group: bool | None = None  # whether all processes are killed when one is for memory; not known to v1


@mutable
class Counters:
    """Counters since the group was made; bytes, nanoseconds, counts. `working_set_bytes` as cAdvisor computes it."""

    cpu_ns: int = 0
    cpu_user_ns: int = 0
    cpu_system_ns: int = 0
    cpu_periods: int = 0
    cpu_throttled_periods: int = 0
    cpu_throttled_ns: int = 0
    memory_bytes: int = 0
    memory_limit_bytes: int = 0  # 0 is unlimited
    memory_peak_bytes: int = 0
    working_set_bytes: int = 0
    rss_bytes: int = 0
    cache_bytes: int = 0
    mapped_bytes: int = 0
    swap_bytes: int = 0
    page_faults: int = 0
    major_page_faults: int = 0
    memory_failures: int = 0
    oom_kills: int = 0
    pids: int = 0
    pids_limit: int = 0  # 0 is unlimited
    read_bytes: int = 0
    write_bytes: int = 0
    reads: int = 0
    writes: int = 0
    # pressure stall information (PSI): some tasks waited, or all were stalled at once
    cpu_waiting_ns: int = 0
    cpu_stalled_ns: int = 0
    memory_waiting_ns: int = 0
    memory_stalled_ns: int = 0
    io_waiting_ns: int = 0
    io_stalled_ns: int = 0


@frozen
class DeviceRule:
    """One permitted device: `kind` b, c or a; None for any number; `access` of the letters r, w, m.

    Without `allow` it is refused. Of several rules that fit the last decides.
    """

    kind: str
    major: int | None
    minor: int | None
    access: str
    allow: bool = True


@frozen
class GroupMount:
    """How a container sees its groups: `kind` and `options` for mount(2), `name` the directory below /sys/fs/cgroup."""

    kind: str
    name: str
    options: str


class Groups(Protocol):
    """All groups of one node. A missing controller is a warning of `limit`, never a failure."""

    layout: str

    def create(self, path: str) -> None:
        """Make the group and its parents; one that exists stays as it is."""

    def limit(self, path: str, limits: Limits) -> list[str]:
        """Set the limits; return what the host cannot do. OSError when the kernel refuses a value."""

    def absolute(self, path: str) -> str:
        """The group's path from the root of the hierarchy, as /proc/<pid>/cgroup shows it."""

    def restrict_devices(self, path: str, allowed: Iterable[DeviceRule]) -> list[str]:
        """Refuse every device but those `allowed`; return a warning if the host cannot."""

    def birth_fd(self, path: str) -> int:
        """A descriptor for clone3's CLONE_INTO_CGROUP, or -1; the caller closes it."""

    def entrances(self, path: str) -> list[str]:
        """Files to which a newborn process of one thread writes "0" to be in the group, after `birth_fd`."""

    def adopt(self, path: str, pid: int) -> None:
        """Move a process that somebody else has started into the group."""

    def sweep(self, path: str) -> None:
        """Remove what another runtime has left of the group in trees that are not used here, with empty parents."""

    def processes(self, path: str) -> list[int]:
        """Process ids in the group and below."""

    def kill(self, path: str) -> None:
        """Send SIGKILL to every process in the group and below; they may take a moment to end."""

    def freeze(self, path: str, frozen: bool) -> None:
        """Stop or resume every process in the group."""

    def freezer(self, path: str) -> str:
        """The directory by whose freezer others may stop the group. ValueError if this host cannot do that."""

    def remove(self, path: str, *, parents: bool = False) -> bool:
        """Remove the group, those below and, if asked, parents left empty; False while processes are still in it."""

    def counters(self, path: str) -> Counters:
        """Read the counters; those of a missing controller are 0. FileNotFoundError if there is no such group."""

    def oom_kills(self, path: str) -> int:
        """How many processes the kernel has killed for memory in the group and below."""

    def container_mounts(self) -> list[GroupMount]:
        """The mounts that show a container its own groups, for a process in a new cgroup namespace."""

    def remove_all(self) -> bool:
        """Kill and remove the whole subtree; False while processes are still in it."""


def read(path: str) -> str:
    """The text of a group's file, or "" if there is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return ""
    try:
        data = os.read(fd, 65536)
        while len(data) % 4096 == 0 and (more := os.read(fd, 65536)):
            data += more
        return data.decode("ascii", "replace")
    except OSError as exc:
        if exc.errno in (errno.ENODEV, errno.EOPNOTSUPP):
            return ""
        raise
    finally:
        os.close(fd)


def write(path: str, value: str) -> None:
    """Write one value. OSError naming the file and the value."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode("ascii"))
    except OSError as exc:
        raise OSError(exc.errno, f"{os.strerror(exc.errno or 0)} writing {value!r}", path) from exc
    finally:
        os.close(fd)


def number(text: str) -> int:
    """A count; unlimited ("max", or v1's page-rounded 2^63) and unreadable are 0."""
    text = text.strip()
    value = int(text) if text.isdecimal() else 0
    return 0 if value >= 1 << 62 else value


def table(text: str) -> dict[str, int]:
    """The `key value` lines of a stat file."""
    result = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if value.isdecimal():
            result[key] = int(value)
    return result


def make_directories(root: str, path: str) -> list[str]:
    """Make `root` + `path` with parents; return the directories that were made, top first."""
    target = root + path
    try:
        os.mkdir(target, 0o755)
        return [target]
    except FileExistsError:
        return []
    except FileNotFoundError:
        made = make_directories(root, path.rpartition("/")[0])
        with contextlib.suppress(FileExistsError):
            os.mkdir(target, 0o755)
        return [*made, target]


def descendants(directory: str) -> list[str]:
    """The groups below, then the group itself: the order in which they can be removed."""
    found: list[str] = []
    try:
        with os.scandir(directory) as entries:
            children = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []
    for child in children:
        found += descendants(child)
    return [*found, directory]


def _removed(directory: str) -> bool:
    """Remove one group; False if the kernel says that it has processes or groups in it."""
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        return True
    except OSError as exc:
        if exc.errno in (errno.EBUSY, errno.ENOTEMPTY):
            return False
        raise
    return True


def remove_directories(roots: Iterable[str], path: str, *, parents: bool) -> bool:
    """In every tree remove `path` and all below it; `parents`: also those that are then empty. False while busy."""
    done = True
    for root in roots:
        if not (_removed(root + path) or all(map(_removed, descendants(root + path)))):
            done = False
            continue
        parent = path.rpartition("/")[0] if parents else ""
        with contextlib.suppress(OSError):
            while parent:
                os.rmdir(root + parent)
                parent = parent.rpartition("/")[0]
    return done


def member_ids(directory: str) -> list[int]:
    """Process ids of a group's directory and those below."""
    result: list[int] = []
    for group in descendants(directory):
        result += [int(line) for line in read(f"{group}/cgroup.procs").split()]
    return result


def kill_members(directory: str) -> None:
    """SIGKILL everything by process id, again until nothing new appears, for kernels without cgroup.kill (< 5.14)."""
    known: set[int] = set()
    while fresh := set(member_ids(directory)) - known:
        for pid in fresh:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signals.SIGKILL)
        known |= fresh


def detect(subtree: str, points: list[MountPoint] | None = None) -> Groups:
    """The groups of this host below `subtree` (`/<cluster>/<node>`), itself below what is delegated to this process.

    RuntimeError if no cgroups are mounted.
    """
    return below(subtree, delegated(points), points)


def delegated(points: list[MountPoint] | None = None) -> str:
    """The path below which this process may make groups: "" for the root, which always is so with v1 controllers."""
    controllers, unified = _mounted(points)
    return "" if controllers or not unified else delegation.subtree(unified)


def settle(points: list[MountPoint] | None = None) -> None:
    """Make the delegated group fit for groups below it: see delegation.settle. OSError if the kernel refuses."""
    controllers, unified = _mounted(points)
    if unified and not controllers:
        delegation.settle(unified)


def below(subtree: str, parent: str, points: list[MountPoint] | None = None) -> Groups:
    """The groups below `subtree` below `parent`, which `delegated` told in a process of the cluster."""
    from shared.kernel.cgroups.v1 import GroupsV1
    from shared.kernel.cgroups.v2 import GroupsV2

    controllers, unified = _mounted(points)
    if controllers:
        return GroupsV1(subtree, controllers, unified)
    if unified:
        return GroupsV2(parent + subtree, unified)
    raise RuntimeError("no cgroup file system is mounted at /sys/fs/cgroup")


def _mounted(points: list[MountPoint] | None) -> tuple[dict[str, str], str]:
    """The v1 hierarchies by controller, none if they have no controller of use here, and the cgroup2 or ""."""
    controllers: dict[str, str] = {}
    unified = ""
    for point in mount_points() if points is None else points:
        if point.kind == "cgroup2":
            unified = point.target
        elif point.kind == "cgroup":
            for option in point.super_options:
                controllers.setdefault(option, point.target)
    used = "cpu" in controllers or "memory" in controllers or "pids" in controllers
    return (controllers if used else {}), unified
