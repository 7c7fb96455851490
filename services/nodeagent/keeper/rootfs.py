"""Carries out a root plan inside a newborn process that already has a mount namespace of its own.

Everything in the image is hostile: a target path may lead through symbolic links anywhere, so targets are only ever
opened with RESOLVE_IN_ROOT (openat2(2)) and mounted on by descriptor, and missing parts are made one by one from there.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable

from services.nodeagent.keeper.plan import DEVICES, LINKS, Bind, Devices, FileSystem, Link, RootPlan, Seal
from shared.kernel import syscalls
from shared.records import field, mutable

Progress = Callable[[str], None]

_OPTIONS_MAX = 4000  # mount(2) takes one page of options
_LINKS_MAX = 40  # as the kernel's own limit, path_resolution(7)


def overlay_options(lower: list[str], upper: str, work: str) -> str:
    """Options for an overlay mount (lower layers top first), or "" if they cannot be written down as one page.

    `volatile`: otherwise the end of every container would sync the whole file system that holds its writable layer,
    which is never mounted again (kernel's overlayfs.rst, "Volatile mount").
    """
    if any(character in path for path in (*lower, upper, work) for character in ":,\\"):
        return ""
    options = f"lowerdir={':'.join(lower)},upperdir={upper},workdir={work},volatile"
    return options if len(os.fsencode(options)) <= _OPTIONS_MAX else ""


@mutable
class Gathered:
    """What a root is made of, brought together while this process is still on the host: descriptors of the overlay
    and of detached trees, by the plan's step and by the path of the device node."""

    root: int
    sources: dict[int, int] = field(default_factory=dict)
    devices: list[tuple[str, int, int]] = field(default_factory=list)
    nodes: dict[str, int] = field(default_factory=dict)


def prepare_writable(writable: str, lower: list[str], root_id: int = 0) -> tuple[str, str]:
    """The upper and work directories below `writable`; the root will look like that of the top layer, with its owner
    counted from `root_id`."""
    upper, work = f"{writable}/upper", f"{writable}/work"
    try:
        os.mkdir(upper)
    except FileNotFoundError:
        os.makedirs(upper)
    except FileExistsError:
        # the mark of a mount whose start was interrupted, which the kernel would not mount again
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{work}/work/incompat/volatile/dirty")
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(f"{work}/work/incompat/volatile")
    top = os.stat(lower[0])
    os.chmod(upper, stat.S_IMODE(top.st_mode))
    if top.st_uid or top.st_gid or root_id:
        os.chown(upper, top.st_uid + root_id, top.st_gid + root_id)
    with contextlib.suppress(FileExistsError):
        os.mkdir(work)
    return upper, work


def mount_overlay(writable: str, lower: list[str]) -> int:
    """Mount the container's root, over `writable` as no other directory is needed for it; return its descriptor."""
    upper, work = prepare_writable(writable, lower)
    options = overlay_options(lower, upper, work)
    fds = []
    if not options:  # descriptors are short and have no special characters
        fds = [os.open(path, os.O_PATH | os.O_DIRECTORY) for path in (*lower, upper, work)]
        names = [f"/proc/self/fd/{fd}" for fd in fds]
        options = overlay_options(names[:-2], names[-2], names[-1])
    try:
        syscalls.mount("overlay", writable, "overlay", 0, options)
    finally:
        for fd in fds:
            os.close(fd)
    return os.open(writable, os.O_PATH | os.O_DIRECTORY)


def open_in_root(root: int, path: str, *, directory: bool, depth: int = 0) -> int:
    """An O_PATH descriptor of `path` as seen from `root`, which is made (0755, or an empty file) if it is missing.

    A symbolic link that leads nowhere is followed inside the root, as image builders expect of /etc/resolv.conf.
    """
    with contextlib.suppress(FileNotFoundError):
        return resolve(root, path)
    if depth > _LINKS_MAX:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
    parent, _, name = path.rstrip("/").rpartition("/")
    parent_fd = open_in_root(root, parent or "/", directory=True, depth=depth + 1)
    try:
        try:
            if directory:
                os.mkdir(name, 0o755, dir_fd=parent_fd)
            else:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                os.close(os.open(name, flags, 0o644, dir_fd=parent_fd))
        except FileExistsError:
            try:
                found = os.readlink(name, dir_fd=parent_fd)
            except OSError:
                return resolve(root, path)  # made by somebody else just now
            target = found if found.startswith("/") else f"{parent}/{found}"
            return open_in_root(root, target, directory=directory, depth=depth + 1)
    finally:
        os.close(parent_fd)
    return resolve(root, path)


def resolve(root: int, path: str) -> int:
    """An O_PATH descriptor of `path` as seen from `root`; FileNotFoundError if it is not there."""
    for _attempt in range(8):
        with contextlib.suppress(BlockingIOError):  # a rename raced with the resolution
            return syscalls.openat2(root, path, os.O_PATH, resolve=syscalls.RESOLVE_IN_ROOT)
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), path)


