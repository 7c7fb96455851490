"""fsGroup: giving a volume's files to a group before the pod's containers see them.

Source: core/v1 PodSecurityContext.fsGroup and fsGroupChangePolicy (KEP-695): the group owns everything, may read and
write what the owner may use, and directories hand their group on. Links are never followed.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

_READ, _WRITE = 0o440, 0o660
_DIRECTORY = 0o110 | stat.S_ISGID


def apply(root: Path, group: int, policy: str, *, read_only: bool) -> bool:
    """Give the tree at `root` to `group`; with policy OnRootMismatch only if the root itself is not right yet.

    Whether anything was looked at below the root. Raises OSError.
    """
    if policy == "OnRootMismatch" and _is_right(root, group, read_only):
        return False
    # the root comes last: if this is cut short, OnRootMismatch begins again
    for path, is_directory in _walk(root):
        _give(path, group, read_only, is_directory)
    return True


def _is_right(root: Path, group: int, read_only: bool) -> bool:
    status = root.stat()
    wanted = (_READ if read_only else _WRITE) | _DIRECTORY
    return status.st_gid == group and status.st_mode & wanted == wanted


def _walk(root: Path) -> Iterator[tuple[str, bool]]:
    for directory, _, files, _fd in os.fwalk(root, topdown=False, follow_symlinks=False):
        for name in files:
            yield os.path.join(directory, name), False
        yield directory, True


def _give(path: str, group: int, read_only: bool, is_directory: bool) -> None:
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        os.lchown(path, -1, group)
        return
    # chown(2) clears set-id bits, hence the mode comes last
    os.chown(path, -1, group, follow_symlinks=False)
    mode = stat.S_IMODE(status.st_mode) | (_READ if read_only else _WRITE) | (_DIRECTORY if is_directory else 0)
    os.chmod(path, mode)
