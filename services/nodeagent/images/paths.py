"""File-system work below one directory that a hostile archive cannot lead out of.

Why openat2: a layer is untrusted, and its symlinks may point anywhere. RESOLVE_IN_ROOT makes the kernel itself treat
the layer's directory as "/", so that no sequence of entries (link first, file through the link later; absolute links;
".." in link targets) reaches the host. Doing this by inspecting paths in user space is what the CVEs of this field are
about (CVE-2018-15664 and those of many tar readers).
Source: openat2(2), Linux 5.6.
"""

import ctypes
import errno
import os
import stat

_SYS_OPENAT2 = 437
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_IN_ROOT = 0x10
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
DEPTH = 64
ATTEMPTS = 1000
"""A walk takes microseconds, so this many in a row fail only if something is broken."""
_libc = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def openat2(directory: int, path: bytes, flags: int) -> int:
    """Open `path` with `directory` as its root, following symlinks inside it only. Raises OSError."""
    how = _OpenHow(flags, 0, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
    for _ in range(ATTEMPTS):
        fd = _libc.syscall(_SYS_OPENAT2, directory, ctypes.c_char_p(path), ctypes.byref(how), ctypes.sizeof(how))
        if fd >= 0:
            return int(fd)
        code = ctypes.get_errno()
        # a rename or mount anywhere on the machine during the walk over a ".." makes the kernel unsure; it says so
        if code != errno.EAGAIN:
            break
    raise OSError(code, os.strerror(code), os.fsdecode(path))


def syncfs(fd: int) -> None:
    """Flush the file system that `fd` is on (syncfs(2)), so that a rename after it never exposes unwritten files."""
    if _libc.syncfs(fd) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


class Root:
    """A directory that acts as "/" for everything below it. Close it when done."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._parent = b""
        self._parent_fd = -1
        self.implicit: set[bytes] = set()
        """Directories made only because something below them was named; an entry of their own clears them."""

    def close(self) -> None:
        """Release the descriptors."""
        self.forget()
        os.close(self.fd)

    def forget(self) -> None:
        """Drop the cached parent; needed whenever a directory or symlink on its path may have changed."""
        if self._parent_fd >= 0:
            os.close(self._parent_fd)
        self._parent_fd = -1

    def parent(self, path: bytes) -> tuple[int, bytes]:
        """The open parent directory of `path` and the last component. Missing parents are made, root-owned 0755.

        The descriptor stays valid until the next call.
        """
        head, _, name = path.rpartition(b"/")
        if self._parent_fd >= 0 and head == self._parent:
            return self._parent_fd, name
        self.forget()
        self._parent_fd = self._directory(head)
        self._parent = head
        return self._parent_fd, name

    def _directory(self, path: bytes) -> int:
        try:
            return openat2(self.fd, path or b".", _DIRECTORY)
        except FileNotFoundError:
            if not path:
                raise
        above, _, name = path.rpartition(b"/")
        parent = self._directory(above)
        try:
            # a dangling symlink here means its target has to be made, which a plain mkdir cannot do: refuse it
            os.mkdir(name, 0o755, dir_fd=parent)
            os.chmod(name, 0o755, dir_fd=parent)
        finally:
            os.close(parent)
        self.implicit.add(path)
        return openat2(self.fd, path, _DIRECTORY)

    def status(self, directory: int, name: bytes) -> os.stat_result | None:
        """lstat of an entry, None if it is not there."""
        try:
            return os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def remove(self, directory: int, name: bytes) -> None:
        """Remove an entry of `directory` and everything below it. Symlinks are removed, never followed.

        Not recursive, and it holds at most DEPTH descriptors: what an archive nested deeper is moved up first.
        """
        found = self.status(directory, name)
        if found is None:
            return
        if not stat.S_ISDIR(found.st_mode):
            os.unlink(name, dir_fd=directory)
            return
        stack = [_Open(_open_directory(directory, name), name)]
        moved = 0
        try:
            while stack:
                here = stack[-1]
                if not here.children:
                    os.close(stack.pop().fd)
                    os.rmdir(here.name, dir_fd=stack[-1].fd if stack else directory)
                    continue
                child = here.children.pop()
                try:
                    os.unlink(child, dir_fd=here.fd)
                except IsADirectoryError:
                    if len(stack) < DEPTH:
                        stack.append(_Open(_open_directory(here.fd, child), child))
                        continue
                    moved += 1
                    fresh = b".moved-%d-%d" % (os.getpid(), moved)
                    os.rename(child, fresh, src_dir_fd=here.fd, dst_dir_fd=stack[0].fd)
                    stack[0].children.append(fresh)
        finally:
            for left in stack:
                os.close(left.fd)


class _Open:
    """A directory being emptied."""

    def __init__(self, fd: int, name: bytes) -> None:
        self.fd = fd
        self.name = name
        self.children = [os.fsencode(child) for child in os.listdir(fd)]


def _open_directory(directory: int, name: bytes) -> int:
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)


def remove_tree(path: str | os.PathLike[str]) -> None:
    """Remove a directory tree or file without following symlinks; a missing one is fine."""
    directory, name = os.path.split(os.fspath(path))
    root = Root(directory)
    try:
        root.remove(root.fd, os.fsencode(name))
    finally:
        root.close()


def is_missing_capability(error: OSError) -> bool:
    """Whether an operation failed for lack of privilege or file-system support rather than a broken archive."""
    return error.errno in (errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP)
