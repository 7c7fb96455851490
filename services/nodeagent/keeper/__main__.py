"""Starts the keeper of one node: `python -m services.nodeagent.keeper`.

Environment: WHERRY_RUN, WHERRY_CLUSTER, WHERRY_NODE_NAME, WHERRY_CGROUP_PARENT (default: what is delegated to
this process). The process is already in the node's network namespace.
Everything it needs is imported and frozen before the first fork, so that a child copies few pages.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import sys

from services.nodeagent.keeper import succession
from services.nodeagent.keeper.keeper import Keeper
from services.nodeagent.keeper.loop import Loop
from services.nodeagent.keeper.process import raise_descriptor_limit
from shared.kernel import syscalls
from shared.kernel.cgroups import groups


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


def main() -> int:
    missing = [name for name in ("WHERRY_RUN", "WHERRY_NODE_NAME") if not os.environ.get(name)]
    if missing:
        print(f"keeper: environment variable {missing[0]} is not set", file=sys.stderr)
        return 2
    protect_interpreter()
    cluster, node = os.environ.get("WHERRY_CLUSTER", "wherry"), os.environ["WHERRY_NODE_NAME"]
    directory = f"{os.environ['WHERRY_RUN']}/nodes/{node}"
    os.makedirs(directory, mode=0o700, exist_ok=True)
    groups.settle()
    # where the cluster was started decides, not where a supervisor that came later happens to run
    parent = os.environ.get("WHERRY_CGROUP_PARENT", groups.delegated())
    loop = Loop()
    keeper = Keeper(loop, f"{directory}/keeper", f"{directory}/keeper.sock", groups.below(f"/{cluster}/{node}", parent))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: os._exit(0))  # containers and their records stay as they are
    succession.install(loop, keeper)
    raise_descriptor_limit()
    syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
    keeper.start(succession.inherited())
    gc.collect()
    gc.freeze()
    ctypes.CDLL(None).malloc_trim(0)  # what importing needed and running does not
    loop.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
