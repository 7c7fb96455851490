"""A container's root in a user namespace: the same files, shown with other owners.

What is the host's is gathered by a process that still has the host's privileges, and every tree gets the pod's mapping
(mount_setattr(2), MOUNT_ATTR_IDMAP), so that root's files stay root's inside while the disk never sees the pod's ids.
An overlay itself cannot be mapped; its layers can (Linux 5.19), and where the file system of the root's cannot, they
are copied with shifted owners. Device nodes cannot be made in a user namespace, so the host's are shown.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from services.nodeagent.keeper.plan import DEVICES, Bind, RootPlan
from services.nodeagent.keeper.rootfs import (
    Gathered,
    Progress,
    host_devices,
    open_source,
    overlay_options,
    prepare_writable,
    wants_everything,
)
from shared.kernel import syscalls

_UNMAPPABLE = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)
_COPY_BYTES = 1 << 20


def gather(
    plan: RootPlan, writable: str, lower: list[str], user_namespace: int, root_id: int, progress: Progress
) -> Gathered:
    """As rootfs.gather, with every owner mapped into `user_namespace` (a descriptor), whose root is `root_id`.

    OSError naming the source if its file system cannot be mapped.
    """
    gathered = Gathered(-1)
    unions: list[tuple[int, Bind]] = []
    for index, step in enumerate(plan.inside):
        if isinstance(step, Bind):
            progress(f"opening {step.source} for {step.target}")
            if step.mapped and step.layers:
                unions.append((index, step))
                continue
            gathered.sources[index] = tree = open_source(step)
            if step.mapped:
                progress(f"mapping the owners of {step.source} for {step.target}")
                map_owners(tree, user_namespace, step.source)
    progress("making mounts private")
    syscalls.mount("", "/", "", syscalls.MS_PRIVATE | syscalls.MS_REC)
    for index, bind in unions:
        progress(f"mapping the owners of the layers of {bind.source} for {bind.target}")
        gathered.sources[index] = _open_union(bind, writable, user_namespace)
    progress("opening the host's devices")
    names = [f"/dev/{name}" for name, _major, _minor in DEVICES]
    if wants_everything(plan):
        names += [path for path, _mode, _device in host_devices() if path not in ("/dev/ptmx", "/dev/console")]
    for path in dict.fromkeys(names):
        gathered.nodes[path] = syscalls.open_tree(path, syscalls.OPEN_TREE_CLONE)
    progress("mounting the root file system")
    gathered.root = _mount_overlay(writable, lower, user_namespace, root_id)
    return gathered


def attach_root(gathered: Gathered) -> None:
    """Put the overlay where it can become the root: over the present one, the only path that anybody can resolve."""
    _attach(gathered.root, "/")


def _attach(tree: int, path: str) -> None:
    """Mount a detached tree on a directory."""
    target = os.open(path, os.O_PATH | os.O_DIRECTORY)
    syscalls.move_mount(tree, target)
    os.close(target)


def _make_scratch(path: str) -> str:
    """A directory in memory, to mount layers in; its own mount is to be taken away with all in it."""
    os.makedirs(path, exist_ok=True)
    syscalls.mount("layers", path, "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, "mode=700")
    return path


def map_owners(tree: int, user_namespace: int, path: str) -> None:
    """Give a detached tree the mapping of a user namespace. OSError that names the path and says what is missing."""
    try:
        syscalls.mount_setattr(tree, set_attributes=syscalls.MOUNT_ATTR_IDMAP, user_namespace=user_namespace)
    except OSError as exc:
        if exc.errno not in _UNMAPPABLE:
            raise
        text = "its file system or this kernel does not support id-mapped mounts"
        raise OSError(exc.errno, text, path) from exc


def _open_union(bind: Bind, writable: str, user_namespace: int) -> int:
    """As rootfs.open_source, of a read-only union whose layers are mapped."""
    scratch = _make_scratch(f"{writable}/union")
    try:
        fds = []
        for index, layer in enumerate(bind.layers):
            tree = syscalls.open_tree(layer, syscalls.OPEN_TREE_CLONE)
            map_owners(tree, user_namespace, layer)
            target = f"{scratch}/{index}"
            os.mkdir(target)
            _attach(tree, target)
            os.close(tree)
            fds.append(os.open(target, os.O_PATH | os.O_DIRECTORY))
        union = f"{scratch}/all"
        os.mkdir(union)
        options = "lowerdir=" + ":".join(f"/proc/self/fd/{fd}" for fd in fds)
        flags = syscalls.MS_RDONLY | syscalls.MS_NOSUID | syscalls.MS_NODEV
        syscalls.mount("overlay", union, "overlay", flags, options)
        for fd in fds:
            os.close(fd)
        return open_source(Bind(union, bind.target, sub_path=bind.sub_path))
    finally:
        syscalls.umount(scratch, syscalls.MNT_DETACH)


def _mount_overlay(writable: str, lower: list[str], user_namespace: int, root_id: int) -> int:
    """The overlay as a detached tree, mounted nowhere."""
    upper, work = prepare_writable(writable, lower, root_id)
    scratch = _make_scratch(f"{writable}/lower")
    layers = []
    for index, layer in enumerate(lower):
        target = f"{scratch}/{index}"
        tree = syscalls.open_tree(layer, syscalls.OPEN_TREE_CLONE)
        try:
            map_owners(tree, user_namespace, layer)
        except OSError as exc:
            if exc.errno not in _UNMAPPABLE:
                raise
            layers.append(shifted_copy(layer, f"{writable}/copies/{index}", root_id))
            continue
        else:
            os.mkdir(target)
            _attach(tree, target)
            layers.append(target)
        finally:
            os.close(tree)
    fds = [os.open(path, os.O_PATH | os.O_DIRECTORY) for path in (*layers, upper, work)]
    names = [f"/proc/self/fd/{fd}" for fd in fds]
    syscalls.mount("overlay", writable, "overlay", 0, overlay_options(names[:-2], names[-2], names[-1]))
    root = syscalls.open_tree(writable, syscalls.OPEN_TREE_CLONE)
    syscalls.umount(writable, syscalls.MNT_DETACH)
    syscalls.umount(scratch, syscalls.MNT_DETACH)
    for fd in fds:
        os.close(fd)
    return root


def shifted_copy(source: str, target: str, root_id: int) -> str:
    """Copy a layer with `root_id` added to every owner; return `target`, which may be there already, whole.

    Overlay's own marks (whiteouts, opaque directories) and hard links are kept.
    """
    if os.path.isdir(target):
        return target
    unfinished = f"{target}.new"
    os.makedirs(os.path.dirname(target), exist_ok=True)
    _copy_directory(source, unfinished, root_id, {})
    os.rename(unfinished, target)
    return target


def _copy_directory(source: str, target: str, root_id: int, links: dict[tuple[int, int], str]) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(target)
    with os.scandir(source) as entries:
        for entry in entries:
            path = f"{target}/{entry.name}"
            status = entry.stat(follow_symlinks=False)
            if entry.is_dir(follow_symlinks=False):
                _copy_directory(entry.path, path, root_id, links)
                continue
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            first = links.setdefault((status.st_dev, status.st_ino), path)
            if first != path:
                os.link(first, path, follow_symlinks=False)
                continue
            _copy_node(entry.path, path, status)
            _copy_owner(entry.path, path, status, root_id)
    _copy_owner(source, target, os.lstat(source), root_id)


def _copy_node(source: str, target: str, status: os.stat_result) -> None:
    if stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(source), target)
    elif not stat.S_ISREG(status.st_mode):
        os.mknod(target, status.st_mode, status.st_rdev)
    else:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        old, new = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), os.open(target, flags, 0o600)
        try:
            while os.copy_file_range(old, new, _COPY_BYTES):
                pass
        finally:
            os.close(old)
            os.close(new)


def _copy_owner(source: str, target: str, status: os.stat_result, root_id: int) -> None:
    """Owner, then attributes (chown(2) takes file capabilities away), mode and times."""
    os.chown(target, status.st_uid + root_id, status.st_gid + root_id, follow_symlinks=False)
    for name in os.listxattr(source, follow_symlinks=False):
        with contextlib.suppress(OSError):  # another file system may not have the kind
            os.setxattr(target, name, os.getxattr(source, name, follow_symlinks=False), follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        os.chmod(target, stat.S_IMODE(status.st_mode))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)
