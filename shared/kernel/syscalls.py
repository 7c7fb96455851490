"""Linux calls that Python's standard library lacks, over ctypes, each raising OSError that names what it was about.

The library is opened as PyDLL: the GIL stays held during a call, which makes a raw clone3(2) safe in a single-threaded
process (the child finds the interpreter exactly as the parent left it). Constants are those of the manual pages.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from shared.kernel import numbers

CLONE_NEWTIME = 0x80
CLONE_NEWNS = 0x20000
CLONE_PARENT = 0x8000
CLONE_PIDFD = 0x1000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_INTO_CGROUP = 0x200000000

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_SYNCHRONOUS = 0x10
MS_MANDLOCK = 0x40
MS_DIRSYNC = 0x80
MS_NOSYMFOLLOW = 0x100
MS_NOATIME = 0x400
MS_NODIRATIME = 0x800
MS_BIND = 0x1000
MS_MOVE = 0x2000
MS_REC = 0x4000
MS_SILENT = 0x8000
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
MS_RELATIME = 1 << 21
MS_I_VERSION = 1 << 23
MS_STRICTATIME = 1 << 24
MS_LAZYTIME = 1 << 25

MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8

OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
AT_SYMLINK_NOFOLLOW = 0x100
MOVE_MOUNT_F_EMPTY_PATH = 0x4
MOVE_MOUNT_T_EMPTY_PATH = 0x40
MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR_ATIMES = 0x70  # one of three values, not bits: relatime is 0
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_STRICTATIME = 0x20
MOUNT_ATTR_NODIRATIME = 0x80
MOUNT_ATTR_IDMAP = 0x100000
MOUNT_ATTR_NOSYMFOLLOW = 0x200000

RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_SET_NAME = 15
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
PR_CAP_AMBIENT_CLEAR_ALL = 4

SECCOMP_SET_MODE_FILTER = 1
SECCOMP_GET_ACTION_AVAIL = 2

_libc = ctypes.PyDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_long = ctypes.c_long


def _number(name: str) -> ctypes.c_long:
    try:
        return _long(numbers.number(name))
    except LookupError as exc:
        raise OSError(errno.ENOSYS, str(exc)) from exc


def _check(result: int, path: str | None = None) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path)
    return result


def _path(value: str | os.PathLike[str]) -> bytes:
    return os.fsencode(value)


class _CloneArgs(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_uint64)
        for name in (
            "flags",
            "pidfd",
            "child_tid",
            "parent_tid",
            "exit_signal",
            "stack",
            "stack_size",
            "tls",
            "set_tid",
            "set_tid_size",
            "cgroup",
        )
    ]


def clone(flags: int, *, cgroup_fd: int = -1) -> tuple[int, int]:
    """clone3(2) as fork does: return (pid, pidfd), or (0, -1) in the child.

    Only for single-threaded processes: Python's own at-fork handlers are not run. With `cgroup_fd`, a directory of
    cgroup2, the child is born in that group, which costs nothing, while moving it there waits for an RCU grace period.
    With CLONE_PARENT the child is a sibling of this process, and its parent hears of its end as of this one's.
    """
    pidfd = ctypes.c_int(-1)
    exit_signal = 0 if flags & CLONE_PARENT else 17
    args = _CloneArgs(flags=flags | CLONE_PIDFD, pidfd=ctypes.addressof(pidfd), exit_signal=exit_signal)
    if cgroup_fd >= 0:
        args.flags |= CLONE_INTO_CGROUP
        args.cgroup = cgroup_fd
    pid = _check(_syscall(_number("clone3"), ctypes.byref(args), ctypes.c_size_t(ctypes.sizeof(args))), "clone3")
    return (pid, pidfd.value) if pid else (0, -1)


def unshare(flags: int) -> None:
    """unshare(2)."""
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare")


def setns(fd: int, kind: int = 0) -> None:
    """setns(2) with a namespace's descriptor, or a pidfd and several `kind` flags."""
    _check(_libc.setns(ctypes.c_int(fd), ctypes.c_int(kind)), "setns")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2). The error names the target."""
    result = _libc.mount(
        _path(source), _path(target), kind.encode() or None, ctypes.c_ulong(flags), os.fsencode(data) or None
    )
    _check(result, target)


def umount(target: str, flags: int = 0) -> None:
    """umount2(2)."""
    _check(_libc.umount2(_path(target), ctypes.c_int(flags)), target)


def pivot_root(new: str, old: str) -> None:
    """pivot_root(2); `pivot_root(".", ".")` stacks the old root on the new one."""
    _check(_syscall(_number("pivot_root"), _path(new), _path(old)), new)


def openat2(directory_fd: int, path: str, flags: int, *, mode: int = 0, resolve: int = 0) -> int:
    """openat2(2): open `path` with its resolution restricted, for example RESOLVE_IN_ROOT below `directory_fd`."""
    how = struct.pack("QQQ", flags | os.O_CLOEXEC, mode, resolve)
    buffer = ctypes.create_string_buffer(how, len(how))
    result = _syscall(_number("openat2"), _long(directory_fd), _path(path), buffer, ctypes.c_size_t(len(how)))
    return _check(result, path)


def open_tree(path: str, flags: int, *, directory_fd: int = -100) -> int:
    """open_tree(2): with OPEN_TREE_CLONE a detached copy of the mount at `path`, as a descriptor."""
    result = _syscall(_number("open_tree"), _long(directory_fd), _path(path), _long(flags | OPEN_TREE_CLOEXEC))
    return _check(result, path)


def move_mount(tree_fd: int, target_fd: int) -> None:
    """move_mount(2) from one descriptor onto another, so that no path is resolved again."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
    _check(_syscall(_number("move_mount"), _long(tree_fd), b"", _long(target_fd), b"", _long(flags)), "move_mount")


