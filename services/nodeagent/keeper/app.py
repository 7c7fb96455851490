"""Starts the keeper of one node.

Environment: WHERRY_RUN, WHERRY_CLUSTER, WHERRY_NODE_NAME, WHERRY_CGROUP_PARENT (default: what is delegated to
this process). The process is already in the node's network namespace.
Everything it needs is imported and frozen before the first fork, so that a child copies few pages.
"""

from __future__ import annotations

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


def main() -> int:
    missing = [name for name in ("WHERRY_RUN", "WHERRY_NODE_NAME") if not os.environ.get(name)]
    if missing:
        print(f"keeper: environment variable {missing[0]} is not set", file=sys.stderr)
        return 2
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
