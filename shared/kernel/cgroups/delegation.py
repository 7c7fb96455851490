"""Which part of the cgroup2 tree is ours to write to: all of it, or what a service manager has handed down.

systemd gives a unit with `Delegate=yes` the groups below the unit's own and marks that one with an extended attribute
(https://systemd.io/CGROUP_DELEGATION). The same holds for the root that a cgroup namespace shows: it belongs to us, but
it is not the real root. Either may not hold processes itself once it hands controllers down, so these move one down.
"""

from __future__ import annotations

import contextlib
import os

LEAF = "services"
_MARKS = ("trusted.delegate", "user.delegate")


def own_path() -> str:
    """This process's group in the cgroup2 tree, "/" for the root."""
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        for line in file:
            number, _, rest = line.rstrip("\n").partition(":")
            if number == "0":
                return rest.partition(":")[2]
    return "/"


def subtree(root: str) -> str:
    """The path below `root`, a mount of cgroup2, of the outermost delegated group this process is in, else "".

    A login session is no service: what a user's manager was handed ends when that user leaves.
    """
    own = own_path()
    if own.startswith("/user.slice/"):
        return ""
    path = ""
    for part in own.split("/")[1:]:
        if part in ("", ".."):
            return ""  # the root, or a group that this namespace does not show
        path += f"/{part}"
        if _is_delegated(root + path):
            return path
    return ""


def _is_delegated(directory: str) -> bool:
    for name in _MARKS:
        with contextlib.suppress(OSError):
            if os.getxattr(directory, name) == b"1":
                return True
    return False


def settle(root: str) -> None:
    """Move the processes that are in the delegated group itself into LEAF below it; idempotent.

    OSError if the kernel refuses, for example because the group is not ours.
    """
    directory = root + subtree(root)
    if not os.path.exists(f"{directory}/cgroup.type"):
        return  # the real root, which may hold processes as well
    with open(f"{directory}/cgroup.procs", encoding="ascii") as file:
        pids = [line for line in file.read().split() if line != "0"]
    if not pids:
        return
    with contextlib.suppress(FileExistsError):
        os.mkdir(f"{directory}/{LEAF}", 0o755)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError), open(f"{directory}/{LEAF}/cgroup.procs", "w") as file:
            file.write(pid)
