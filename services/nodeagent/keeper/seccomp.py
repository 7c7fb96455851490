"""The seccomp filter of a container: what Docker's default profile refuses is refused, everything else is permitted.

Docker lists what is allowed; this lists what is denied, with the capability that lifts the denial, plus a ceiling:
calls newer than this table answer ENOSYS, so that programs fall back, and nothing unknown slips through. Numbers come
from asm/unistd.h of each architecture (0: the call does not exist there). A filter is classic BPF over struct
seccomp_data (seccomp(2)): a test of the architecture, then a binary search over the numbers.
"""

from __future__ import annotations

import errno
import os
import struct
from functools import lru_cache
from typing import Any

LAST_KNOWN = 466  # removexattrat, Linux 6.13

# name, x86_64, i386, aarch64, capabilities any of which permits it
DENIED: tuple[tuple[str, int, int, int, tuple[str, ...]], ...] = (
    ("_sysctl", 156, 149, 0, ()),
    ("acct", 163, 51, 89, ("SYS_PACCT",)),
    ("add_key", 248, 286, 217, ()),
    ("bpf", 321, 357, 280, ("SYS_ADMIN", "BPF")),
    ("chroot", 161, 61, 51, ("SYS_CHROOT",)),
    ("clock_settime", 227, 264, 112, ("SYS_TIME",)),
    ("clock_settime64", 0, 404, 0, ("SYS_TIME",)),
    ("create_module", 174, 127, 0, ()),
    ("delete_module", 176, 129, 106, ("SYS_MODULE",)),
    ("fanotify_init", 300, 338, 262, ("SYS_ADMIN",)),
    ("finit_module", 313, 350, 273, ("SYS_MODULE",)),
    ("fsconfig", 431, 431, 431, ("SYS_ADMIN",)),
    ("fsmount", 432, 432, 432, ("SYS_ADMIN",)),
    ("fsopen", 430, 430, 430, ("SYS_ADMIN",)),
    ("fspick", 433, 433, 433, ("SYS_ADMIN",)),
    ("get_kernel_syms", 177, 130, 0, ()),
    ("get_mempolicy", 239, 275, 236, ("SYS_NICE",)),
    ("init_module", 175, 128, 105, ("SYS_MODULE",)),
    ("io_uring_enter", 426, 426, 426, ()),
    ("io_uring_register", 427, 427, 427, ()),
    ("io_uring_setup", 425, 425, 425, ()),
    ("ioperm", 173, 101, 0, ("SYS_RAWIO",)),
    ("iopl", 172, 110, 0, ("SYS_RAWIO",)),
    ("kcmp", 312, 349, 272, ("SYS_PTRACE",)),
    ("kexec_file_load", 320, 0, 294, ()),
    ("kexec_load", 246, 283, 104, ()),
    ("keyctl", 250, 288, 219, ()),
    ("lookup_dcookie", 212, 253, 18, ("SYS_ADMIN",)),
    ("lsm_get_self_attr", 459, 459, 459, ("SYS_ADMIN",)),
    ("lsm_list_modules", 461, 461, 461, ("SYS_ADMIN",)),
    ("lsm_set_self_attr", 460, 460, 460, ("SYS_ADMIN",)),
    ("mbind", 237, 274, 235, ("SYS_NICE",)),
    ("migrate_pages", 256, 294, 238, ()),
    ("mount", 165, 21, 40, ("SYS_ADMIN",)),
    ("mount_setattr", 442, 442, 442, ("SYS_ADMIN",)),
    ("move_mount", 429, 429, 429, ("SYS_ADMIN",)),
    ("move_pages", 279, 317, 239, ()),
    ("nfsservctl", 180, 169, 42, ()),
    ("open_by_handle_at", 304, 342, 265, ("DAC_READ_SEARCH",)),
    ("open_tree", 428, 428, 428, ("SYS_ADMIN",)),
    ("perf_event_open", 298, 336, 241, ("SYS_ADMIN", "PERFMON")),
    ("pidfd_getfd", 438, 438, 438, ("SYS_PTRACE",)),
    ("pivot_root", 155, 217, 41, ()),
    ("process_madvise", 440, 440, 440, ("SYS_PTRACE",)),
    ("query_module", 178, 167, 0, ()),
    ("quotactl", 179, 131, 60, ("SYS_ADMIN",)),
    ("quotactl_fd", 443, 443, 443, ("SYS_ADMIN",)),
    ("reboot", 169, 88, 142, ("SYS_BOOT",)),
    ("request_key", 249, 287, 218, ()),
    ("set_mempolicy", 238, 276, 237, ("SYS_NICE",)),
    ("set_mempolicy_home_node", 450, 450, 450, ("SYS_NICE",)),
    ("setdomainname", 171, 121, 162, ("SYS_ADMIN",)),
    ("sethostname", 170, 74, 161, ("SYS_ADMIN",)),
    ("setns", 308, 346, 268, ("SYS_ADMIN",)),
    ("settimeofday", 164, 79, 170, ("SYS_TIME",)),
    ("stime", 0, 25, 0, ("SYS_TIME",)),
    ("swapoff", 168, 115, 225, ()),
    ("swapon", 167, 87, 224, ()),
    ("sysfs", 139, 135, 0, ()),
    ("syslog", 103, 103, 116, ("SYS_ADMIN", "SYSLOG")),
    ("umount", 0, 22, 0, ("SYS_ADMIN",)),
    ("umount2", 166, 52, 39, ("SYS_ADMIN",)),
    ("unshare", 272, 310, 97, ("SYS_ADMIN",)),
    ("uselib", 134, 86, 0, ()),
    ("userfaultfd", 323, 374, 282, ()),
    ("ustat", 136, 62, 0, ()),
    ("vhangup", 153, 111, 58, ("SYS_TTY_CONFIG",)),
    ("vm86", 0, 166, 0, ()),
    ("vm86old", 0, 113, 0, ()),
    ("open_tree_attr", 467, 467, 467, ("SYS_ADMIN",)),
)

