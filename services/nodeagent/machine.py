"""What the node's machine is and has: facts for the Node object, read from /proc and /etc."""

import contextlib
import os
import platform
from pathlib import Path

# kubelet's default eviction threshold, which it takes off what pods may request
RESERVED_MEMORY_BYTES = 100 << 20
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def architecture() -> str:
    """As Go and OCI name it."""
    return _ARCHITECTURES.get(platform.machine(), platform.machine())


def memory_bytes() -> int:
    return _meminfo()["MemTotal"]


def capacity(directory: Path, max_pods: int) -> dict[str, str]:
    """The node's resources by name, as quantities."""
    disk = os.statvfs(directory)
    return {
        "cpu": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory_bytes() >> 10}Ki",
        "ephemeral-storage": f"{disk.f_blocks * disk.f_frsize >> 10}Ki",
        "pods": str(max_pods),
        "hugepages-2Mi": "0",
    }


def allocatable(whole: dict[str, str]) -> dict[str, str]:
    """What pods may request of a capacity."""
    memory = int(whole["memory"].removesuffix("Ki")) - (RESERVED_MEMORY_BYTES >> 10)
    disk = int(whole["ephemeral-storage"].removesuffix("Ki")) * 9 // 10
    return {**whole, "memory": f"{max(memory, 0)}Ki", "ephemeral-storage": f"{disk}Ki"}


def node_info(kubelet_version: str, runtime_version: str) -> dict[str, str]:
    """core/v1 NodeSystemInfo."""
    return {
        "machineID": _line("/etc/machine-id"),
        "systemUUID": _line("/sys/class/dmi/id/product_uuid") or _line("/etc/machine-id"),
        "bootID": _line("/proc/sys/kernel/random/boot_id"),
        "kernelVersion": platform.release(),
        "osImage": _os_image(),
        "containerRuntimeVersion": runtime_version,
        "kubeletVersion": kubelet_version,
        "kubeProxyVersion": kubelet_version,
        "operatingSystem": "linux",
        "architecture": architecture(),
    }


def _os_image() -> str:
    with contextlib.suppress(OSError):
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    return "Linux"


def _line(path: str) -> str:
    with contextlib.suppress(OSError):
        return Path(path).read_text(encoding="utf-8").strip()
    return ""


def _meminfo() -> dict[str, int]:
    """/proc/meminfo in bytes (proc_meminfo(5))."""
    fields = {}
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        name, _, rest = line.partition(":")
        fields[name] = int(rest.split()[0]) << 10
    return fields