def mount_setattr(
    fd: int,
    *,
    set_attributes: int = 0,
    clear_attributes: int = 0,
    propagation: int = 0,
    user_namespace: int = 0,
    recursive: bool = False,
) -> None:
    """mount_setattr(2) on the mount that `fd` names. `user_namespace` is the descriptor that MOUNT_ATTR_IDMAP needs."""
    attributes = struct.pack("QQQQ", set_attributes, clear_attributes, propagation, user_namespace)
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    result = _syscall(_number("mount_setattr"), _long(fd), b"", _long(flags), buffer, ctypes.c_size_t(len(attributes)))
    _check(result, "mount_setattr")


def exchange(first: str, second: str) -> None:
    """Exchange what two names of one file system stand for, in one step (renameat2(2), RENAME_EXCHANGE)."""
    here, flags = ctypes.c_int(-100), ctypes.c_uint(2)
    _check(_libc.renameat2(here, _path(first), here, _path(second), flags), second)


def set_domain_name(name: str) -> None:
    """setdomainname(2)."""
    data = name.encode()
    _check(_libc.setdomainname(data, ctypes.c_size_t(len(data))), "setdomainname")


def personality(persona: int) -> None:
    """personality(2)."""
    _check(_libc.personality(ctypes.c_ulong(persona)), "personality")


def prctl(option: int, argument: int = 0, second: int = 0) -> int:
    """prctl(2)."""
    zero = ctypes.c_ulong(0)
    return _check(_libc.prctl(ctypes.c_int(option), ctypes.c_ulong(argument), ctypes.c_ulong(second), zero, zero))


def capget() -> tuple[int, int, int]:
    """The effective, permitted and inheritable sets of this process as bit masks (capabilities(7))."""
    header = ctypes.create_string_buffer(struct.pack("Ii", 0x20080522, 0), 8)
    data = ctypes.create_string_buffer(24)
    _check(_syscall(_number("capget"), header, data), "capget")
    low = struct.unpack("6I", data.raw)
    return low[0] | low[3] << 32, low[1] | low[4] << 32, low[2] | low[5] << 32


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """Set the three sets of this process."""
    low = 0xFFFFFFFF
    words = (effective & low, permitted & low, inheritable & low, effective >> 32, permitted >> 32, inheritable >> 32)
    header = ctypes.create_string_buffer(struct.pack("Ii", 0x20080522, 0), 8)
    data = ctypes.create_string_buffer(struct.pack("6I", *words), 24)
    _check(_syscall(_number("capset"), header, data), "capset")


def join_session_keyring(name: str) -> None:
    """Leave the session keyring that was inherited for one called `name` (keyctl_join_session_keyring(3))."""
    _check(_syscall(_number("keyctl"), _long(1), name.encode()), "keyctl")


