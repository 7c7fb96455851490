"""What the node runs short of: kubelet's eviction signals, each as how much is left and how much there is.

Source: Kubernetes "Node-pressure eviction", eviction signals.
"""

import os
from dataclasses import dataclass
from pathlib import Path

MEMORY = "memory.available"
DISK, DISK_INODES = "nodefs.available", "nodefs.inodesFree"
IMAGES, IMAGE_INODES = "imagefs.available", "imagefs.inodesFree"
PROCESSES = "pid.available"

# In the order in which they are acted upon: memory kills at once, disks fill slowly.
SIGNALS = (MEMORY, DISK, DISK_INODES, IMAGES, IMAGE_INODES, PROCESSES)
CONDITION = {
    MEMORY: "MemoryPressure",
    DISK: "DiskPressure",
    DISK_INODES: "DiskPressure",
    IMAGES: "DiskPressure",
    IMAGE_INODES: "DiskPressure",
    PROCESSES: "PIDPressure",
}
RESOURCE = {
    MEMORY: "memory",
    DISK: "ephemeral-storage",
    DISK_INODES: "inodes",
    IMAGES: "ephemeral-storage",
    IMAGE_INODES: "inodes",
    PROCESSES: "pids",
}


@dataclass(frozen=True, slots=True)
class Level:
    """How much of something is left, and of how much; bytes, inodes or processes."""

    available: int
    capacity: int


def observe(node_files: Path, image_files: Path) -> dict[str, Level]:
    """The levels now; the paths tell which file systems count as nodefs and imagefs."""
    levels = {MEMORY: _memory(), PROCESSES: _processes()}
    for path, space, inodes in ((node_files, DISK, DISK_INODES), (image_files, IMAGES, IMAGE_INODES)):
        status = os.statvfs(path)
        levels[space] = Level(status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize)
        if status.f_files:
            # btrfs makes inodes as they are needed and counts none
            levels[inodes] = Level(status.f_favail, status.f_files)
    return levels


def _memory() -> Level:
    """proc_meminfo(5): MemAvailable is what can be had without swapping, the kernel's own estimate."""
    fields = {}
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        name, _, rest = line.partition(":")
        if name in ("MemAvailable", "MemTotal"):
            fields[name] = int(rest.split()[0]) << 10
    return Level(fields["MemAvailable"], fields["MemTotal"])


def _processes() -> Level:
    load = Path("/proc/loadavg").read_text(encoding="ascii").split()
    limit = int(Path("/proc/sys/kernel/pid_max").read_text(encoding="ascii"))
    return Level(limit - int(load[3].partition("/")[2]), limit)
