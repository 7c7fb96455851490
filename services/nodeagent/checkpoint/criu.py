"""criu(8) as a program: where it is, its command lines for one container, what went wrong.

What belongs to the pod and not to the container (network, IPC and UTS namespaces, volumes, the output's FIFOs, the
control group) is left out of an image: criu runs inside the pod's namespaces, so it takes them for its own, and the
rest is named as external. Connections of TCP are not kept, because a restored pod may have another address.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

DUMP_LOG = "dump.log"
RESTORE_LOG = "restore.log"
PID_FILE = "restored.pid"
# the largest deleted but still open file that an image takes along
GHOST_LIMIT = "64M"
_ERROR = re.compile(r"^(?:\(\d+\.\d+\))?\s*(?:\d+:\s+)?Error \([^)]*\): (.*)$")
_COMMON = ("--file-locks", "-v2")
CLOSE_TCP = "--tcp-close"
LEAVE = "--leave-running"  # as frozen as it was
STOPPED = "--leave-stopped"


def dump(pid: int, images: str, freezer: str, mounts: Sequence[str]) -> list[str]:
    """Write the process tree of `pid` to `images`, and end it unless LEAVE is added. `mounts` are targets in the
    container that come from outside."""
    words = ["criu", "dump", "--tree", str(pid), "--images-dir", images, "--log-file", DUMP_LOG, *_COMMON]
    words += ["--freeze-cgroup", freezer, "--ghost-limit", GHOST_LIMIT, "--force-irmap"]
    for target in mounts:
        words += ["--external", f"mnt[{target}]:{target}"]
    return words


def with_files(words: list[str], names: Sequence[str]) -> list[str]:
    """The same with open files that are external."""
    return [*words, *(word for name in dict.fromkeys(names) for word in ("--external", name))]


def restore(images: str, root: str, mounts: Mapping[str, str], descriptors: Mapping[str, int]) -> list[str]:
    """Make the tree again with its root at the mount point `root`, as a child of criu's parent, in criu's group.

    `mounts`: where each external mount point is taken from; `descriptors`: what stands for each external file.
    """
    words = ["criu", "restore", "--images-dir", images, "--log-file", RESTORE_LOG, *_COMMON, "--root", root]
    words += ["--restore-detached", "--restore-sibling", "--pidfile", PID_FILE, "--manage-cgroups=ignore"]
    for target, source in mounts.items():
        words += ["--external", f"mnt[{target}]:{source}"]
    for name, number in descriptors.items():
        words += ["--inherit-fd", f"fd[{number}]:{name}"]
    return words


def failure(log: str) -> str:
    """The first errors of a log file, or that there is none."""
    try:
        with open(log, encoding="utf-8", errors="replace") as file:
            errors = [match[1] for line in file if (match := _ERROR.match(line.rstrip("\n")))]
    except OSError:
        errors = []
    if not errors:
        return f"criu failed without a word in {os.path.basename(log)}; does `criu check` succeed?"
    return "criu: " + "; ".join(errors[:3])