_X86_64, _I386, _AARCH64 = 0xC000003E, 0x40000003, 0xC00000B7
# machine -> (architecture in seccomp_data, column of DENIED, numbers of clone, clone3, personality, socket)
_ARCHITECTURES = {
    "x86_64": ((_X86_64, 0, (56, 435, 135, 41)), (_I386, 1, (120, 435, 136, 359))),
    "aarch64": ((_AARCH64, 2, (220, 435, 92, 198)),),
}

_NAMESPACE_FLAGS = 0x7E020000
_REFUSED_FAMILIES = (38, 40)  # AF_ALG, much kernel code for little use; AF_VSOCK, which no network namespace confines
# PER_LINUX, PER_LINUX32, UNAME26 with either, and the query
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)

_LOAD = 0x20
_JUMP_EQUAL = 0x15
_JUMP_AT_LEAST = 0x35
_JUMP_ANY_BIT = 0x45
_RETURN = 0x06

_NUMBER_OFFSET = 0
_ARCHITECTURE_OFFSET = 4
_FIRST_ARGUMENT_OFFSET = 16  # low half on a little-endian machine

_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000

Code = list[tuple[int, int, int, int]]

_PERMIT: Code = [(_RETURN, 0, 0, _ALLOW)]


def _refuse(code: int) -> Code:
    return [(_RETURN, 0, 0, _ERRNO | code)]


