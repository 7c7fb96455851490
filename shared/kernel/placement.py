"""Where a file system places directories that have nothing to do with each other.

ext4 puts a new file near its directory, and a new directory near its parent. It does not use an inode again within five
seconds of its deletion (`recently_deleted` in fs/ext4/ialloc.c), but looks at each such inode anew for every file that
is made: where small directories come and go all the time, as those of containers do, that becomes the greatest part of
making them. Below a directory marked as a top of the hierarchy every directory starts in a block group of its own.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

# linux/fs.h; the argument is an int, although the number is made from a long (ioctl_iflags(2))
_GET_FLAGS = 0x80086601 if struct.calcsize("l") == 8 else 0x80046601
_SET_FLAGS = 0x40086602 if struct.calcsize("l") == 8 else 0x40046602
_TOP_DIRECTORY = 0x00020000

_NOT_KNOWN_HERE = (errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM, errno.EACCES, errno.ENOSYS)


def spread(directory: str | os.PathLike[str]) -> None:
    """Let what is made below `directory` lie far apart, as `chattr +T` does; other file systems need no such help.

    OSError if there is no such directory.
    """
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        flags = struct.unpack("i", fcntl.ioctl(fd, _GET_FLAGS, struct.pack("i", 0)))[0]
        if not flags & _TOP_DIRECTORY:
            fcntl.ioctl(fd, _SET_FLAGS, struct.pack("i", flags | _TOP_DIRECTORY))
    except OSError as exc:
        if exc.errno not in _NOT_KNOWN_HERE:
            raise
    finally:
        os.close(fd)
