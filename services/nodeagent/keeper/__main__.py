"""Entry point: `python -m services.nodeagent.keeper`."""

from __future__ import annotations

import contextlib
import os
import sys

from shared.kernel import syscalls


def protect_interpreter() -> None:
    """Execute this process again from a read-only copy of the interpreter's mount.

    A process of a container may get hold of /proc/<pid>/exe of one that is on its way into the container; what it gets
    must not be a way to write to the host's interpreter (CVE-2019-5736). Where the kernel refuses, things stay as they
    are.
    """
    if os.statvfs("/proc/self/exe").f_flag & os.ST_RDONLY:
        return
    with contextlib.suppress(OSError):
        copy = syscalls.open_tree(os.path.realpath("/proc/self/exe"), syscalls.OPEN_TREE_CLONE)
        syscalls.mount_setattr(copy, set_attributes=syscalls.MOUNT_ATTR_RDONLY)
        argv = [os.fsencode(word) for word in (sys.executable, *sys.orig_argv[1:])]
        env = [os.fsencode(f"{key}={value}") for key, value in os.environ.items()]
        syscalls.execveat(copy, argv, env)


if __name__ == "__main__":
    protect_interpreter()
    # not before: the process that is executed again would import all of it twice
    from services.nodeagent.keeper.app import main

    sys.exit(main())