def open_source(bind: Bind) -> int:
    """A detached copy of the tree to be bound, taken while this namespace's mounts still are peers of the host's."""
    flags = syscalls.OPEN_TREE_CLONE | (syscalls.AT_RECURSIVE if bind.recursive else 0)
    if not bind.sub_path:
        return syscalls.open_tree(bind.source, flags)
    base = os.open(bind.source, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fd = _open_beneath(base, bind.sub_path)
        try:
            return syscalls.open_tree("", flags | syscalls.AT_EMPTY_PATH, directory_fd=fd)
        finally:
            os.close(fd)
    finally:
        os.close(base)


def _open_beneath(base: int, path: str) -> int:
    """Open `path` below `base`, whose content a container may be changing right now; missing parts are made."""
    resolve = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_MAGICLINKS
    with contextlib.suppress(FileNotFoundError):
        return syscalls.openat2(base, path, os.O_PATH, resolve=resolve)
    parent, _, name = path.rstrip("/").rpartition("/")
    parent_fd = _open_beneath(base, parent) if parent else os.dup(base)
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o755, dir_fd=parent_fd)
    finally:
        os.close(parent_fd)
    return syscalls.openat2(base, path, os.O_PATH, resolve=resolve)


def gather(plan: RootPlan, writable: str, lower: list[str], progress: Progress) -> Gathered:
    """Bring together what is the host's. OSError; `progress` has been told what was being done."""
    sources: dict[int, int] = {}
    for index, step in enumerate(plan.inside):
        if isinstance(step, Bind):
            progress(f"opening {step.source} for {step.target}")
            sources[index] = open_source(step)
    progress("making mounts private")
    syscalls.mount("", "/", "", syscalls.MS_PRIVATE | syscalls.MS_REC)
    devices = host_devices() if wants_everything(plan) else []
    progress("mounting the root file system")
    return Gathered(mount_overlay(writable, lower), sources, devices)


def wants_everything(plan: RootPlan) -> bool:
    """Whether the container gets all of the host's devices."""
    return any(isinstance(step, Devices) and step.everything for step in plan.inside)


def furnish(plan: RootPlan, gathered: Gathered, progress: Progress) -> None:
    """Build the root and make it this process's root. OSError; `progress` has been told what was being done."""
    root, sources = gathered.root, gathered.sources
    for index, step in enumerate(plan.inside):
        match step:
            case FileSystem():
                progress(f"mounting {step.kind} at {step.target}")
                target = open_in_root(root, step.target, directory=True)
                syscalls.mount(step.kind, f"/proc/self/fd/{target}", step.kind, step.flags, step.data)
                os.close(target)
            case Bind():
                progress(f"mounting {step.source} at {step.target}")
                _place(root, step, sources.pop(index))
            case Devices():
                progress("making device nodes")
                _make_devices(root, gathered)
            case Link():
                progress(f"linking {step.path}")
                link(root, step.path, step.target)
            case Seal():
                progress(f"making {step.path} read-only")
                target = resolve(root, step.path)
                syscalls.mount_setattr(target, set_attributes=syscalls.MOUNT_ATTR_RDONLY)
                os.close(target)
    progress("entering the root file system")
    enter(root)
    for path in plan.hidden:
        progress(f"hiding {path}")
        hide(path)
    for path in plan.read_only:
        progress(f"making {path} read-only")
        freeze(path)
    if plan.seal_root:
        progress("making the root read-only")
        fd = os.open("/", os.O_PATH)
        syscalls.mount_setattr(fd, set_attributes=syscalls.MOUNT_ATTR_RDONLY)
        os.close(fd)


