"""Whether this machine's kernel has what containers need: every feature is tried, not looked up in a configuration.

A trial that could leave something behind happens in a forked child with namespaces of its own, which the kernel removes
with the child.
"""

from __future__ import annotations

import errno
import os
import platform
import socket
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from shared.kernel import criu, syscalls
from shared.kernel.cgroups import groups

CAP_SYS_ADMIN = 21
CAP_SYS_RESOURCE = 24
CAP_NET_ADMIN = 12
CAP_MKNOD = 27

_RET_ERRNO = 0x00050000


@dataclass(frozen=True, slots=True)
class Feature:
    """One thing a node needs, or (not `required`) can do without. `remedy` says what to do when `ok` is false."""

    name: str
    ok: bool
    detail: str
    remedy: str
    required: bool = True


def _in_child(trial: Callable[[], None]) -> str:
    """Run `trial` in a child; "" if it went well, else the error."""
    into, out = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            trial()
        except Exception as exc:
            os.write(out, str(exc).encode()[:4000] or b"failed")
        finally:
            os._exit(0)
    os.close(out)
    with os.fdopen(into, "rb") as file:
        answer = file.read().decode(errors="replace")
    os.waitpid(pid, 0)
    return answer


def _feature(name: str, trial: Callable[[], None], good: str, remedy: str, *, required: bool = True) -> Feature:
    problem = _in_child(trial)
    return Feature(name, not problem, problem or good, remedy, required)


def _kernel() -> Feature:
    release = platform.release()
    numbers = [int(part) for part in release.split("-")[0].split(".")[:2] if part.isdecimal()]
    ok = numbers >= [5, 12]
    return Feature("kernel", ok, f"Linux {release}", "run Linux 5.12 or newer (mount_setattr)")


def _root() -> Feature:
    uid = os.geteuid()
    return Feature("root", uid == 0, f"user id {uid}", "run as root, for example with sudo")


def _capabilities() -> list[Feature]:
    permitted = syscalls.capget()[1]
    needed = {"CAP_SYS_ADMIN": CAP_SYS_ADMIN, "CAP_NET_ADMIN": CAP_NET_ADMIN, "CAP_MKNOD": CAP_MKNOD}
    features = [
        Feature(
            name,
            bool(permitted >> number & 1),
            "permitted" if permitted >> number & 1 else "not permitted",
            f"give this environment {name}",
        )
        for name, number in needed.items()
    ]
    has = bool(permitted >> CAP_SYS_RESOURCE & 1)
    detail = "permitted" if has else "not permitted: lower oom_score_adj and higher limits of containers are ignored"
    return [*features, Feature("CAP_SYS_RESOURCE", has, detail, "give this environment CAP_SYS_RESOURCE", False)]


def _namespaces() -> list[Feature]:
    kinds = {
        "mount": syscalls.CLONE_NEWNS,
        "pid": syscalls.CLONE_NEWPID,
        "network": syscalls.CLONE_NEWNET,
        "ipc": syscalls.CLONE_NEWIPC,
        "uts": syscalls.CLONE_NEWUTS,
        "cgroup": syscalls.CLONE_NEWCGROUP,
    }
    features = []
    for name, flag in kinds.items():
        remedy = f"use a kernel with {name} namespaces, or leave the container that forbids them"
        features.append(_feature(f"{name} namespace", partial(syscalls.unshare, flag), "can be made", remedy))
    user = _feature(
        "user namespace",
        partial(syscalls.unshare, syscalls.CLONE_NEWUSER),
        "can be made",
        "set the sysctl user.max_user_namespaces above 0",
        required=False,
    )
    return [*features, user]


def _private_mounts() -> None:
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount("", "/", "", syscalls.MS_PRIVATE | syscalls.MS_REC)


def _overlay() -> None:
    with tempfile.TemporaryDirectory(prefix="check-", dir="/var/tmp") as directory:
        names = {name: f"{directory}/{name}" for name in ("lower", "upper", "work", "root")}
        for path in names.values():
            os.mkdir(path)
        _private_mounts()
        options = f"lowerdir={names['lower']},upperdir={names['upper']},workdir={names['work']}"
        syscalls.mount("overlay", names["root"], "overlay", 0, options)
        syscalls.umount(names["root"])


