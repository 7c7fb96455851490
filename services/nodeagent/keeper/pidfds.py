"""Processes named by pidfd: knowing one again after a restart, and how it ended.

A pid alone may meanwhile belong to somebody else; a pid with its start time cannot. How a process ended is told by
waitid(2) to its parent. A keeper that is no longer the parent reads it from the zombie's /proc/<pid>/stat (field 52,
proc_pid_stat(5)), or, once the new parent has reaped it, asks by PIDFD_GET_INFO (Linux 6.15).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct

_PIDFD_GET_INFO = 0xC040FF0B
_PIDFD_INFO_EXIT = 1 << 3
_INFO_SIZE = 64

expected: set[int] = set()  # children that somebody will wait for, see orphans.py


def start_time(pid: int) -> int:
    """When the process started, in clock ticks since boot (proc_pid_stat(5), field 22); 0 if there is no such process
    or it has ended already."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            after_name = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if after_name[0] in (b"Z", b"X") else int(after_name[19])


def pid_of(pidfd: int) -> int:
    """The process's id as /proc here counts it; 0 once it has been waited for."""
    with open(f"/proc/self/fdinfo/{pidfd}", encoding="ascii") as file:
        for line in file:
            if line.startswith("Pid:"):
                return max(int(line.split()[1]), 0)
    return 0


def open_again(pid: int, started: int) -> int:
    """A pidfd of the process that had `pid` and `started` then, or -1 if it has ended."""
    if not pid or not started:
        return -1
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return -1
    if start_time(pid) != started:
        os.close(fd)
        return -1
    expected.add(pid)  # a keeper that has executed itself anew is still its parent
    return fd


def wait(pidfd: int, pid: int = 0) -> tuple[int, int] | None:
    """(exit code, signal) of an ended process; None if nobody can tell (yet). A signal's code is 128 + its number.

    `pid` is that of the process, for one that is not this process's child.
    """
    with contextlib.suppress(ChildProcessError):
        info = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
        if info is not None:
            expected.discard(info.si_pid)
            if info.si_code == os.CLD_EXITED:
                return info.si_status, 0
            return 128 + info.si_status, info.si_status
    status = _zombie_status(pid)
    if status is None:
        status = _reaped_status(pidfd)
    if status is None:
        return None
    if os.WIFSIGNALED(status):
        return 128 + os.WTERMSIG(status), os.WTERMSIG(status)
    return os.waitstatus_to_exitcode(status), 0


def _zombie_status(pid: int) -> int | None:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
        if fields[0] == b"Z":
            return int(fields[49])
    return None


def _reaped_status(pidfd: int) -> int | None:
    with contextlib.suppress(OSError):
        answer = fcntl.ioctl(pidfd, _PIDFD_GET_INFO, struct.pack("Q", _PIDFD_INFO_EXIT).ljust(_INFO_SIZE, b"\0"))
        if struct.unpack_from("Q", answer)[0] & _PIDFD_INFO_EXIT:
            return int(struct.unpack_from("i", answer, _INFO_SIZE - 4)[0])
    return None