def enter(root: int) -> None:
    """Exchange the root of this mount namespace and let go of the old one (pivot_root(2), the "." variant)."""
    os.fchdir(root)
    os.close(root)
    syscalls.pivot_root(".", ".")
    syscalls.umount(".", syscalls.MNT_DETACH)
    os.chdir("/")


def _place(root: int, step: Bind, tree: int) -> None:
    if step.attributes:
        sealed = 0 if step.seal_all else step.attributes & syscalls.MOUNT_ATTR_RDONLY
        if sealed:
            syscalls.mount_setattr(tree, set_attributes=sealed)
        if step.attributes & ~sealed:
            syscalls.mount_setattr(tree, set_attributes=step.attributes & ~sealed, recursive=step.recursive)
    if step.propagation != syscalls.MS_SHARED:
        syscalls.mount_setattr(tree, propagation=step.propagation, recursive=step.recursive)
    target = open_in_root(root, step.target, directory=stat.S_ISDIR(os.fstat(tree).st_mode))
    syscalls.move_mount(tree, target)
    os.close(target)
    os.close(tree)


def host_devices() -> list[tuple[str, int, int]]:
    """Every device node below the host's /dev as (path, mode, device), for a privileged container."""
    found = []
    pending = ["/dev"]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if entry.name not in ("pts", "shm", "mqueue", "fd"):
                        pending.append(entry.path)
                    continue
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
                    found.append((entry.path, status.st_mode, status.st_rdev))
    return found


def _make_devices(root: int, gathered: Gathered) -> None:
    base = resolve(root, "/dev")
    for name, major, minor in () if gathered.nodes else DEVICES:
        os.mknod(name, stat.S_IFCHR | 0o666, os.makedev(major, minor), dir_fd=base)
    os.close(base)
    for path, tree in gathered.nodes.items():
        target = open_in_root(root, path, directory=False)
        syscalls.move_mount(tree, target)
        os.close(target)
        os.close(tree)
    for path, destination in LINKS:
        link(root, path, destination)
    for path, mode, device in gathered.devices:
        parent, _, name = path.rpartition("/")
        if name in ("ptmx", "console"):
            continue
        directory = open_in_root(root, parent, directory=True)
        with contextlib.suppress(FileExistsError):
            os.mknod(name, mode, device, dir_fd=directory)
        os.close(directory)


def link(root: int, path: str, target: str) -> None:
    """A symbolic link at `path` below `root`, unless something is there already."""
    parent, _, name = path.rpartition("/")
    directory = resolve(root, parent)
    with contextlib.suppress(FileExistsError):
        os.symlink(target, name, dir_fd=directory)
    os.close(directory)


def hide(path: str) -> None:
    """Cover `path` so that nothing of it can be read; one that is not there stays away."""
    try:
        target = os.open(path, os.O_PATH | os.O_NOFOLLOW)
    except OSError:
        return  # this kernel does not have it
    if stat.S_ISDIR(os.fstat(target).st_mode):
        syscalls.mount("tmpfs", f"/proc/self/fd/{target}", "tmpfs", syscalls.MS_RDONLY, "nr_inodes=2")
    else:
        tree = syscalls.open_tree("/dev/null", syscalls.OPEN_TREE_CLONE)
        syscalls.move_mount(tree, target)
        os.close(tree)
    os.close(target)


def freeze(path: str) -> None:
    """Make `path` and all mounts below it read-only; one that is not there stays away."""
    try:
        tree = syscalls.open_tree(path, syscalls.OPEN_TREE_CLONE | syscalls.AT_RECURSIVE)
    except FileNotFoundError:
        return
    syscalls.mount_setattr(tree, set_attributes=syscalls.MOUNT_ATTR_RDONLY, recursive=True)
    target = os.open(path, os.O_PATH | os.O_NOFOLLOW)
    syscalls.move_mount(tree, target)
    os.close(target)
    os.close(tree)