def seccomp_filter(program: bytes, flags: int = 0) -> None:
    """Install a classic BPF program (seccomp(2)); needs no_new_privs or CAP_SYS_ADMIN. ValueError if it is none."""
    if not program or len(program) % 8:
        raise ValueError(f"a BPF program has 8 bytes an instruction, not {len(program)} in all")
    instructions = ctypes.create_string_buffer(program, len(program))
    prog = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(instructions)), 16)
    _check(_syscall(_number("seccomp"), _long(SECCOMP_SET_MODE_FILTER), _long(flags), prog), "seccomp")


def seccomp_action_available(action: int) -> bool:
    """Whether the kernel knows a seccomp action, hence seccomp filters at all."""
    value = ctypes.c_uint32(action)
    try:
        number = _number("seccomp")
    except OSError:
        return False
    return int(_syscall(number, _long(SECCOMP_GET_ACTION_AVAIL), _long(0), ctypes.byref(value))) == 0


def bpf(command: int, attributes: bytes) -> int:
    """bpf(2) with a ready `union bpf_attr`."""
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    return _check(_syscall(_number("bpf"), _long(command), buffer, ctypes.c_size_t(len(attributes))), f"bpf {command}")


def execveat(fd: int, argv: list[bytes], env: list[bytes]) -> None:
    """Execute the file that `fd` names; returns only by raising OSError."""
    arguments = (ctypes.c_char_p * (len(argv) + 1))(*argv, None)
    environment = (ctypes.c_char_p * (len(env) + 1))(*env, None)
    result = _syscall(_number("execveat"), _long(fd), b"", arguments, environment, _long(AT_EMPTY_PATH))
    _check(result, f"/proc/self/fd/{fd}")


_NAMESPACE_FILES = {
    CLONE_NEWNET: "net",
    CLONE_NEWIPC: "ipc",
    CLONE_NEWUTS: "uts",
    CLONE_NEWPID: "pid_for_children",
    CLONE_NEWTIME: "time_for_children",
}


@contextmanager
def unshared(kinds: int) -> Iterator[None]:
    """Be in new namespaces of the `kinds` (of CLONE_NEWNET, NEWIPC, NEWUTS) for a while, of this thread only.

    With CLONE_NEWTIME it is the children that will be in it.

    They end with the block unless something keeps them. A thread that cannot return would act in the wrong place ever
    after, so the process ends then.
    """
    with _returning(kinds):
        unshare(kinds)
        yield


@contextmanager
def inside(namespaces: dict[int, int]) -> Iterator[None]:
    """Be in these namespaces (descriptors by CLONE_NEW...) for a while, of this thread only."""
    with _returning(sum(namespaces)):
        for kind, fd in namespaces.items():
            setns(fd, kind)
        yield


def namespace_files(kinds: int) -> dict[int, int]:
    """Descriptors of the namespaces that this thread is in, by CLONE_NEW...; the caller closes them."""
    return {
        kind: os.open(f"/proc/thread-self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
        for kind, name in _NAMESPACE_FILES.items()
        if kinds & kind
    }


@contextmanager
def _returning(kinds: int) -> Iterator[None]:
    own = namespace_files(kinds)
    try:
        yield
    finally:
        try:
            for kind, fd in own.items():
                setns(fd, kind)
        except OSError:
            os.abort()
        finally:
            for fd in own.values():
                os.close(fd)


@contextmanager
def namespace(path_or_fd: str | int, kind: int) -> Iterator[None]:
    """Be in another namespace of `kind` for a while, of this thread only; `path_or_fd` may be a pidfd.

    With CLONE_NEWPID it is the children that will be in it.
    """
    own = os.open(f"/proc/thread-self/ns/{_NAMESPACE_FILES[kind]}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        fd = path_or_fd if isinstance(path_or_fd, int) else os.open(path_or_fd, os.O_RDONLY | os.O_CLOEXEC)
        try:
            setns(fd, kind)
        finally:
            if not isinstance(path_or_fd, int):
                os.close(fd)
        try:
            yield
        finally:
            try:
                setns(own, kind)
            except OSError:
                os.abort()
    finally:
        os.close(own)
