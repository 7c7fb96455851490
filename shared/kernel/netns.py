"""Named network namespaces as ip-netns(8) keeps them, so that `ip netns` sees every pod and node.

A namespace is kept alive by a bind mount of its nsfs file at /run/netns/<name>; no process is needed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from shared.kernel import mounts, syscalls

DIRECTORY = "/run/netns"

_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1
_IFREQ = struct.Struct("16sh22x")


def path_of(name: str) -> str:
    """The file of a named namespace. ValueError for a name that is no plain file name."""
    if not name or "/" in name or name in (".", ".."):
        raise ValueError(f"network namespace name {name!r} is not a file name")
    return f"{DIRECTORY}/{name}"


def exists(name: str) -> bool:
    return mounts.is_mount_point(path_of(name))


def names() -> list[str]:
    """All named namespaces of the machine."""
    with contextlib.suppress(FileNotFoundError):
        return sorted(os.listdir(DIRECTORY))
    return []


def keep(namespace_file: str, target: str) -> None:
    """Keep a namespace alive by a bind mount of `namespace_file` (/proc/.../ns/...) at the file `target`."""
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)
    os.close(fd)
    try:
        mounts.bind(namespace_file, target)
    except OSError:
        os.unlink(target)
        raise


def release(target: str) -> bool:
    """Undo `keep`; False if there was nothing."""
    found = mounts.unmount(target)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(target)
    return found


def create(name: str) -> str:
    """Make a namespace with its loopback up and return its path; one that exists already is left as it is."""
    target = path_of(name)
    mounts.ensure_shared_directory(DIRECTORY)
    if mounts.is_mount_point(target):
        return target
    with contextlib.suppress(FileNotFoundError):
        os.unlink(target)  # a name without a namespace, left by a machine that went down
    with syscalls.unshared(syscalls.CLONE_NEWNET):
        raise_loopback()
        keep("/proc/thread-self/ns/net", target)
    return target


def delete(name: str) -> bool:
    """Forget a namespace; the kernel ends it with its last process. False if there was none."""
    return release(path_of(name))


@contextmanager
def enter(path: str) -> Iterator[None]:
    """Be in the namespace at `path` (of this thread only)."""
    with syscalls.namespace(path, syscalls.CLONE_NEWNET):
        yield


@contextmanager
def fresh() -> Iterator[None]:
    """Be in a new network namespace for a while; it ends with the block unless something keeps it."""
    with syscalls.unshared(syscalls.CLONE_NEWNET):
        yield


def raise_loopback() -> None:
    """Set `lo` of the current namespace up (netdevice(7)); the kernel then gives it 127.0.0.1 and ::1."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control:
        request = fcntl.ioctl(control, _SIOCGIFFLAGS, _IFREQ.pack(b"lo", 0))
        flags = _IFREQ.unpack(request)[1]
        if not flags & _IFF_UP:
            fcntl.ioctl(control, _SIOCSIFFLAGS, _IFREQ.pack(b"lo", flags | _IFF_UP))


def write_sysctl(name: str, value: str) -> None:
    """Set a sysctl by its dotted name, in the current namespaces. OSError naming the sysctl."""
    try:
        with open(f"/proc/sys/{sysctl_path(name)}", "w", encoding="ascii") as file:
            file.write(value + "\n")
    except OSError as exc:
        raise OSError(exc.errno or errno.EIO, f"sysctl {name}: {os.strerror(exc.errno or errno.EIO)}") from exc


def sysctl_path(name: str) -> str:
    """`net.ipv4.conf.eth0/1.forwarding` -> `net/ipv4/conf/eth0.1/forwarding`, as sysctl(8) swaps both separators."""
    if not name or ".." in name or name.startswith(("/", ".")):
        raise ValueError(f"sysctl name {name!r} is malformed")
    return name.translate(str.maketrans("./", "/.")) if "." in name.split("/")[0] else name
