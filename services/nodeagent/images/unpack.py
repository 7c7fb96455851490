"""A layer's tar stream -> a directory that overlayfs can use as a lower layer.

Why a translator of our own: OCI layers spell deletions as `.wh.` files, overlayfs as character devices 0/0 and an
opaque xattr; and tarfile's own extraction follows symlinks that an archive made, forgets device numbers' safety and
keeps every member in memory. This one streams: memory does not grow with the layer.
Source: OCI image spec v1.1 layer.md ("Whiteouts", "Applying Changesets"); the kernel's filesystems/overlayfs.rst; PAX
headers `SCHILY.xattr.*` as written by GNU tar and every image builder.
"""

import errno
import os
import stat
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from tarfile import HeaderError
from typing import IO, Self, cast

from services.nodeagent.images import paths
from shared.images.digests import Readable
from shared.images.errors import CorruptContent, StorageFailure

WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"
OPAQUE_XATTR = "trusted.overlay.opaque"
_XATTR = "SCHILY.xattr."
_KEPT_XATTRS = ("user.", "security.capability", "system.posix_acl_access", "system.posix_acl_default")
_BLOCK = 256 << 10
_BUFFER = 64 << 10
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE)
_PRIVILEGE = (errno.EPERM, errno.EACCES, errno.ENOTSUP)


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What unpacking found: content bytes, number of entries, and directories that have no entry of their own."""

    size: int
    entries: int
    implicit: tuple[str, ...]


class _Member(tarfile.TarInfo):
    """A member whose damaged header is an error: tarfile takes it for the end, and half an image would look whole."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile)
        except HeaderError as exc:
            if type(exc).__name__ not in ("EOFHeaderError", "EmptyHeaderError"):
                raise CorruptContent(f"tar header cannot be read: {exc}") from exc
            raise


def unpack(source: Readable, target: str, what: str, cancelled: Callable[[], bool] = lambda: False) -> Unpacked:
    """Unpack an uncompressed tar stream into the existing, empty directory `target` and read the stream to its end.

    `what` names the layer in errors. Raises CorruptContent for a malformed or escaping archive, StorageFailure when the
    file system refuses; the caller removes `target` then. `cancelled` is asked between entries.
    """
    writer = _Writer(target, what)
    try:
        # stream mode calls nothing but read(size), whatever the type stubs ask for
        stream = cast(IO[bytes], source)
        with tarfile.open(
            fileobj=stream, mode="r|", bufsize=_BUFFER, tarinfo=_Member, encoding="utf-8", errorlevel=2
        ) as archive:
            while (member := archive.next()) is not None:
                if cancelled():
                    raise InterruptedError(f"{what} is no longer wanted")
                writer.add(archive, member)
                archive.members = []  # type: ignore[attr-defined]  # it would keep every entry for random access
        while source.read(_BLOCK):
            pass  # padding after the end mark is part of the digest
        return writer.finish()
    except (tarfile.TarError, UnicodeError, EOFError) as exc:
        raise CorruptContent(f"{what} is not a readable tar archive: {exc}") from exc
    finally:
        writer.close()


