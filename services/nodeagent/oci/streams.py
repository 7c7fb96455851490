"""How criu names the open files that a container got from outside: its standard streams.

They are noted when the container is made. What its processes have at these numbers at the moment of a checkpoint says
less: a shell that redirects the output of one command has another file there meanwhile.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping

from shared.kernel import criu

STREAMS = ("stdin", "stdout", "stderr")


def of_process(pid: int | str = "self") -> dict[str, str]:
    """Stream -> `pipe:[INODE]`, or `file[MOUNT:INODE]` with both numbers in hexadecimal; sockets and what is closed are
    left out."""
    found = {}
    for number, stream in enumerate(STREAMS):
        with contextlib.suppress(OSError):
            if name := _name(pid, number):
                found[stream] = name
    return found


def outside(streams: Mapping[str, str], mounts: set[int]) -> dict[str, str]:
    """Those that are not on one of the container's own mounts."""
    return {stream: name for stream, name in streams.items() if _mount(name) not in mounts}


def _name(pid: int | str, number: int) -> str:
    link = os.readlink(f"/proc/{pid}/fd/{number}")
    if link.startswith("pipe:"):
        return link
    return "" if link.startswith("socket:") else criu.file_name(f"/proc/{pid}/fd/{number}")


def _mount(name: str) -> int:
    """-1 for a pipe, which is on no mount."""
    return int(name[len("file[") :].partition(":")[0], 16) if name.startswith("file[") else -1
