"""The root of a container from its config.json: what the creator opens, and what the newborn process makes of it.

Sources are opened by the creator, which sees the host's files and may read them all; the newborn process may live in a
user namespace where it can do neither. It only places what it has been given, always below the root by descriptor (see
keeper/rootfs.py), since an image's symbolic links lead anywhere.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from services.nodeagent.keeper import rootfs
from services.nodeagent.keeper.plan import DEVICES, LINKS
from services.nodeagent.keeper.rootfs import Progress
from services.nodeagent.oci.config import Config
from services.nodeagent.oci.groups import ContainerGroups
from services.nodeagent.oci.options import Attributes, MountOptions, parse
from shared.kernel import signals, syscalls
from shared.records import field, mutable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PROPAGATION = {
    "private": syscalls.MS_PRIVATE,
    "shared": syscalls.MS_SHARED,
    "slave": syscalls.MS_SLAVE,
    "unbindable": syscalls.MS_UNBINDABLE,
}
_TYPES = {"b": stat.S_IFBLK, "c": stat.S_IFCHR, "u": stat.S_IFCHR, "p": stat.S_IFIFO}


@mutable
class Entry:
    """One of `mounts`, ready to be placed. `tree` is a detached mount, -1 for a new file system; `parts` are the
    control group directories of a `cgroup` mount as (name, controllers, detached mount or -1)."""

    where: str
    target: str
    kind: str
    source: str
    options: MountOptions
    tree: int = -1
    parts: list[tuple[str, list[str], int]] = field(default_factory=list)


@mutable
class Device:
    """A device node; `tree` is the host's own, to be bound where nodes cannot be made."""

    path: str
    kind: int
    number: int
    mode: int
    uid: int
    gid: int
    tree: int = -1


@mutable
class Prepared:
    """Everything the newborn process needs. `tree` is the root as a detached mount, -1 without an own namespace."""

    root: str
    tree: int
    own_namespace: bool
    entries: list[Entry]
    devices: list[Device]
    links: bool
    hidden: list[str]
    read_only_paths: list[str]
    read_only: bool
    propagation: str

    def descriptors(self) -> set[int]:
        found = {self.tree, *(entry.tree for entry in self.entries), *(device.tree for device in self.devices)}
        for entry in self.entries:
            found.update(tree for _name, _controllers, tree in entry.parts)
        return {fd for fd in found if fd >= 0}

    def close(self) -> None:
        for fd in self.descriptors():
            os.close(fd)


def prepare(config: Config, groups: ContainerGroups) -> Prepared:
    """Open all that the root is made of. OSError, ValueError naming the mount; then nothing stays open."""
    own_namespace = config.new("mount")
    read_only = bool(config.raw["root"].get("readonly"))
    if read_only and not own_namespace:
        raise ValueError("root.readonly needs a mount namespace of the container's own")
    prepared = Prepared(
        root=config.root,
        tree=-1,
        own_namespace=own_namespace,
        entries=[],
        devices=[],
        links=False,
        hidden=list(config.linux.get("maskedPaths") or ()),
        read_only_paths=list(config.linux.get("readonlyPaths") or ()),
        read_only=read_only,
        propagation=config.linux.get("rootfsPropagation") or "private",
    )
    try:
        _open_all(prepared, config, groups)
    except BaseException:
        prepared.close()
        raise
    return prepared


def _open_all(prepared: Prepared, config: Config, groups: ContainerGroups) -> None:
    if prepared.own_namespace:
        flags = syscalls.OPEN_TREE_CLONE | syscalls.AT_RECURSIVE
        prepared.tree = syscalls.open_tree(config.root, flags)
        if prepared.propagation.removeprefix("r") == "slave":
            syscalls.mount_setattr(prepared.tree, propagation=syscalls.MS_SLAVE, recursive=True)
        else:
            syscalls.mount_setattr(prepared.tree, propagation=syscalls.MS_PRIVATE, recursive=True)
    for index, mount in enumerate(config.raw.get("mounts") or ()):
        prepared.entries.append(_entry(index, mount, config, groups))
    bound_dev = any(entry.target == "/dev" and entry.options.bind for entry in prepared.entries)
    if not bound_dev:
        prepared.links = True
        _open_devices(prepared, config)
    if "user" in config.namespaces:
        _make_targets(prepared)