class _Writer:
    def __init__(self, target: str, what: str) -> None:
        self._root = paths.Root(target)
        self._what = what
        self._size = 0
        self._entries = 0
        self._times: dict[bytes, int] = {}

    def close(self) -> None:
        self._root.close()

    def finish(self) -> Unpacked:
        # a directory's time changes with every entry made in it, so times come last, deepest first
        for path in sorted(self._times, reverse=True):
            try:
                fd = paths.openat2(self._root.fd, path or b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except (FileNotFoundError, NotADirectoryError):
                continue  # reached through a link that a later entry replaced
            try:
                os.utime(fd, ns=(self._times[path], self._times[path]))
            finally:
                os.close(fd)
        return Unpacked(self._size, self._entries, tuple(sorted(os.fsdecode(p) for p in self._root.implicit)))

    def add(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        path = self._clean(member.name)
        self._entries += 1
        try:
            self._add(archive, member, path)
        except OSError as exc:
            name = member.name
            if isinstance(exc, InterruptedError):
                raise
            if exc.errno in _DISK + _PRIVILEGE:
                raise StorageFailure(f"{self._what}: cannot write {name!r}: {exc.strerror}") from exc
            raise CorruptContent(f"{self._what}: entry {name!r} cannot be unpacked: {exc.strerror or exc}") from exc

    def _clean(self, name: str) -> bytes:
        parts = [part for part in os.fsencode(name).split(b"/") if part not in (b"", b".")]
        if b".." in parts:
            raise CorruptContent(f"{self._what}: entry {name!r} leads outside the layer")
        if b"\0" in os.fsencode(name):
            raise CorruptContent(f"{self._what}: entry {name!r} contains a zero byte")
        return b"/".join(parts)

    def _add(self, archive: tarfile.TarFile, member: tarfile.TarInfo, path: bytes) -> None:
        if not path:
            if member.isdir():
                self._metadata_of_directory(self._root.fd, b".", path, member)
            return
        directory, name = self._root.parent(path)
        if name.startswith(WHITEOUT):
            self._whiteout(directory, name)
            return
        if member.isdir():
            self._directory(directory, name, path, member)
            return
        existing = self._root.status(directory, name)
        if existing is not None:
            self._replace(directory, name, path, existing)
        if member.islnk():
            self._hard_link(directory, name, member)
            return
        self._make(archive, member, directory, name)

    def _make(self, archive: tarfile.TarFile, member: tarfile.TarInfo, directory: int, name: bytes) -> None:
        mode = stat.S_IMODE(member.mode)
        if member.isreg():
            self._file(archive, member, directory, name, mode)
            return
        if member.issym():
            os.symlink(os.fsencode(member.linkname), name, dir_fd=directory)
            os.chown(name, member.uid, member.gid, dir_fd=directory, follow_symlinks=False)
        elif member.isfifo():
            os.mknod(name, stat.S_IFIFO | mode, dir_fd=directory)
        elif member.ischr() or member.isblk():
            kind = stat.S_IFCHR if member.ischr() else stat.S_IFBLK
            os.mknod(name, kind | mode, os.makedev(member.devmajor, member.devminor), dir_fd=directory)
        else:
            raise CorruptContent(f"{self._what}: entry {member.name!r} has unknown type {member.type!r}")
        if not member.issym():
            os.chown(name, member.uid, member.gid, dir_fd=directory, follow_symlinks=False)
            os.chmod(name, mode, dir_fd=directory)  # the name was just made by us, it is no symlink
        self._xattrs(f"/proc/self/fd/{directory}/{os.fsdecode(name)}", member, follow=False)
        stamp = _nanoseconds(member)
        os.utime(name, ns=(stamp, stamp), dir_fd=directory, follow_symlinks=False)

    def _file(self, archive: tarfile.TarFile, member: tarfile.TarInfo, directory: int, name: bytes, mode: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        content = archive.extractfile(member)
        if content is None:
            raise CorruptContent(f"{self._what}: entry {member.name!r} has no content")
        fd = os.open(name, flags, 0o600, dir_fd=directory)
        try:
            left = member.size
            while left:
                data = content.read(min(left, _BLOCK))
                if not data:
                    raise CorruptContent(f"{self._what}: entry {member.name!r} is cut off")
                left -= len(data)
                view = memoryview(data)
                while view:
                    view = view[os.write(fd, view) :]
            os.fchown(fd, member.uid, member.gid)
            os.fchmod(fd, mode)  # after chown, which clears set-user-id
            self._xattrs(fd, member)
            stamp = _nanoseconds(member)
            os.utime(fd, ns=(stamp, stamp))
        finally:
            os.close(fd)
        self._size += member.size

    def _directory(self, directory: int, name: bytes, path: bytes, member: tarfile.TarInfo) -> None:
        existing = self._root.status(directory, name)
        replaces_whiteout = existing is not None and _is_whiteout(existing)
        if existing is not None and not stat.S_ISDIR(existing.st_mode):
            self._replace(directory, name, path, existing)
            existing = None
        if existing is None:
            os.mkdir(name, 0o700, dir_fd=directory)
        self._metadata_of_directory(directory, name, path, member)
        if replaces_whiteout:
            self._make_opaque(directory, name)

    def _metadata_of_directory(self, directory: int, name: bytes, path: bytes, member: tarfile.TarInfo) -> None:
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        try:
            os.fchown(fd, member.uid, member.gid)
            os.fchmod(fd, stat.S_IMODE(member.mode))
            self._xattrs(fd, member)
        finally:
            os.close(fd)
        self._root.implicit.discard(path)
        self._times[path] = _nanoseconds(member)

    def _hard_link(self, directory: int, name: bytes, member: tarfile.TarInfo) -> None:
        target = self._clean(member.linkname)
        head, _, last = target.rpartition(b"/")
        try:
            source = paths.openat2(self._root.fd, head or b".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.link(last, name, src_dir_fd=source, dst_dir_fd=directory, follow_symlinks=False)
            finally:
                os.close(source)
        except FileNotFoundError as exc:
            raise CorruptContent(
                f"{self._what}: hard link {member.name!r} to {member.linkname!r}, which is not in the layer"
            ) from exc

    def _whiteout(self, directory: int, name: bytes) -> None:
        if name == OPAQUE:
            self._make_opaque(directory, b".")
            return
        hidden = name[len(WHITEOUT) :]
        if name.startswith(WHITEOUT + WHITEOUT):
            return  # aufs bookkeeping (.wh..wh.plnk and the like) hides nothing
        if hidden in (b"", b".", b".."):
            raise CorruptContent(f"{self._what}: whiteout {os.fsdecode(name)!r} names nothing")
        existing = self._root.status(directory, hidden)
        if existing is None:
            os.mknod(hidden, stat.S_IFCHR, 0, dir_fd=directory)
        elif stat.S_ISDIR(existing.st_mode):
            # a whiteout hides what lower layers have, not what this layer itself brings
            self._make_opaque(directory, hidden)

    def _make_opaque(self, directory: int, name: bytes) -> None:
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        try:
            os.setxattr(fd, OPAQUE_XATTR, b"y")
        finally:
            os.close(fd)

    def _replace(self, directory: int, name: bytes, path: bytes, existing: os.stat_result) -> None:
        self._root.remove(directory, name)
        if stat.S_ISDIR(existing.st_mode):
            below = path + b"/"
            self._times = {p: t for p, t in self._times.items() if p != path and not p.startswith(below)}
            self._root.implicit = {p for p in self._root.implicit if p != path and not p.startswith(below)}

    def _xattrs(self, target: int | str, member: tarfile.TarInfo, follow: bool = True) -> None:
        for key, value in member.pax_headers.items():
            name = key.removeprefix(_XATTR)
            # trusted.overlay.* from an archive would redirect overlayfs to files of other layers
            if name == key or not name.startswith(_KEPT_XATTRS):
                continue
            try:
                os.setxattr(target, name, value.encode("utf-8", "surrogateescape"), follow_symlinks=follow)
            except OSError as exc:
                if not paths.is_missing_capability(exc):
                    raise


def _nanoseconds(member: tarfile.TarInfo) -> int:
    return int(member.mtime * 1_000_000_000) if member.mtime > 0 else 0


def _is_whiteout(found: os.stat_result) -> bool:
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0