def _mount_calls() -> None:
    _private_mounts()
    tree = syscalls.open_tree("/proc", syscalls.OPEN_TREE_CLONE)
    syscalls.mount_setattr(tree, set_attributes=syscalls.MOUNT_ATTR_RDONLY)
    target = syscalls.openat2(-100, "/tmp", os.O_PATH, resolve=syscalls.RESOLVE_NO_SYMLINKS)
    syscalls.move_mount(tree, target)


def _clone3() -> None:
    pid, pidfd = syscalls.clone(0)
    if pid == 0:
        os._exit(7)
    info = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    if info is None or info.si_status != 7:
        raise OSError(errno.EIO, "the child's exit code was lost")


def _seccomp() -> None:
    if not syscalls.seccomp_action_available(_RET_ERRNO):
        raise OSError(errno.ENOSYS, "the kernel has no seccomp filters")


def _control_groups() -> list[Feature]:
    remedy = "mount cgroup2 at /sys/fs/cgroup, or the v1 controllers below it"
    name = f"/wherry-check-{os.getpid()}"
    try:
        groups.settle()
        tree = groups.detect(name)
        tree.create("/a")
    except (OSError, RuntimeError) as exc:
        return [Feature("cgroups", False, str(exc), remedy)]
    try:
        features = [Feature("cgroups", True, f"layout {tree.layout}", remedy)]
        trials = {
            "cpu": groups.Limits(cpu_shares=512, cpu_quota_us=50000, cpu_period_us=100000),
            "memory": groups.Limits(memory_bytes=64 << 20),
            "pids": groups.Limits(pids=100),
        }
        for controller, limits in trials.items():
            try:
                problem = "; ".join(tree.limit("/a", limits))
            except OSError as exc:
                problem = str(exc)
            features.append(
                Feature(
                    f"cgroup {controller}",
                    not problem,
                    problem or "can be limited",
                    f"boot with the {controller} cgroup controller enabled",
                    False,
                )
            )
        rules = (groups.DeviceRule("c", 1, 3, "rwm"),)
        problem = "; ".join(tree.restrict_devices("/a", rules))
        features.append(
            Feature(
                "cgroup devices",
                not problem,
                problem or "can be restricted",
                "use a kernel with CONFIG_CGROUP_BPF, or the v1 devices controller",
                False,
            )
        )
        return features
    finally:
        tree.remove_all()


def _link(request: bytes) -> None:
    """Create a link by a raw RTM_NEWLINK (rtnetlink(7)) in a network namespace of its own."""
    syscalls.unshare(syscalls.CLONE_NEWNET)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as netlink:
        body = struct.pack("BxHiII", 0, 0, 0, 0, 0) + request
        # NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL
        netlink.send(struct.pack("IHHII", 16 + len(body), 16, 0x1 | 0x4 | 0x400 | 0x200, 1, 0) + body)
        code = -struct.unpack_from("i", netlink.recv(4096), 16)[0]
    if code:
        raise OSError(code, os.strerror(code))


def _link_kind(kind: bytes) -> Callable[[], None]:
    name = struct.pack("HH", 4 + len(kind) + 1, 1) + kind + b"\0"
    name += b"\0" * (-len(name) % 4)
    attribute = struct.pack("HH", 4 + len(name), 18) + name  # IFLA_LINKINFO
    return lambda: _link(attribute)


def _checkpoints() -> Feature:
    problem = criu.why_not()
    remedy = "install a criu that knows this kernel, to checkpoint and migrate pods"
    return Feature("criu", not problem, problem or "can checkpoint and restore", remedy, False)


def features() -> list[Feature]:
    """All features but nf_tables, in the order in which one would want to fix them. Needs no more than to be called."""
    result = [_kernel(), _root()]
    if not result[-1].ok:
        return result
    result += _capabilities()
    result += _namespaces()
    result += [
        _feature("clone3 and pidfd", _clone3, "a child was made and waited for", "run Linux 5.4 or newer"),
        _feature(
            "mount calls", _mount_calls, "open_tree, move_mount, mount_setattr, openat2", "run Linux 5.12 or newer"
        ),
        _feature(
            "overlay",
            _overlay,
            "a writable overlay was mounted",
            "load the module overlay, and keep /var on ext4, xfs, btrfs or tmpfs",
        ),
        _feature(
            "seccomp", _seccomp, "filters are available", "use a kernel with CONFIG_SECCOMP_FILTER", required=False
        ),
        *_control_groups(),
        _feature("veth", _link_kind(b"veth"), "can be made", "load the module veth"),
        _feature("bridge", _link_kind(b"bridge"), "can be made", "load the module bridge"),
        _checkpoints(),
    ]
    return result