def _entry(index: int, mount: dict[str, Any], config: Config, groups: ContainerGroups) -> Entry:
    where = f"mounts[{index}]"
    destination = mount.get("destination")
    if not destination:
        raise ValueError(f"{where}.destination is not set")
    target = os.path.normpath("/" + destination).replace("//", "/")
    options = parse(mount.get("options") or ())
    kind = mount.get("type") or ""
    options.bind = options.bind or kind == "bind"
    entry = Entry(where, target, kind, mount.get("source") or kind or "none", options)
    if options.bind and not options.flags & syscalls.MS_REMOUNT:
        entry.source = os.path.join(config.bundle, mount.get("source") or "")
        flags = syscalls.OPEN_TREE_CLONE | (syscalls.AT_RECURSIVE if options.recursive else 0)
        try:
            entry.tree = syscalls.open_tree(entry.source, flags)
        except OSError as exc:
            problem = (exc.strerror or "").lower()
            raise OSError(exc.errno, f"{where}: source {entry.source}: {problem}") from exc
        if options.id_mapped or mount.get("uidMappings"):
            _map_ids(entry, mount, config)
    elif kind == "cgroup":
        entry.parts = _group_parts(config, groups)
    elif kind == "sysfs" and "user" in config.namespaces and not config.new("network"):
        entry.tree = syscalls.open_tree("/sys", syscalls.OPEN_TREE_CLONE | syscalls.AT_RECURSIVE)
    elif not kind and not options.flags & syscalls.MS_REMOUNT:
        raise ValueError(f"{where}.type is not set")
    return entry


def _map_ids(entry: Entry, mount: dict[str, Any], config: Config) -> None:
    """Apply an id mapping to the detached tree, by a user namespace that lives only for it (mount_setattr(2))."""
    users, groups = (mount.get(name) or config.linux.get(name) or [] for name in ("uidMappings", "gidMappings"))
    if not users or not groups:
        raise ValueError(f"{entry.where}: an id-mapped mount needs uidMappings and gidMappings")
    pid, pidfd = syscalls.clone(syscalls.CLONE_NEWUSER)
    if pid == 0:
        signals.pause()
        os._exit(0)
    try:
        write_maps(pid, users, groups)
        namespace = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        try:
            syscalls.mount_setattr(
                entry.tree,
                set_attributes=syscalls.MOUNT_ATTR_IDMAP,
                user_namespace=namespace,
                recursive=entry.options.id_mapped == "ridmap",
            )
        finally:
            os.close(namespace)
    finally:
        os.close(pidfd)
        os.kill(pid, signals.SIGKILL)
        os.waitpid(pid, 0)


