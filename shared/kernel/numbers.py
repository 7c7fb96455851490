"""Numbers of the system calls that are made without the C library: by hand (syscalls.py), or from lists (calls.py).

oci/syscalls.tsv has those of every call, for filters; it is not read here, because each command of `wherry-runtime` and
each keeper would do so at its start. A test compares the two.
"""

from __future__ import annotations

import os

MACHINE = os.uname().machine
_MACHINES = ("x86_64", "aarch64")

# asm/unistd.h of each machine; -1 where there is no such call
_NUMBERS = {
    "write": (1, 64),
    "open": (2, -1),
    "close": (3, 57),
    "dup2": (33, -1),
    "sendto": (44, 206),
    "recvfrom": (45, 207),
    "sendmsg": (46, 211),
    "recvmsg": (47, 212),
    "execve": (59, 221),
    "chdir": (80, 49),
    "fchdir": (81, 50),
    "mkdir": (83, -1),
    "chmod": (90, -1),
    "chown": (92, -1),
    "fchown": (93, 55),
    "umask": (95, 166),
    "setsid": (112, 157),
    "setgroups": (116, 159),
    "setresuid": (117, 147),
    "setresgid": (119, 149),
    "capget": (125, 90),
    "capset": (126, 91),
    "pivot_root": (155, 41),
    "prctl": (157, 167),
    "setrlimit": (160, 164),
    "mount": (165, 40),
    "umount2": (166, 39),
    "exit_group": (231, 94),
    "keyctl": (250, 219),
    "mkdirat": (258, 34),
    "mknodat": (259, 33),
    "symlinkat": (266, 36),
    "unshare": (272, 97),
    "setns": (308, 268),
    "seccomp": (317, 277),
    "bpf": (321, 280),
    "execveat": (322, 281),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "clone3": (435, 435),
    "close_range": (436, 436),
    "openat2": (437, 437),
    "mount_setattr": (442, 442),
}


def known(machine: str = MACHINE) -> bool:
    """Whether any numbers are known for a machine."""
    return machine in _MACHINES


def names() -> tuple[str, ...]:
    """The calls of the table."""
    return tuple(_NUMBERS)


def number(name: str, machine: str = MACHINE) -> int:
    """The number of a call. LookupError if it, or the machine, is not known."""
    found = _NUMBERS[name][_MACHINES.index(machine)] if known(machine) else -1
    if found < 0:
        raise LookupError(f"the number of the system call {name} is not known for {machine}")
    return found
