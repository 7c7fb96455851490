"""What a container's root consists of, as an ordered list of steps: the decision, which rootfs.py then carries out.

Kept apart from the system calls so that the list can be read and tested without being root. Defaults are Docker's and
containerd's: which file systems, with which flags, which paths of /proc and /sys are hidden or read-only.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from shared.kernel import syscalls as sys
from shared.kernel.cgroups.groups import DeviceRule, GroupMount
from shared.records import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from services.nodeagent.runtime.model import ContainerSpec, Mount, SandboxSpec

MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

DEVICES = (
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
)
LINKS = (
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
)

# making any node is harmless, using one is not; 5:1 is the console, 5:2 ptmx, 136 the pseudo-terminals
ALLOWED_DEVICES = (
    DeviceRule("c", None, None, "m"),
    DeviceRule("b", None, None, "m"),
    *(DeviceRule("c", major, minor, "rwm") for _name, major, minor in DEVICES),
    DeviceRule("c", 5, 1, "rwm"),
    DeviceRule("c", 5, 2, "rwm"),
    DeviceRule("c", 136, None, "rwm"),
)

_SAFE = sys.MS_NOSUID | sys.MS_NODEV | sys.MS_NOEXEC
_PROPAGATION = {"private": sys.MS_PRIVATE, "slave": sys.MS_SLAVE, "shared": sys.MS_SHARED}
_BIND_OPTIONS = {
    "nosuid": sys.MOUNT_ATTR_NOSUID,
    "nodev": sys.MOUNT_ATTR_NODEV,
    "noexec": sys.MOUNT_ATTR_NOEXEC,
}
_TMPFS_FLAGS = {"ro": sys.MS_RDONLY, "nosuid": sys.MS_NOSUID, "nodev": sys.MS_NODEV, "noexec": sys.MS_NOEXEC}


@frozen
class FileSystem:
    """A new file system of `kind` at `target`; the target is made if it is missing."""

    kind: str
    target: str
    flags: int
    data: str = ""


@frozen
class Bind:
    """A part of the host's tree at `target`. `attributes` are MOUNT_ATTR bits, `propagation` an MS flag.

    `seal_all`: read-only holds for the mounts below it too. `mapped`: in a user namespace, its owners are shown as
    those of the container; `layers` as of runtime.model.Mount.
    """

    source: str
    target: str
    attributes: int = 0
    propagation: int = sys.MS_PRIVATE
    recursive: bool = False
    sub_path: str = ""
    mapped: bool = False
    seal_all: bool = True
    layers: tuple[str, ...] = ()


@frozen
class Devices:
    """The nodes and links of /dev; `everything` also makes all of the host's device nodes."""

    everything: bool


@frozen
class Link:
    """A symbolic link on a file system that an earlier step made."""

    path: str
    target: str


@frozen
class Seal:
    """Turn the mount at `path` read-only."""

    path: str


Step = FileSystem | Bind | Devices | Link | Seal


@frozen
class RootPlan:
    """`inside` are done before the root is entered, `hidden` and `read_only` paths after. The first `usual` steps are
    those of every container."""

    inside: tuple[Step, ...]
    hidden: tuple[str, ...]
    read_only: tuple[str, ...]
    seal_root: bool
    usual: int = 0


def _depth(mount: Mount) -> int:
    return mount.target.rstrip("/").count("/")


def _user_step(mount: Mount) -> Step:
    if not mount.target.startswith("/"):
        raise ValueError(f"mount target {mount.target!r} is not an absolute path")
    if mount.kind == "tmpfs":
        flags = sys.MS_RDONLY if mount.read_only else 0
        data = []
        for option in mount.options:
            if option in _TMPFS_FLAGS:
                flags |= _TMPFS_FLAGS[option]
            elif option not in ("rw", "exec", "suid", "dev"):
                data.append(option)
        if not any(option.startswith("mode=") for option in data):
            data.append("mode=1777")
        return FileSystem("tmpfs", mount.target, flags, ",".join(data))
    if mount.kind != "bind":
        raise ValueError(f"mount {mount.target}: kind {mount.kind!r} is neither bind nor tmpfs")
    if not mount.source.startswith("/"):
        raise ValueError(f"mount {mount.target}: source {mount.source!r} is not an absolute path")
    if mount.propagation not in _PROPAGATION:
        raise ValueError(f"mount {mount.target}: propagation {mount.propagation!r} is not private, slave or shared")
    attributes = sys.MOUNT_ATTR_RDONLY if mount.read_only else 0
    for option in mount.options:
        attributes |= _BIND_OPTIONS.get(option, 0)
    propagation = _PROPAGATION[mount.propagation]
    return Bind(
        mount.source,
        mount.target,
        attributes,
        propagation,
        mount.recursive,
        mount.sub_path,
        mapped=True,
        seal_all=mount.recursive_read_only,
        layers=tuple(mount.layers),
    )


def _cgroup_steps(mounts: tuple[GroupMount, ...], read_only: int) -> list[Step]:
    if len(mounts) == 1 and not mounts[0].name:
        return [FileSystem(mounts[0].kind, "/sys/fs/cgroup", _SAFE | read_only)]
    steps: list[Step] = [FileSystem("tmpfs", "/sys/fs/cgroup", _SAFE, "mode=755")]
    for mount in mounts:
        steps.append(FileSystem(mount.kind, f"/sys/fs/cgroup/{mount.name}", _SAFE | read_only, mount.options))
        for controller in mount.options.split(",") if "," in mount.options else ():
            if controller != mount.name:
                steps.append(Link(f"/sys/fs/cgroup/{controller}", mount.name))
    if read_only:
        steps.append(Seal("/sys/fs/cgroup"))
    return steps


@lru_cache(maxsize=2)
def _usual(privileged: bool, cgroups: tuple[GroupMount, ...]) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
    """What every container has, before and after its /dev/shm; the same objects each time."""
    read_only = 0 if privileged else sys.MS_RDONLY
    before: list[Step] = [
        FileSystem("proc", "/proc", _SAFE),
        FileSystem("tmpfs", "/dev", sys.MS_NOSUID | sys.MS_STRICTATIME, "mode=755,size=65536k"),
        Devices(privileged),
        FileSystem("devpts", "/dev/pts", sys.MS_NOSUID | sys.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"),
    ]
    after: list[Step] = [
        FileSystem("mqueue", "/dev/mqueue", _SAFE),
        FileSystem("sysfs", "/sys", _SAFE | read_only),
        *_cgroup_steps(cgroups, read_only),
    ]
    return tuple(before), tuple(after)


def plan_root(spec: ContainerSpec, sandbox: SandboxSpec, shm: str, cgroups: Sequence[GroupMount]) -> RootPlan:
    """The steps for one container. `shm` is the pod's /dev/shm on the host. ValueError naming a bad mount."""
    before, after = _usual(spec.privileged, tuple(cgroups))
    steps: list[Step] = [*before, Bind("/dev/shm" if sandbox.host_ipc else shm, "/dev/shm"), *after]
    usual = len(steps)
    steps += [_user_step(mount) for mount in sorted(spec.mounts, key=_depth)]
    bare = spec.privileged or spec.unmasked_proc
    return RootPlan(tuple(steps), () if bare else MASKED, () if bare else READ_ONLY, spec.read_only_root, usual)