def write_maps(pid: int, users: list[dict[str, int]], groups: list[dict[str, int]]) -> None:
    """Give a new user namespace its mappings (user_namespaces(7))."""
    for name, mappings in (("uid_map", users), ("gid_map", groups)):
        text = "".join(f"{part['containerID']} {part['hostID']} {part['size']}\n" for part in mappings)
        fd = os.open(f"/proc/{pid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)


def _group_parts(config: Config, groups: ContainerGroups) -> list[tuple[str, list[str], int]]:
    """A process in a new cgroup namespace mounts its own hierarchies; else the directories are bound."""
    fresh = config.new("cgroup") and "user" not in config.namespaces
    if groups.version == 2:
        directory = groups.directory("")
        return [("", [], -1 if fresh else syscalls.open_tree(directory, syscalls.OPEN_TREE_CLONE))]
    return [
        (name, controllers, -1 if fresh else syscalls.open_tree(directory, syscalls.OPEN_TREE_CLONE))
        for name, controllers, directory in groups.visible()
    ]


def _open_devices(prepared: Prepared, config: Config) -> None:
    bound = "user" in config.namespaces
    listed = config.linux.get("devices") or ()
    for index, entry in enumerate(listed):
        where = f"linux.devices[{index}]"
        if entry.get("type") not in _TYPES:
            raise ValueError(f"{where}.type: {entry.get('type')!r} is not c, b, u or p")
        if not str(entry.get("path") or "").startswith("/"):
            raise ValueError(f"{where}.path: {entry.get('path')!r} is not an absolute path")
        mode = entry.get("fileMode")
        prepared.devices.append(
            Device(
                os.path.normpath(entry["path"]),
                _TYPES[entry["type"]],
                0 if entry["type"] == "p" else os.makedev(entry["major"], entry["minor"]),
                0o666 if mode is None else mode & 0o7777,
                entry.get("uid") or 0,
                entry.get("gid") or 0,
            )
        )
    paths = {device.path for device in prepared.devices}
    for name, major, minor in DEVICES:
        if f"/dev/{name}" not in paths:
            number = os.makedev(major, minor)
            prepared.devices.append(Device(f"/dev/{name}", stat.S_IFCHR, number, 0o666, 0, 0))
    for device in prepared.devices if bound else ():
        if device.kind != stat.S_IFIFO:
            device.tree = syscalls.open_tree(device.path, syscalls.OPEN_TREE_CLONE)


def _make_targets(prepared: Prepared) -> None:
    """Make missing mount points of the image itself: the newborn process's root may not be allowed to."""
    root = os.open(prepared.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    covered: list[str] = []
    try:
        for entry in prepared.entries:
            if not any(entry.target.startswith(path + "/") for path in covered):
                directory = entry.tree < 0 or stat.S_ISDIR(os.fstat(entry.tree).st_mode)
                os.close(rootfs.open_in_root(root, entry.target, directory=directory))
            covered.append(entry.target.rstrip("/"))
    finally:
        os.close(root)


def assemble(prepared: Prepared, progress: Progress) -> tuple[int, list[str]]:
    """Build the root in the newborn process; return its descriptor, and the paths of mounts if they are not in a
    namespace that ends with the container."""
    progress("mounting the root file system")
    if prepared.own_namespace:
        syscalls.mount("", "/", "", syscalls.MS_SLAVE | syscalls.MS_REC)
        syscalls.mount("", "/", "", syscalls.MS_PRIVATE)
        place = os.open("/", os.O_PATH | os.O_DIRECTORY)
        syscalls.move_mount(prepared.tree, place)
        os.close(place)
        root = prepared.tree
    else:
        root = os.open(prepared.root, os.O_PATH | os.O_DIRECTORY)
    made: list[str] = []
    for entry in prepared.entries:
        progress(f"{entry.where}: mounting {entry.source} at {entry.target}")
        target = _mount(root, entry)
        if not prepared.own_namespace:
            made.append(os.readlink(f"/proc/self/fd/{target}"))
        os.close(target)
    for device in prepared.devices:
        progress(f"making the device {device.path}")
        _make_device(root, device)
    for path, target_path in LINKS if prepared.links else ():
        progress(f"linking {path}")
        with contextlib.suppress(FileNotFoundError):
            rootfs.link(root, path, target_path)
    for entry in prepared.entries:
        if entry.target == "/dev" and entry.options.own.set & syscalls.MOUNT_ATTR_RDONLY and entry.tree < 0:
            target = rootfs.resolve(root, "/dev")
            syscalls.mount_setattr(target, set_attributes=syscalls.MOUNT_ATTR_RDONLY)
            os.close(target)
    return root, made


def _mount(root: int, entry: Entry) -> int:
    """Place one entry; return a descriptor of what is mounted there now."""
    options = entry.options
    if options.flags & syscalls.MS_REMOUNT:
        target = rootfs.resolve(root, entry.target)
        if not options.bind:
            path = f"/proc/self/fd/{target}"
            syscalls.mount(entry.source, path, entry.kind, options.flags, ",".join(options.data))
            return target
    elif options.bind:
        is_directory = stat.S_ISDIR(os.fstat(entry.tree).st_mode)
        target = _move(root, entry.tree, entry.target, directory=is_directory)
        copy = _renew(target, options)
        if copy != target:
            os.close(target)
            target = _move(root, copy, entry.target, directory=is_directory)
            os.close(copy)
    elif entry.parts:
        target = _mount_groups(root, entry)
    else:
        target = _mount_new(root, entry)
    if options.bind:
        _change(target, options.own, recursive=False)
    _change(target, options.below, recursive=True)
    for propagation, recursive in options.propagation:
        syscalls.mount_setattr(target, propagation=propagation, recursive=recursive)
    return target


def _change(target: int, attributes: Attributes, *, recursive: bool) -> None:
    if attributes.any:
        syscalls.mount_setattr(
            target, set_attributes=attributes.set, clear_attributes=attributes.clear, recursive=recursive
        )


def _renew(target: int, options: MountOptions) -> int:
    """Replace what was just bound by a copy made now: /proc/self/mountinfo lists mounts by age, and the sources are
    older than every file system. In a user namespace the copy is refused, and the order stays."""
    flags = syscalls.OPEN_TREE_CLONE | syscalls.AT_EMPTY_PATH | (syscalls.AT_RECURSIVE if options.recursive else 0)
    try:
        copy = syscalls.open_tree("", flags, directory_fd=target)
    except OSError:
        return target
    syscalls.umount(f"/proc/self/fd/{target}", syscalls.MNT_DETACH)
    return copy


def _move(root: int, tree: int, path: str, *, directory: bool) -> int:
    target = rootfs.open_in_root(root, path, directory=directory)
    syscalls.move_mount(tree, target)
    os.close(target)
    return os.dup(tree)


def _mount_new(root: int, entry: Entry) -> int:
    options = entry.options
    flags = options.flags
    if entry.target == "/dev":
        flags &= ~syscalls.MS_RDONLY  # only when the nodes have been made
    target = rootfs.open_in_root(root, entry.target, directory=True)
    path = f"/proc/self/fd/{target}"
    try:
        syscalls.mount(entry.source, path, entry.kind, flags, ",".join(options.data))
    except PermissionError:
        if entry.tree < 0:
            raise
        os.close(target)
        options.bind = True
        return _move(root, entry.tree, entry.target, directory=True)
    fresh = rootfs.resolve(root, entry.target)
    if options.copy_up and entry.kind == "tmpfs":
        copy_tree(target, fresh)
    os.close(target)
    return fresh


def _mount_groups(root: int, entry: Entry) -> int:
    safe = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
    read_only = entry.options.flags & syscalls.MS_RDONLY
    name, _controllers, tree = entry.parts[0]
    target = rootfs.open_in_root(root, entry.target, directory=True)
    path = f"/proc/self/fd/{target}"
    if not name:
        if tree < 0:
            syscalls.mount("cgroup", path, "cgroup2", safe | read_only)
        else:
            syscalls.move_mount(tree, target)
        os.close(target)
        result = rootfs.resolve(root, entry.target)
    else:
        syscalls.mount("tmpfs", path, "tmpfs", safe, "mode=755")
        os.close(target)
        result = rootfs.resolve(root, entry.target)
        for name, controllers, tree in entry.parts:
            _mount_hierarchy(root, f"{entry.target}/{name}", controllers, tree, safe | read_only)
            for controller in controllers:
                if controller != name and "=" not in controller:
                    rootfs.link(root, f"{entry.target}/{controller}", name)
    if read_only:
        syscalls.mount_setattr(result, set_attributes=syscalls.MOUNT_ATTR_RDONLY, recursive=True)
    return result


def _mount_hierarchy(root: int, path: str, controllers: list[str], tree: int, flags: int) -> None:
    target = rootfs.open_in_root(root, path, directory=True)
    if tree < 0:
        options = ",".join(f"none,{word}" if word.startswith("name=") else word for word in controllers)
        syscalls.mount("cgroup", f"/proc/self/fd/{target}", "cgroup", flags, options)
    else:
        syscalls.move_mount(tree, target)
    os.close(target)


def copy_tree(source: int, target: int) -> None:
    """Copy what is below one directory to another, with owners and modes (the mount option `tmpcopyup`)."""
    status = os.fstat(source)
    os.chmod(f"/proc/self/fd/{target}", stat.S_IMODE(status.st_mode))
    _give(f"/proc/self/fd/{target}", status)
    for name in os.listdir(f"/proc/self/fd/{source}"):
        entry = os.lstat(f"/proc/self/fd/{source}/{name}")
        new = f"/proc/self/fd/{target}/{name}"
        if stat.S_ISDIR(entry.st_mode):
            os.mkdir(new)
            inner = [os.open(f"/proc/self/fd/{fd}/{name}", os.O_PATH | os.O_NOFOLLOW) for fd in (source, target)]
            copy_tree(*inner)
            for fd in inner:
                os.close(fd)
            continue
        if stat.S_ISLNK(entry.st_mode):
            os.symlink(os.readlink(f"/proc/self/fd/{source}/{name}"), new)
        elif stat.S_ISREG(entry.st_mode):
            _copy_file(f"/proc/self/fd/{source}/{name}", new, stat.S_IMODE(entry.st_mode))
        else:
            continue
        _give(new, entry, follow=False)


def _give(path: str, status: os.stat_result, *, follow: bool = True) -> None:
    """Pass the owner on, unless this user namespace does not know him (EINVAL)."""
    with contextlib.suppress(OSError):
        os.chown(path, status.st_uid, status.st_gid, follow_symlinks=follow)


def _copy_file(source: str, target: str, mode: int) -> None:
    with open(source, "rb") as old, open(target, "xb") as new:
        while data := old.read(1 << 20):
            new.write(data)
        os.fchmod(new.fileno(), mode)


def _make_device(root: int, device: Device) -> None:
    parent, _, name = device.path.rpartition("/")
    if device.tree >= 0:
        os.close(_move(root, device.tree, device.path, directory=False))
        return
    directory = rootfs.open_in_root(root, parent or "/", directory=True)
    path = f"/proc/self/fd/{directory}/{name}"
    try:
        os.mknod(name, device.kind | device.mode, device.number, dir_fd=directory)
    except FileExistsError:
        status = os.lstat(path)
        if stat.S_IFMT(status.st_mode) != device.kind or (device.number and status.st_rdev != device.number):
            raise OSError(errno.EEXIST, "a file is there that is not this device", device.path) from None
    os.chmod(path, device.mode)
    os.chown(path, device.uid, device.gid)
    os.close(directory)


def enter(prepared: Prepared, root: int, progress: Progress) -> None:
    """Make the assembled root this process's root, and hide or freeze what is asked for."""
    progress("entering the root file system")
    if prepared.own_namespace:
        rootfs.enter(root)
    else:
        os.fchdir(root)
        os.chroot(".")
        os.close(root)
        os.chdir("/")
    for path in prepared.read_only_paths:
        progress(f"making {path} read-only")
        rootfs.freeze(path)
    for path in prepared.hidden:
        progress(f"hiding {path}")
        rootfs.hide(path)
    if not prepared.own_namespace:
        return
    fd = os.open("/", os.O_PATH)
    if prepared.read_only:
        progress("making the root read-only")
        syscalls.mount_setattr(fd, set_attributes=syscalls.MOUNT_ATTR_RDONLY)
    kind, recursive = prepared.propagation.removeprefix("r"), prepared.propagation.startswith("r")
    if kind in ("shared", "unbindable"):
        progress("setting the propagation of the root")
        syscalls.mount_setattr(fd, propagation=_PROPAGATION[kind], recursive=recursive)
    os.close(fd)