def _special(numbers: tuple[int, int, int, int], capabilities: frozenset[str]) -> dict[int, Code]:
    """What is decided by an argument, or by another error."""
    clone, clone3, personality, socket = numbers
    load: Code = [(_LOAD, 0, 0, _FIRST_ARGUMENT_OFFSET)]
    cases: dict[int, Code] = {
        socket: [
            *load,
            *((_JUMP_EQUAL, len(_REFUSED_FAMILIES) - index, 0, value) for index, value in enumerate(_REFUSED_FAMILIES)),
            *_PERMIT,
            *_refuse(errno.EPERM),
        ],
        personality: [
            *load,
            *((_JUMP_EQUAL, len(_PERSONALITIES) - index, 0, value) for index, value in enumerate(_PERSONALITIES)),
            *_refuse(errno.EPERM),
            *_PERMIT,
        ],
    }
    if "SYS_ADMIN" not in capabilities:
        cases[clone] = [*load, (_JUMP_ANY_BIT, 0, 1, _NAMESPACE_FLAGS), *_refuse(errno.EPERM), *_PERMIT]
        cases[clone3] = _refuse(errno.ENOSYS)  # its flags are in memory, where a filter cannot look; libc falls back
    return cases


def _search(cases: list[tuple[int, Code]]) -> Code:
    """A binary search over (number, what to do), ordered; a number that is not there is permitted."""
    if len(cases) == 1:
        number, code = cases[0]
        return [(_JUMP_EQUAL, 0, len(code), number), *code, *_PERMIT]
    middle = len(cases) // 2
    left, right = _search(cases[:middle]), _search(cases[middle:])
    return [(_JUMP_AT_LEAST, len(left), 0, cases[middle][0]), *left, *right]


def _section(column: int, numbers: tuple[int, int, int, int], capabilities: frozenset[str]) -> Code:
    cases = _special(numbers, capabilities)
    for row in DENIED:
        number, permitting = row[1 + column], row[4]
        if isinstance(number, int) and number and capabilities.isdisjoint(permitting):
            cases[number] = _refuse(errno.EPERM)
    ceiling: Code = [(_JUMP_AT_LEAST, 0, 1, LAST_KNOWN + 1), *_refuse(errno.ENOSYS)]
    return [(_LOAD, 0, 0, _NUMBER_OFFSET), *ceiling, *_search(sorted(cases.items()))]


def profile(capabilities: frozenset[str]) -> dict[str, Any]:
    """The same filter as `linux.seccomp` of the OCI runtime-spec, for other runtimes.

    It has no ceiling: which calls are too new for it is decided by the runtime's libseccomp.
    """
    denied = [row[0] for row in DENIED if capabilities.isdisjoint(row[4])]
    rules: list[dict[str, Any]] = [
        {"names": denied, "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EPERM},
        *(
            {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EPERM, "args": [_equal(0, family)]}
            for family in _REFUSED_FAMILIES
        ),
    ]
    if "SYS_ADMIN" not in capabilities:
        rules.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS})
        for bit in range(32):
            if _NAMESPACE_FLAGS >> bit & 1:
                one = {"index": 0, "value": 1 << bit, "valueTwo": 1 << bit, "op": "SCMP_CMP_MASKED_EQ"}
                rules.append({"names": ["clone"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EPERM, "args": [one]})
    return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}


def _equal(index: int, value: int) -> dict[str, Any]:
    return {"index": index, "value": value, "op": "SCMP_CMP_EQ"}


@lru_cache(maxsize=16)
def program(capabilities: frozenset[str], machine: str = "") -> bytes:
    """The filter for a container with these capabilities. OSError(ENOSYS) for a machine whose numbers are not known.

    On x86_64 a call with the x32 bit is above the ceiling, hence unknown. Another architecture's calls are refused.
    """
    name = machine or os.uname().machine
    if name not in _ARCHITECTURES:
        raise OSError(errno.ENOSYS, f"no seccomp profile for {name}")
    code: Code = [(_LOAD, 0, 0, _ARCHITECTURE_OFFSET)]
    for architecture, column, numbers in _ARCHITECTURES[name]:
        section = _section(column, numbers, capabilities)
        # a section may be longer than the 255 instructions that a conditional jump can skip
        code += [(_JUMP_EQUAL, 1, 0, architecture), (0x05, 0, 0, len(section)), *section]
    code += _refuse(errno.ENOSYS)
    return b"".join(struct.pack("HBBI", *instruction) for instruction in code)
